// Removals that follow each other: acknowledged at once, made in batches.

public import Base
internal import Glibc
public import Logging
public import ObjectModel
public import ObjectStore

/// What is to be removed from the bucket, and was acknowledged before that. Thread-safe.
///
/// A removal is in the journal before it is acknowledged, and until the store has answered for it. What waits is sent as
/// soon as nothing is on its way, in as few requests as there are then; no timer is involved. A removal that the store
/// could not be asked for is tried until it is; one that it refuses is given up: whoever asked is told (`onRefused`), and
/// from then on nothing is acknowledged early until a removal was seen to succeed.
///
/// Whoever uses a key meanwhile asks `settle` first: see `SettledStore`.
public final class RemovalQueue: Sendable {
    /// How removals are put together.
    public struct Configuration: Sendable {
        /// Keys of a request. Servers remove the keys of one request one after another, or nearly so: several requests
        /// side by side are faster than one of the 1,000 that S3 allows.
        public var batchCountMax = 250
        /// Another request beside those under way is worth it from so many keys on.
        public var batchCountWorthwhile = 50
        public var inFlightMax = 8
        /// Removals that may wait; beyond that `remove` refuses, and callers go the slow way.
        public var waitingMax = 10_000
        public var retryNanoseconds: UInt64 = 500_000_000
        public var retryNanosecondsMax: UInt64 = 30_000_000_000

        public init() {}
    }

    private struct Pending {
        /// Of one key. More than one where earlier mounts have left them: each is of another version.
        var removals: [Removal]
        /// Left by an earlier mount: the object may be another one by now.
        let isLeft: Bool
        var waiters: [CheckedContinuation<StoreError?, Never>] = []

        var key: ObjectKey { removals[0].version.key }
    }

    private struct State {
        var pending: [ObjectKey: Pending] = [:]
        /// Those that are not on their way, the first ones first.
        var waiting: [ObjectKey] = []
        var inFlightCount = 0
        var failureCount = 0
        /// Nothing is sent before that (monotonic nanoseconds), after a failure.
        var pausedUntil: UInt64 = 0
        var refusals: [ObjectKey: StoreError] = [:]
        var lastError: StoreError?
        var refused: (@Sendable ([ObjectKey]) -> Void)?
        var epoch = 0
        var isStopped = false
        var stopWaiters: [CheckedContinuation<Void, Never>] = []
    }

    private let store: any ObjectStore
    private let area: StagingArea
    private let configuration: Configuration
    private let time: any TimeSource
    private let log: Logger
    private let journal: RemovalJournal
    // A leaf lock.
    private let state = Lock(State())

    /// How many refusals are remembered for those who ask about them.
    private static let refusalCountMax = 1000

    /// - Parameter store: the store itself, not a `SettledStore`.
    public init(
        store: any ObjectStore, area: StagingArea, configuration: Configuration = Configuration(),
        time: any TimeSource, log: Logger
    ) {
        self.store = store
        self.area = area
        self.configuration = configuration
        self.time = time
        self.log = log
        journal = RemovalJournal(path: area.newPath(suffix: RemovalJournal.suffix), disk: area.disk)
    }

    /// Sets who hears that objects could not be removed: their names are there again. Called outside all locks.
    public func onRefused(_ action: @escaping @Sendable ([ObjectKey]) -> Void) {
        state.withLock { $0.refused = action }
    }

    /// Counts the failures: what was believed of the store before one does not hold after it.
    public var epoch: Int { state.withLock { $0.epoch } }

    /// Takes a removal over. Once this returns true, it will be made, by this mount or the next one of the bucket.
    /// False when it cannot be taken: the local disk refuses the journal, or too much waits already.
    public func remove(_ removal: Removal) -> Bool {
        let key = removal.version.key
        let isTaken = state.withLock { state in
            guard state.pending.count < configuration.waitingMax, state.pending[key] == nil, !state.isStopped else {
                return false
            }
            state.pending[key] = Pending(removals: [removal], isLeft: false)
            return true
        }
        guard isTaken else { return false }
        do throws(StagingError) {
            try journal.append(removal)
        } catch {
            log.warning("a removal cannot be noted and is made at once: \(error)")
            let waiters = state.withLock { $0.pending.removeValue(forKey: key)?.waiters ?? [] }
            for waiter in waiters { waiter.resume(returning: nil) }
            return false
        }
        state.withLock { $0.waiting.append(key) }
        pump()
        return true
    }

