// A cache over an in-memory store and a directory of its own on disk.

import Base
import Glibc
import MemoryStore
import ObjectModel
import ObjectStore
import Testing

@testable import BlockCache

/// A directory removed at the end of the test.
final class CacheFolder: Sendable {
    let path: String

    init() throws {
        // In memory where possible: some tests open caches a thousand times.
        let parent = access("/dev/shm", R_OK | W_OK | X_OK) == 0 ? "/dev/shm" : "/tmp"
        var template = Array("\(parent)/pail-blocks-XXXXXX".utf8CString)
        let isMade = template.withUnsafeMutableBufferPointer { mkdtemp($0.baseAddress!) != nil }
        try #require(isMade)
        path = template.withUnsafeBufferPointer { String(cString: $0.baseAddress!) }
    }

    deinit {
        Self.remove(path)
    }

    /// A file, or a directory with all that is in it.
    static func remove(_ path: String) {
        if let names = try? DiskCalls().names(AT_FDCWD, path) {
            for name in names { remove("\(path)/\(name)") }
        }
        _ = Glibc.remove(path)
    }

    /// The paths of all segment files.
    var segments: [String] {
        get throws {
            try files().filter { path in
                let parts = path.split(separator: "/").suffix(2).map(String.init)
                return SegmentName(directory: parts[0], file: parts[1]) != nil
            }
        }
    }

    /// Every regular file below.
    func files() throws -> [String] {
        let calls = DiskCalls()
        return try calls.names(AT_FDCWD, path + "/blocks").flatMap { name in
            let directory = "\(path)/blocks/\(name)"
            guard let names = try? calls.names(AT_FDCWD, directory) else { return [directory] }
            return names.map { "\(directory)/\($0)" }
        }
    }

    static func bytes(of path: String) throws -> [UInt8] {
        let calls = DiskCalls()
        let file = try calls.open(AT_FDCWD, path, O_RDONLY)
        return try calls.readBytes(file, count: Int(try calls.status(file).st_size), at: 0)
    }

    /// Replaces the content of a file.
    static func write(_ bytes: [UInt8], to path: String) throws {
        let calls = DiskCalls()
        let file = try calls.open(AT_FDCWD, path, O_WRONLY | O_CREAT | O_TRUNC)
        if !bytes.isEmpty { try calls.writeBytes(file, bytes, at: 0) }
    }

    static func mode(of path: String) -> mode_t {
        var status = stat()
        return lstat(path, &status) == 0 ? status.st_mode & 0o7777 : 0
    }
}

/// One "mount": a fresh memory tier over a shared store and a shared directory.
struct DiskFixture {
    let store: MemoryStore
    let tier: DiskTier
    let cache: BlockCache
    let time: SimulatedTime
    let lines: Lines

    /// What was logged.
    final class Lines: Sendable {
        private let state = Lock<[String]>([])
        var all: [String] { state.withLock { $0 } }
        func add(_ line: String) { state.withLock { $0.append(line) } }
    }

    init(
        _ folder: String, store: MemoryStore, bucket: String = "http://server bucket", blockCount: Int = 4096,
        time: SimulatedTime = SimulatedTime(), configure: (inout DiskCacheConfiguration) -> Void = { _ in },
        fault: (@Sendable (DiskCalls.Call) -> Int32?)? = nil
    ) {
        self.store = store
        self.time = time
        lines = Lines()
        var configuration = DiskCacheConfiguration(directory: folder, bucket: bucket)
        configuration.readThreadCount = 2
        // What else is on the disk of the machine must not matter.
        configuration.freePercent = 0
        // Simulated time does not go on by itself.
        configuration.gatherNanoseconds = 0
        configure(&configuration)
        tier = DiskTier(
            configuration: configuration, blockBytes: blockBytes, time: time, calls: DiskCalls(fault: fault)
        ) { [lines] in lines.add($0) }
        tier.start()
        let pool = BufferPool(limitBytes: blockCount * blockBytes, bufferBytes: blockBytes)
        cache = BlockCache(store: store, pool: pool, disk: tier, time: time)
    }

    static func store() -> MemoryStore {
        let store = MemoryStore(seed: 1)
        store.requireIfMatch = true
        return store
    }

    /// Waits until everything that came is on disk, and the scan is over.
    func drain() async {
        await withCheckedContinuation { continuation in
            // Not `drain(timeoutNanoseconds:)`: simulated time is over at once.
            let signal = OneShot<Void>()
            tier.state.withLock { state in
                guard state.isWriting || state.isScanning else {
                    signal.set(())
                    return
                }
                state.idleSignals.append((signal, waitsForScan: true))
            }
            signal.observe { continuation.resume() }
        }
    }

    /// Reads the object whole, and expects these bytes.
    func expectRead(
        _ version: ObjectVersion, _ range: ByteRange? = nil, of bytes: [UInt8],
        sourceLocation: SourceLocation = #_sourceLocation
    ) async throws {
        let range = range ?? ByteRange(0, version.byteCount)
        let slices = try await cache.read(version, range: range)
        #expect(slices.isEqual(bytes, range), "range \(range)", sourceLocation: sourceLocation)
    }

    /// GETs that the store has seen.
    var getCount: Int { store.requestLog.count { $0.operation == .getObject } }
}

extension MemoryStore {
    /// Writes an object of known bytes.
    func object(_ byteCount: Int, at key: String = "k", salt: UInt64 = 0) -> ObjectVersion {
        write(Fixture.bytes(byteCount, salt: salt), at: key)
        return info(at: key)!.version
    }
}
