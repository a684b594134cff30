// Runs random reads on a mount while another client changes the objects, and judges every byte and every error.

import Base
import BlockCache
import MemoryStore
import ObjectStore

@testable import FileSystem

/// One sequence of steps on three objects that are absent at first. For one task.
final class ReadModelRun {
    /// An open file: what it may show.
    struct Slot {
        let file: OpenFile
        let path: String
        /// The oldest state in the history of its path that the mount may believe in.
        let oldest: Int
        /// Where in the history the version is that it has shown bytes of; all other bytes must be of it too.
        var shown: Int?
    }

    let mount: Mount
    let hostile: HostileStore
    /// Nil: what is read is kept in memory only.
    private let disk: CacheDisk?
    var slots: [Int: Slot] = [:]
    /// The states of each path so far, the present one last; nil is absent.
    var history: [String: [VersionedBytes?]] = [:]
    /// By path: the oldest state that the mount may still believe in when it opens the file, and when it lists it.
    var believable: [String: Int] = [:]
    private var listable: [String: Int] = [:]
    private var versionCount = 0
    /// The dice of injected faults; nil: the store is perfect.
    private var dice: SplitMix64?
    private(set) var isFaulty = false
    /// Whether it ever fails in this run.
    var storeFails: Bool { dice != nil }

    init(blockCount: Int, diskSeed: UInt64?, faultSeed: UInt64?) throws {
        let store = MemoryStore()
        let hostile = HostileStore(store)
        self.hostile = hostile
        let time = TickingTime()
        let disk = try diskSeed.map { try CacheDisk(seed: $0, time: time) }
        self.disk = disk
        mount = try Mount(
            store: store, time: time, memoryBlockCount: blockCount, between: hostile, cacheDisk: disk)
        dice = faultSeed.map { SplitMix64(seed: $0) }
        for path in RandomRead.paths { (history[path], believable[path], listable[path]) = ([nil], 0, 0) }
    }

    /// Runs the steps; the first difference, if there is one. A step that does not come back in time is one too.
    static func run(
        _ steps: [RandomRead], blockCount: Int, diskSeed: UInt64? = nil, faultSeed: UInt64? = nil
    ) async -> Difference? {
        await differenceInTime { say in
            let run = try ReadModelRun(blockCount: blockCount, diskSeed: diskSeed, faultSeed: faultSeed)
            for (index, step) in steps.enumerated() {
                say("in step \(index), \(step)")
                try await run.take(step)
            }
            say("at the end")
            try await run.finish()
        }
    }

    func present(_ path: String) -> Int { history[path]!.count - 1 }

    private func take(_ step: RandomRead) async throws {
        startFaults()
        switch step {
        case .open(let slot, let path): if slots[slot] == nil { try await open(slot, path) }
        case .close(let slot): if let open = slots.removeValue(forKey: slot) { try await mount.close(open.file) }
        case .read(let reads): for read in reads { try await readAndJudge(read) }
        case .readTogether(let reads, let change): try await readTogether(reads, change)
        case .abandon(let read): try await abandon(read)
        case .change(let change): apply(change)
        case .list: try await list()
        case .expire:
            mount.expire()
            believeNothingOlder()
        case .refresh:
            mount.fileSystem.refresh(path: "")
            believeNothingOlder()
        case .evict(let path): mount.cache.forget(MemoryStore.objectKey(path))
        case .restart(let how): try await restart(how)
        case .damage(let seed): try disk?.damage(seed: seed)
        case .clearDisk: try disk?.clear()
        }
        // What was asked ahead under faults fails in this step, not in a later one.
        if isFaulty { await mount.settle() }
        stopFaults()
    }

    private func believeNothingOlder() {
        // While the store does not answer, what was known once goes on to serve.
        if storeFails { return }
        for path in RandomRead.paths { (believable[path], listable[path]) = (present(path), present(path)) }
    }

    // MARK: The other side

    private func startFaults() {
        guard dice != nil else { return }
        let seed = dice!.next()
        isFaulty = seed % 3 != 0
        guard isFaulty else { return }
        var plan = FaultPlan(seed: seed)
        let cut = Int(seed >> 8 % 50_000)
        let faults: [(Fault, Double)] = [
            (.throttled, 0.04), (.serverFault, 0.04), (.timedOut, 0.04), (.unreachable, 0.04),
            (.slow(nanoseconds: 1000), 0.1),
        ]
        for (fault, chance) in faults { plan = plan.adding(fault, when: .chance(chance)) }
        plan = plan.adding(.bodyCut(afterBytes: cut, .unreachable), on: .getObject, when: .chance(0.15))
        mount.store.setFaults(plan)
        hostile.lie(seed: seed, chance: seed % 2 == 0 ? 0.2 : 0)
        disk?.fail(seed: seed, chance: seed % 5 == 0 ? 0.05 : 0)
    }

    private func stopFaults() {
        isFaulty = false
        mount.store.setFaults(FaultPlan())
        hostile.stopLying()
        disk?.stopFailing()
    }

    private func apply(_ change: RemoteChange) {
        switch change {
        case .overwrite(let path, let count):
            guard versionCount < VersionedBytes.numberMax else { return }
            versionCount += 1
            let version = VersionedBytes(number: versionCount, byteCount: count)
            mount.store.write(version.bytes, at: path)
            history[path]!.append(version)
        case .remove(let path):
            guard history[path]!.last! != nil else { return }
            mount.store.remove(at: path)
            history[path]!.append(nil)
        }
    }

