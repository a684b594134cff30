// The directory of a disk cache that outlives its mounts, and what may happen to it.

import Base
import FoundationEssentials
import Glibc
import MemoryStore

@testable import BlockCache

/// A directory of its own; each start of a mount gets a tier on it.
///
/// SAFETY: `@unchecked Sendable`: `tier` is changed by the one task that starts mounts.
final class CacheDisk: @unchecked Sendable {
    let path: String
    private let time: TickingTime
    private let limitBytes: Int
    private let faults = Lock((dice: SplitMix64(seed: 1), chance: 0.0))
    private var tier: DiskTier?

    /// - Parameter seed: of its size: from less than one file needs to more than all.
    init(seed: UInt64, time: TickingTime) throws {
        // In memory where possible: what is tested is not the disk.
        let parent =
            access("/dev/shm", R_OK | W_OK | X_OK) == 0 ? "/dev/shm" : FileManager.default.temporaryDirectory.path
        path = "\(parent)/pail-model-\(String(UInt64.random(in: .min ... .max), radix: 16))"
        self.time = time
        limitBytes = [40_000, 300_000, 1 << 20, 1 << 30][Int(seed % 4)]
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    }

    deinit {
        // The tier of a mount that was killed may still be writing its last file.
        for _ in 0..<1000 where FileManager.default.fileExists(atPath: path) {
            try? FileManager.default.removeItem(atPath: path)
        }
    }

    func makeTier() -> DiskTier {
        var configuration = DiskCacheConfiguration(directory: path, bucket: "memory bucket")
        configuration.limitBytes = limitBytes
        configuration.readThreadCount = 2
        // What else is on the disk of the machine must not matter.
        configuration.freePercent = 0
        // Simulated time does not go on by itself.
        configuration.gatherNanoseconds = 0
        let faults = faults
        let calls = DiskCalls { _ in
            faults.withLock { faults in
                guard faults.chance > 0, Double.random(in: 0..<1, using: &faults.dice) < faults.chance else {
                    return nil
                }
                return [EIO, ENOSPC, EROFS, EACCES, ENOENT].randomElement(using: &faults.dice)
            }
        }
        let tier = DiskTier(configuration: configuration, blockBytes: Mount.blockBytes, time: time, calls: calls) { _ in
        }
        self.tier = tier
        return tier
    }

    /// Calls fail from now on.
    func fail(seed: UInt64, chance: Double) {
        faults.withLock { $0 = (SplitMix64(seed: seed), chance) }
    }

    func stopFailing() {
        faults.withLock { $0.chance = 0 }
    }

    /// Returns when everything that came is on disk, and no scan runs.
    func drain() async {
        guard let tier else { return }
        let signal = OneShot<Void>()
        tier.state.withLock { state in
            guard state.isWriting || state.isScanning else {
                signal.set(())
                return
            }
            state.idleSignals.append((signal, waitsForScan: true))
        }
        await signal.wait()
    }

    // MARK: Accidents

    private func files() -> [String] {
        guard let names = try? FileManager.default.subpathsOfDirectory(atPath: path) else { return [] }
        return names.sorted().map { "\(path)/\($0)" }.filter { file in
            var status = stat()
            return lstat(file, &status) == 0 && status.st_mode & S_IFMT == S_IFREG
        }
    }

    /// What `pail cache clear` of another process does.
    func clear() throws {
        for file in files() { unlink(file) }
    }

    /// Spoils a few files, of blocks or of sums, as a bad disk, a power failure or somebody's hand would. They may vanish
    /// meanwhile.
    func damage(seed: UInt64) throws {
        var dice = SplitMix64(seed: seed)
        for _ in 0..<Int.random(in: 1...3, using: &dice) {
            let files = files()
            guard let file = files.randomElement(using: &dice), let other = files.randomElement(using: &dice) else {
                return
            }
            var status = stat()
            guard lstat(file, &status) == 0 else { continue }
            let byteCount = Int(status.st_size)
            // The first page tells what there is; the rest is the blocks.
            let isHeader = Bool.random(using: &dice)
            let position = Int.random(in: 0..<max(1, isHeader ? min(byteCount, 4096) : byteCount), using: &dice)
            switch Int.random(in: 0..<8, using: &dice) {
            case 0, 1: write([UInt8(truncatingIfNeeded: dice.next())], to: file, at: position)
            case 2:
                let count = Int.random(in: 1...9000, using: &dice)
                write([UInt8](repeating: 0, count: min(count, max(0, byteCount - position))), to: file, at: position)
            case 3:
                let count = Int.random(in: 1...5000, using: &dice)
                let noise = (0..<count).map { _ in UInt8(truncatingIfNeeded: dice.next()) }
                write(noise, to: file, at: position)
            case 4: truncate(file, position)
            case 5: truncate(file, byteCount + position + 1)
            case 6: unlink(file)
            default:
                // Its place is taken by another one.
                guard let bytes = FileManager.default.contents(atPath: other) else { continue }
                truncate(file, 0)
                write([UInt8](bytes), to: file, at: 0)
            }
        }
    }

    private func write(_ bytes: [UInt8], to file: String, at offset: Int) {
        let descriptor = open(file, O_WRONLY)
        guard descriptor >= 0 else { return }
        defer { close(descriptor) }
        _ = pwrite(descriptor, bytes, bytes.count, offset)
    }
}