    /// Goes on with what an ended mount had acknowledged. Each is removed only if it is still what it was then. Before the
    /// first removal of this mount's own.
    public func adopt(_ left: LeftRequests<Removal>) {
        for removal in left.requests {
            let key = removal.version.key
            // A mount that was killed when it had just adopted them has left them in two journals.
            if state.withLock({ $0.pending[key]?.removals.contains(removal) == true }) { continue }
            do throws(StagingError) {
                try journal.append(removal)
            } catch {
                log.error("removals that an earlier mount left wait for the next one: \(error)")
                return
            }
            state.withLock { state in
                if state.pending[key]?.removals.append(removal) == nil {
                    state.pending[key] = Pending(removals: [removal], isLeft: true)
                    state.waiting.append(key)
                }
            }
        }
        area.disk.remove(left.path)
    }

    /// Sends what was adopted, once all of it is.
    public func resume() { pump() }

    // MARK: Waiting

    /// Returns when the key is free to be used: what was to be removed there is. Throws what keeps it from being so.
    public func settle(_ key: ObjectKey) async throws(StoreError) {
        enum Answer { case free, ending, later }
        let outcome: StoreError? = await withCheckedContinuation { continuation in
            let answer = state.withLock { state -> Answer in
                guard state.pending[key] != nil else { return .free }
                if state.isStopped { return .ending }
                // Somebody needs it now: a pause after a failure is over.
                state.pausedUntil = 0
                state.pending[key]!.waiters.append(continuation)
                return .later
            }
            switch answer {
            case .free: continuation.resume(returning: nil)
            case .ending: continuation.resume(returning: Self.ending)
            case .later: pump()
            }
        }
        if let outcome { throw outcome }
    }

    /// The same for all keys that begin with a prefix.
    public func settle(below prefix: ByteString) async throws(StoreError) {
        for key in pendingKeys where key.bytes.hasPrefix(prefix) { try await settle(key) }
    }

    /// Why something below the prefix could not be removed, told once.
    public func takeRefusal(below prefix: ByteString) -> StoreError? {
        state.withLock { state in
            guard !state.refusals.isEmpty else { return nil }
            let found = state.refusals.filter { $0.key.bytes.hasPrefix(prefix) }
            for key in found.keys { state.refusals[key] = nil }
            return found.values.first
        }
    }

    /// What is acknowledged and not made yet.
    public var pendingKeys: [ObjectKey] {
        state.withLock { $0.pending.isEmpty ? [] : Array($0.pending.keys) }
    }

    /// Why the last try failed; nil once one succeeded.
    public var lastError: StoreError? { state.withLock { $0.lastError } }

    /// How removals that are not made yet show among the uploads.
    public var progress: UploadProgress {
        let (error, isSending) = state.withLock { ($0.lastError, $0.inFlightCount > 0) }
        return UploadProgress(
            phase: isSending ? .sending : .waiting, sentBytes: 0, totalBytes: 0,
            failure: error.map { UploadFailure(error: .store($0), tries: 1) }, pendingSince: nil, sendingSince: nil,
            sentBytesBefore: 0)
    }

    /// Sends nothing any more, and returns when nothing is on its way: what waits is for the next mount.
    public func stop() async {
        await withCheckedContinuation { continuation in
            let (isIdle, waiters) = state.withLock { state in
                state.isStopped = true
                if state.inFlightCount > 0 { state.stopWaiters.append(continuation) }
                // Those who wait for what will not be sent.
                var waiters: [CheckedContinuation<StoreError?, Never>] = []
                for key in state.waiting {
                    waiters += state.pending[key]?.waiters ?? []
                    state.pending[key]?.waiters = []
                }
                return (state.inFlightCount == 0, waiters)
            }
            for waiter in waiters { waiter.resume(returning: Self.ending) }
            if isIdle { continuation.resume() }
        }
    }

    private static let ending = StoreError(.cancelled, operation: "DeleteObjects", message: "the mount is ending")

    /// Returns when nothing waits, or what waits has failed once more.
    public func drain() async {
        for key in pendingKeys {
            do throws(StoreError) { try await settle(key) } catch { return }
        }
    }

    // MARK: Sending

    /// Sends what may be sent now.
    private func pump() {
        let (count, worthwhile) = (configuration.batchCountMax, configuration.batchCountWorthwhile)
        while true {
            let batch = state.withLock { state -> [Pending] in
                guard !state.waiting.isEmpty, !state.isStopped, state.inFlightCount < configuration.inFlightMax,
                    state.inFlightCount == 0 || state.waiting.count >= worthwhile,
                    time.monotonicNanoseconds >= state.pausedUntil
                else { return [] }
                let keys = state.waiting.prefix(count)
                state.waiting.removeFirst(keys.count)
                state.inFlightCount += 1
                return keys.map { key in
                    guard let pending = state.pending[key] else { preconditionFailure("waiting and not pending") }
                    return pending
                }
            }
            if batch.isEmpty { return }
            Task { await self.send(batch) }
        }
    }

