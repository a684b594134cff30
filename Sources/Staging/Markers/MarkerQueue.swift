// Markers of directories: acknowledged at once where that may be, and brought to the store in the background.

public import Base
public import Logging
public import ObjectModel
public import ObjectStore

/// The writer of one mount's directory markers. Thread-safe.
///
/// A marker that is `accept`ed is in the journal before that returns, and until the store has it. It is held back for a
/// moment, since tar, cp and rsync change a directory several times: what the store gets is the last of it. A write that fails
/// is tried again with growing pauses until it succeeds, or until another client is found to have had the directory in
/// between: its marker stays then, and what was acknowledged is given up (`MarkerEnding`).
///
/// Requests for one key are made one after another, those of callers (`exclusively`) among them.
public final class MarkerQueue: Sendable {
    public struct Configuration: Sendable {
        /// Markers sent at once.
        public var inFlightMax = 16
        /// Markers that may wait; beyond that `accept` refuses, and callers go the slow way.
        public var waitingMax = 10_000
        /// A burst of changes ends with such a pause, or after the longest time that it may hold back.
        public var pauseNanoseconds: UInt64 = 200_000_000
        public var holdNanosecondsMax: UInt64 = 2_000_000_000
        /// The first pause after a failure, and the longest.
        public var retryNanoseconds: UInt64 = 500_000_000
        public var retryNanosecondsMax: UInt64 = 60_000_000_000

        public init() {}
    }

    /// Called outside all locks, once for each marker that is not pending any more.
    public typealias Ended = @Sendable (MarkerEnding) -> Void

    private struct Pending {
        /// The last that was accepted.
        var write: MarkerWrite
        /// Metadata of ours that the store may show instead, or that ours is a change of.
        var earlier: [[String: String]]
        /// Whether another client may have been there meanwhile: the store is asked before anything is written.
        var mustLook: Bool
        let since: UInt64
        var ended: Ended
        /// Told to begin: the burst is over, or somebody waits.
        let turn: OneShot<Void>
        var isUrgent = false
        var isSending = false
        var failure: UploadFailure?
        var waiters: [CheckedContinuation<StoreError?, Never>] = []
    }

    private struct State {
        var pending: [ObjectKey: Pending] = [:]
        /// Keys that a caller has for itself, and who waits for them.
        var taken: [ObjectKey: [CheckedContinuation<Void, Never>]] = [:]
        var isProven = false
        var isStopped = false
        var workerCount = 0
        var stopWaiters: [CheckedContinuation<Void, Never>] = []
    }

    private let store: any ObjectStore
    private let area: StagingArea
    private let configuration: Configuration
    private let time: any TimeSource
    private let log: Logger
    private let journal: MarkerJournal
    private let burst: BurstGate
    private let places: AsyncLimiter
    // A leaf lock but for the journal's: what is pending and what is journalled change together.
    private let state = Lock(State())

    /// - Parameter store: as the file system sees it, with the removals settled.
    public init(
        store: any ObjectStore, area: StagingArea, configuration: Configuration = Configuration(),
        time: any TimeSource, log: Logger
    ) {
        self.store = store
        self.area = area
        self.configuration = configuration
        self.time = time
        self.log = log
        journal = MarkerJournal(path: area.newPath(suffix: MarkerJournal.suffix), disk: area.disk)
        burst = BurstGate(
            Burst(
                pauseNanoseconds: configuration.pauseNanoseconds, holdNanosecondsMax: configuration.holdNanosecondsMax),
            time: time)
        places = AsyncLimiter(limit: configuration.inFlightMax)
    }

    // MARK: Accepting

    /// Whether the bucket is known to take our markers: one was written, and none has failed since.
    public var isProven: Bool { state.withLock { $0.isProven } }

    /// Takes a marker over. Once this returns true it will be written, by this mount or the next one of the bucket, after
    /// what was accepted for the key before. False when it cannot be taken: the bucket is not known to take it, a caller has
    /// the key, the local disk refuses the journal, or too much waits already. Does not wait.
    public func accept(_ write: MarkerWrite, ended: @escaping Ended) -> Bool {
        enum Answer { case taken(isNew: Bool), refused(StagingError?) }
        let answer = state.withLock { state -> Answer in
            let pending = state.pending[write.key]
            guard state.isProven, !state.isStopped, state.taken[write.key] == nil || pending?.isSending == true,
                pending.map({ $0.earlier.count < Self.changeCountMax })
                    ?? (state.pending.count < configuration.waitingMax)
            else { return .refused(nil) }
            do throws(StagingError) { try journal.append(write) } catch { return .refused(error) }
            return .taken(isNew: add(write, mustLook: false, ended, &state))
        }
        switch answer {
        case .taken(isNew: true): begin(write.key)
        case .taken(isNew: false): burst.prolong()
        case .refused(let error?): log.warning("a marker cannot be noted and is written at once: \(error)")
        case .refused(nil): break
        }
        if case .taken = answer { return true }
        return false
    }