    private func restart(_ how: RandomRead.Restart) async throws {
        for slot in slots.values { try await mount.close(slot.file) }
        slots = [:]
        // A tier that is not drained goes on writing beside the next one, as another mount would.
        switch how {
        case .drained:
            await mount.settle()
            await disk?.drain()
            try await mount.remount()
        case .inGoodOrder: try await mount.remount()
        case .killed: try await mount.kill()
        }
        // A new mount believes what it is told, and nothing else.
        for path in RandomRead.paths { (believable[path], listable[path]) = (present(path), present(path)) }
    }

    // MARK: Names

    private func open(_ slot: Int, _ path: String) async throws {
        let oldest = believable[path]!
        let states = history[path]![oldest...]
        do {
            let file = try await mount.open(path)
            guard states.contains(where: { $0 != nil }) else {
                throw Difference("opened '\(path)', which is not there")
            }
            slots[slot] = Slot(file: file, path: path, oldest: oldest)
            let byteCount = try await mount.status(file).byteCount
            guard states.contains(where: { $0?.byteCount == byteCount }) else {
                throw Difference("'\(path)' never had \(byteCount) bytes")
            }
        } catch let error as FileSystemError {
            switch error.kind {
            case .notFound where states.contains { $0 == nil }: break
            case _ where isFaulty && error.isOfTheStore && error.kind != .interrupted: break
            default: throw Difference("'\(path)' cannot be opened: \(error)")
            }
        }
    }

    private func list() async throws {
        do {
            let names = try await mount.names("")
            for path in RandomRead.paths where !path.contains("/") {
                let states = history[path]![listable[path]!...]
                guard states.contains(where: { ($0 != nil) == names.contains(path) }) else {
                    throw Difference("lists \(names), but '\(path)' is \(names.contains(path) ? "not there" : "there")")
                }
            }
        } catch let error as FileSystemError {
            guard isFaulty, error.isOfTheStore else { throw Difference("cannot be listed: \(error)") }
        }
    }

    // MARK: Reading

    private func readAndJudge(_ read: SlotRead) async throws {
        guard let slot = slots[read.slot] else { return }
        let before = noteNames()
        try judge(read, await Self.result(of: read, slot.file, mount), before)
    }

    private static func result(
        of read: SlotRead, _ file: OpenFile, _ mount: Mount
    ) async -> Result<[UInt8], FileSystemError> {
        await Result.of { () async throws(FileSystemError) in
            try await mount.fileSystem.read(file.handle, offset: read.offset, count: read.count)
        }
    }

    private func readTogether(_ reads: [SlotRead], _ change: RemoteChange?) async throws {
        // The change meets requests that have not begun, or one whose body is on its way.
        let hold = change != nil && reads.count.isMultiple(of: 2) ? hostile.holdNextBody() : nil
        if hold == nil { mount.store.pause(.getObject) }
        let before = noteNames()
        let mount = mount
        let running = reads.compactMap { read in
            slots[read.slot].map { slot in
                (read, Task { await Self.result(of: read, slot.file, mount) })
            }
        }
        for _ in 0..<20 { await Task.yield() }
        if let change { apply(change) }
        if let hold {
            for _ in 0..<50 { await Task.yield() }
            hold.goOn.set(())
            hostile.holdNothing()
        }
        mount.store.resume(.getObject)
        var results: [(SlotRead, Result<[UInt8], FileSystemError>)] = []
        for (read, task) in running { results.append((read, await task.value)) }
        // Ends of file first: one that was seen beside the others may be of a version that no byte was shown of.
        let isEnd = { (result: Result<[UInt8], FileSystemError>) in (try? result.get())?.isEmpty ?? false }
        for (read, result) in results.filter({ isEnd($0.1) }) + results.filter({ !isEnd($0.1) }) {
            try judge(read, result, before)
        }
    }

    private func abandon(_ read: SlotRead) async throws {
        guard let slot = slots[read.slot] else { return }
        let before = noteNames()
        mount.store.pause(.getObject)
        let done = OneShot<Result<ReadData, FileSystemError>>()
        let outcome = mount.fileSystem.read(slot.file.handle, offset: read.offset, count: read.count) { done.set($0) }
        var result: Result<ReadData, FileSystemError>
        switch outcome {
        case .ready(let data): result = .success(data)
        case .failed(let error): result = .failure(error)
        case .parked(let ticket):
            ticket.abandon()
            result = await done.wait()
        }
        mount.store.resume(.getObject)
        switch result {
        case .failure(let error) where error.kind == .interrupted: return
        case .failure(let error): try judge(read, .failure(error), before)
        case .success(.empty): try judge(read, .success([]), before)
        case .success(.slices(let slices)): try judge(read, .success(slices.array), before)
        case .success(let other): throw Difference("a file that nobody wrote reads as \(other)")
        }
    }

    // MARK: The end

    /// With a good store again, everything is read as it is, whatever is still open; then nothing is left.
    private func finish() async throws {
        stopFaults()
        mount.expire()
        believeNothingOlder()
        for path in RandomRead.paths {
            let wanted = history[path]!.last!
            do {
                let bytes = try await mount.read(path)
                guard let wanted, wanted.gives(bytes, offset: 0, count: .max) else {
                    throw Difference("in the end '\(path)' has \(bytes.count) bytes, not those of \(wanted as Any)")
                }
            } catch let error as FileSystemError {
                guard wanted == nil, error.kind == .notFound else {
                    throw Difference("in the end '\(path)' fails with \(error)")
                }
            }
        }
        for slot in slots.values { try await mount.close(slot.file) }
        slots = [:]
        try await mount.expectNothingKept()
        await mount.settle()
    }
}