    private func send(_ batch: [Pending]) async {
        var failures: [ObjectKey: StoreError] = [:]
        do throws(StoreError) {
            var keys = batch.filter { !$0.isLeft }.map(\.key)
            for left in batch where left.isLeft {
                if try await isStill(left) { keys.append(left.key) }
            }
            if keys.count == 1 {
                try await store.delete(keys[0])
            } else if !keys.isEmpty {
                for (key, error) in try await store.delete(keys) { failures[key] = error }
            }
        } catch {
            for item in batch { failures[item.key] = error }
        }
        end(batch, failures)
        pump()
    }

    /// Whether an object that an earlier mount was to remove is there, and no other in its place.
    private func isStill(_ left: Pending) async throws(StoreError) -> Bool {
        do throws(StoreError) {
            let found = try await store.head(left.key)
            if left.removals.contains(where: { $0.isStill(found) }) { return true }
            log.notice("'\(left.key)' was removed before the last mount ended, and is another object by now")
            return false
        } catch {
            if error.kind == .notFound { return false }
            throw error
        }
    }

    private func end(_ batch: [Pending], _ failures: [ObjectKey: StoreError]) {
        let keys = batch.map(\.key)
        var ended = keys.filter { failures[$0].map { !Self.isPassing($0) } ?? true }
        var journalFailure: StoreError?
        if !ended.isEmpty {
            do throws(StagingError) {
                try journal.end(ended)
            } catch {
                // Not free: the next mount would take what comes there for what was removed. It is removed once more.
                journalFailure = StoreError(.sourceFailed, operation: "DeleteObjects", message: "\(error)")
                ended = []
            }
        }
        let endedKeys = Set(ended)
        let refused = failures.filter { endedKeys.contains($0.key) }
        let again = keys.filter { !endedKeys.contains($0) }
        let error = journalFailure ?? again.compactMap { failures[$0] }.first ?? refused.values.first
        let pause = min(
            configuration.retryNanoseconds << UInt64(min(10, state.withLock { $0.failureCount })),
            configuration.retryNanosecondsMax)
        let (waiters, stopWaiters, action) = state.withLock { state in
            state.inFlightCount -= 1
            state.lastError = error
            if error != nil { state.epoch += 1 }
            state.failureCount = again.isEmpty ? 0 : state.failureCount + 1
            var waiters: [(CheckedContinuation<StoreError?, Never>, StoreError?)] = []
            for key in ended {
                waiters += (state.pending.removeValue(forKey: key)?.waiters ?? []).map { ($0, nil) }
            }
            for key in again {
                waiters += (state.pending[key]?.waiters ?? []).map { ($0, failures[key] ?? journalFailure) }
                state.pending[key]?.waiters = []
            }
            state.waiting.insert(contentsOf: again, at: 0)
            if !again.isEmpty { state.pausedUntil = time.monotonicNanoseconds &+ pause }
            if state.refusals.count < Self.refusalCountMax {
                state.refusals.merge(refused) { _, new in new }
            }
            let stopWaiters = state.isStopped && state.inFlightCount == 0 ? state.stopWaiters : []
            if !stopWaiters.isEmpty { state.stopWaiters = [] }
            return (waiters, stopWaiters, state.refused)
        }
        if let first = refused.first {
            log.error(
                "\(refused.count) objects could not be removed and are there again, '\(first.key)' first: \(first.value)"
            )
            action?(Array(refused.keys))
        }
        if let error, !again.isEmpty {
            log.warning("\(again.count) removals are not made yet and are tried again: \(error)")
            Task {
                try? await time.sleep(nanoseconds: pause)
                self.pump()
            }
        }
        for (waiter, outcome) in waiters { waiter.resume(returning: outcome) }
        for waiter in stopWaiters { waiter.resume() }
    }

    /// Whether trying again may help. Else the store has said no.
    private static func isPassing(_ error: StoreError) -> Bool {
        switch error.kind {
        case .throttled, .serverFault, .timedOut, .unreachable, .malformedResponse, .cancelled, .expiredCredentials,
            .sourceFailed:
            true
        case .notFound, .bucketNotFound, .preconditionFailed, .invalidRange, .accessDenied, .badCredentials, .archived,
            .tooLarge, .quotaExceeded, .unsupported, .invalidRequest:
            false
        }
    }
}