    /// The changes of one marker that may wait together: each is a record of the journal.
    private static let changeCountMax = 64

    /// Goes on with what an ended mount had acknowledged.
    /// - Parameter ended: for the marker of a key.
    public func adopt(_ left: LeftRequests<MarkerWrite>, ended: (ObjectKey) -> Ended) {
        do throws(StagingError) {
            for write in left.requests {
                let isNew = try state.withLock { state throws(StagingError) in
                    try journal.append(write)
                    return add(write, mustLook: true, ended(write.key), &state)
                }
                if isNew { begin(write.key) }
            }
        } catch {
            log.error("markers of directories that an earlier mount left wait for the next one: \(error)")
            return
        }
        area.disk.remove(left.path)
    }

    /// Returns whether a worker has to begin for the key.
    private func add(_ write: MarkerWrite, mustLook: Bool, _ ended: @escaping Ended, _ state: inout State) -> Bool {
        if var pending = state.pending[write.key] {
            pending.earlier.append(pending.write.properties.metadata)
            // It is new, or a change, as what it goes on from.
            pending.write = MarkerWrite(
                key: write.key, properties: write.properties, replaced: pending.write.replaced)
            pending.ended = ended
            state.pending[write.key] = pending
            return false
        }
        state.pending[write.key] = Pending(
            write: write, earlier: write.replaced.map { [$0] } ?? [], mustLook: mustLook,
            since: time.monotonicNanoseconds, ended: ended, turn: burst.holdBack())
        return true
    }

    // MARK: Asking

    /// Whether an accepted marker is not in the store yet.
    public func isPending(_ key: ObjectKey) -> Bool { state.withLock { $0.pending[key] != nil } }

    public var isEmpty: Bool { state.withLock { $0.pending.isEmpty } }

    /// What is accepted and not written yet, as uploads of nothing.
    public var progress: [(key: ObjectKey, progress: UploadProgress)] {
        state.withLock { state in
            state.pending.map { key, pending in
                let progress = UploadProgress(
                    phase: pending.isSending ? .sending : .waiting, sentBytes: 0, totalBytes: 0,
                    failure: pending.failure, pendingSince: pending.since, sendingSince: nil, sentBytesBefore: 0)
                return (key, progress)
            }
        }
    }

    /// Returns when what was accepted for the key is in the store, or given up; throws why a try failed that ended after
    /// this was called.
    public func settle(_ key: ObjectKey) async throws(StoreError) {
        enum Answer { case free, ending, later(OneShot<Void>) }
        let outcome: StoreError? = await withCheckedContinuation { continuation in
            let answer = state.withLock { state -> Answer in
                guard let pending = state.pending[key] else { return .free }
                if state.isStopped { return .ending }
                state.pending[key]!.isUrgent = true
                state.pending[key]!.waiters.append(continuation)
                return .later(pending.turn)
            }
            switch answer {
            case .free: continuation.resume(returning: nil)
            case .ending: continuation.resume(returning: Self.ending)
            case .later(let turn): turn.set(())
            }
        }
        if let outcome { throw outcome }
    }

    /// The same for all keys that begin with a prefix, side by side; throws the first failure once all have been tried.
    public func settle(below prefix: ByteString) async throws(StoreError) {
        let keys = state.withLock { $0.pending.keys.filter { $0.bytes.hasPrefix(prefix) } }
        let failure = await withTaskGroup(of: StoreError?.self) { group in
            for key in keys {
                group.addTask {
                    do throws(StoreError) {
                        try await self.settle(key)
                        return nil
                    } catch {
                        return error
                    }
                }
            }
            return await group.reduce(nil) { $0 ?? $1 }
        }
        if let failure { throw failure }
    }

    /// Returns when nothing waits, or what waits has failed once more, in a try that began after this call.
    public func drain() async {
        // The first time it may be one that was under way.
        for _ in 0..<2 {
            do throws(StoreError) { return try await settle(below: "") } catch { continue }
        }
    }

    /// Sends nothing any more, and returns when nothing is on its way: what waits is for the next mount.
    public func stop() async {
        await withCheckedContinuation { continuation in
            let (isIdle, turns, waiters) = state.withLock { state in
                state.isStopped = true
                if state.workerCount > 0 { state.stopWaiters.append(continuation) }
                let waiters = state.pending.values.flatMap(\.waiters)
                for key in state.pending.keys { state.pending[key]!.waiters = [] }
                return (state.workerCount == 0, state.pending.values.map(\.turn), waiters)
            }
            for turn in turns { turn.set(()) }
            for waiter in waiters { waiter.resume(returning: Self.ending) }
            if isIdle { continuation.resume() }
        }
    }

    private static let ending = StoreError(.cancelled, operation: "PutObject", message: "the mount is ending")

    // MARK: Callers' own requests

    /// Runs requests of a caller about a key while none of the queue's is under way, nor another caller's; what is accepted
    /// waits until they are over, and nothing more is. Whoever writes has `settle`d before, and looks whether `isPending`.
    public func exclusively<Value: Sendable, Failure: Error>(
        _ key: ObjectKey, _ body: () async throws(Failure) -> Value
    ) async throws(Failure) -> Value {
        await take(key)
        defer { free(key) }
        return try await body()
    }

    /// Within `exclusively`: what is accepted for the key is not wanted any more.
    /// - Throws: what keeps the journal from saying so: the next mount would write it.
    public func withdraw(_ key: ObjectKey) throws(StagingError) {
        let ended = try state.withLock {
            state throws(StagingError) -> (Ended, [CheckedContinuation<StoreError?, Never>])? in
            guard let pending = state.pending[key] else { return nil }
            try journal.end([key])
            state.pending[key] = nil
            return (pending.ended, pending.waiters)
        }
        guard let (action, waiters) = ended else { return }
        for waiter in waiters { waiter.resume(returning: nil) }
        action(.withdrawn)
    }

    /// Within `exclusively`: writes a marker, and learns whether the bucket takes them.
    public func put(_ request: PutRequest) async throws(StoreError) -> ETag {
        do throws(StoreError) {
            let etag = try await store.put(request)
            state.withLock { $0.isProven = true }
            return etag
        } catch {
            // That somebody else was faster says nothing of that.
            if error.kind != .preconditionFailed { state.withLock { $0.isProven = false } }
            throw error
        }
    }

    private func take(_ key: ObjectKey) async {
        await withCheckedContinuation { continuation in
            let isFree = state.withLock { state in
                guard state.taken[key] == nil else {
                    state.taken[key]!.append(continuation)
                    return false
                }
                state.taken[key] = []
                return true
            }
            if isFree { continuation.resume() }
        }
    }

    /// The next one has it.
    private func free(_ key: ObjectKey) {
        let next = state.withLock { state -> CheckedContinuation<Void, Never>? in
            if state.taken[key]!.isEmpty {
                state.taken[key] = nil
                return nil
            }
            return state.taken[key]!.removeFirst()
        }
        next?.resume()
    }

    // MARK: Sending

    private func begin(_ key: ObjectKey) {
        let turn = state.withLock { state in
            state.workerCount += 1
            return state.pending[key]?.turn
        }
        Task {
            await turn?.wait()
            await self.work(key)
            let waiters = self.state.withLock { state in
                state.workerCount -= 1
                defer { if state.workerCount == 0 { state.stopWaiters = [] } }
                return state.workerCount == 0 ? state.stopWaiters : []
            }
            for waiter in waiters { waiter.resume() }
        }
    }

    private func work(_ key: ObjectKey) async {
        while true {
            let isOver = await places.run { () async -> Bool in
                await self.exclusively(key) { () async -> Bool in await self.attempt(key) }
            }
            if isOver { return }
            await backOff(key)
        }
    }

    /// One try. Returns whether the key has no need of a worker any more.
    private func attempt(_ key: ObjectKey) async -> Bool {
        let begun = state.withLock { state -> Pending? in
            guard !state.isStopped, state.pending[key] != nil else { return nil }
            state.pending[key]!.isSending = true
            return state.pending[key]!
        }
        guard let begun else { return true }
        let outcome: Result<MarkerEnding, StoreError>
        do throws(StoreError) {
            outcome = .success(try await write(begun))
        } catch {
            outcome = .failure(error)
        }
        return end(begun, outcome)
    }

    private func write(_ pending: Pending) async throws(StoreError) -> MarkerEnding {
        let write = pending.write
        let mine = pending.earlier + [write.properties.metadata]
        func put(_ condition: WriteCondition) async throws(StoreError) -> MarkerEnding {
            _ = try await store.put(
                PutRequest(key: write.key, body: nil, properties: write.properties, condition: condition))
            return .written
        }
        if write.replaced == nil {
            do throws(StoreError) { return try await put(.ifAbsent) } catch {
                guard error.kind == .preconditionFailed else { throw error }
            }
        } else if !pending.mustLook {
            return try await put(.none)
        }
        // An earlier try whose answer was lost, or another client?
        let found: ObjectInfo
        do throws(StoreError) { found = try await store.head(write.key) } catch {
            guard error.kind == .notFound else { throw error }
            // Made and removed in between: a new directory is tried again.
            return write.replaced == nil ? try await put(.ifAbsent) : .gone
        }
        if found.properties.metadata == write.properties.metadata { return .written }
        return mine.contains(found.properties.metadata) ? try await put(.none) : .superseded
    }

    /// Returns whether the key has no need of a worker any more.
    private func end(_ begun: Pending, _ outcome: Result<MarkerEnding, StoreError>) -> Bool {
        let key = begun.write.key
        var isOver = true
        var waiters: [CheckedContinuation<StoreError?, Never>] = []
        var ended: Ended?
        var failure: StoreError?
        state.withLock { state in
            guard var pending = state.pending[key] else { return }
            pending.isSending = false
            pending.isUrgent = false
            switch outcome {
            case .success(let ending):
                state.isProven = true
                if ending == .written, pending.write != begun.write {
                    // What came meanwhile is a change of what is there now.
                    pending.write = MarkerWrite(
                        key: key, properties: pending.write.properties, replaced: begun.write.properties.metadata)
                    pending.earlier = [begun.write.properties.metadata]
                    (pending.failure, pending.mustLook) = (nil, false)
                    isOver = false
                    state.pending[key] = pending
                    return
                }
                do throws(StagingError) { try journal.end([key]) } catch {
                    // Else the next mount would write it once more, and the directory may be removed by then.
                    failure = StoreError(.sourceFailed, operation: "PutObject", key: key, message: "\(error)")
                    break
                }
                state.pending[key] = nil
                (waiters, ended) = (pending.waiters, pending.ended)
                return
            case .failure(let error):
                state.isProven = false
                failure = error
            }
            pending.mustLook = true
            pending.failure = failure.map {
                UploadFailure(error: .store($0), tries: (pending.failure?.tries ?? 0) + 1)
            }
            waiters = pending.waiters
            pending.waiters = []
            isOver = state.isStopped
            state.pending[key] = pending
        }
        if let failure, failure.kind != .cancelled {
            log.error("a directory's marker is not written yet: \(failure)", metadata: ["key": "\(key)"])
        }
        if case .success(let ending) = outcome, let ended {
            if ending != .written {
                log.notice("another client has changed the directory '\(key)' since: its attributes stay")
            }
            ended(ending)
        }
        for waiter in waiters { waiter.resume(returning: failure) }
        return isOver
    }

    /// Sleeps in short steps, and no longer once somebody waits for the key.
    private func backOff(_ key: ObjectKey) async {
        func mustWait() -> Bool {
            state.withLock { state in
                guard let pending = state.pending[key] else { return false }
                return pending.failure != nil && !pending.isUrgent && !state.isStopped
            }
        }
        let tries = state.withLock { $0.pending[key]?.failure?.tries } ?? 0
        guard tries > 0 else { return }
        let pause = min(configuration.retryNanoseconds << UInt64(min(tries - 1, 10)), configuration.retryNanosecondsMax)
        let until = time.monotonicNanoseconds &+ UInt64.random(in: pause / 2...pause)
        while time.monotonicNanoseconds < until, mustWait() {
            try? await time.sleep(nanoseconds: min(100_000_000, until &- time.monotonicNanoseconds))
        }
    }
}

/// What became of a marker that was accepted.
public enum MarkerEnding: Sendable, Equatable {
    case written
    /// Another client has the directory with attributes of its own.
    case superseded
    /// Another client has removed the directory whose attributes were to be changed.
    case gone
    /// The directory was removed here.
    case withdrawn
}
