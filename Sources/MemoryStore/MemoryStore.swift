// A store of objects in memory, for tests: what S3 forgives, it refuses, and everything it was asked can be counted,
// held, or made to fail.

public import Base
internal import ObjectModel
public import ObjectStore

/// An in-memory `ObjectStore` that is stricter than S3. Thread-safe. No product links it.
///
/// Stricter: each write has an ETag of its own even when the bytes are the same; times have whole seconds; listing
/// tokens work only for the listing they came from; metadata names must be lower-case;
/// a completed upload is gone at once; each body is read twice and must not change; bytes given to a sink are
/// overwritten after the call; a condition that `capabilities` does not have is refused, not ignored.
public final class MemoryStore: ObjectStore {
    /// Where a request can be held by `pause`.
    public enum Stage: Sendable, Hashable {
        /// It has arrived, and nothing is done.
        case beforeExecution
        /// It is done, and the answer is not given.
        case beforeAnswer
    }

    struct Object: Sendable {
        var bytes: [UInt8]
        var info: ObjectInfo
    }

    struct Upload: Sendable {
        struct Part: Sendable {
            var bytes: [UInt8]
            var etag: ETag
        }

        let key: ObjectKey
        let properties: ObjectProperties
        let created: Timestamp
        var parts: [Int: Part] = [:]
    }

    struct State {
        var capabilities: StoreCapabilities
        var requireIfMatch = false
        var objects: [ObjectKey: Object] = [:]
        /// The keys of `objects`, in order.
        var keys: [ObjectKey] = []
        var tags: [ObjectKey: [ObjectTag]] = [:]
        var uploads: [UploadID: Upload] = [:]
        var faults = FaultPlan()
        var random: SplitMix64
        /// Never repeated: the source of ETags, upload ids.
        var serial: UInt64 = 0
        var counts = RequestCounts()
        var log: [RequestRecord] = []
        /// Counts the resets, so that a request that began before one does not write into the new log.
        var logGeneration = 0
        var inFlightCount = 0
    }

    /// The clock of LastModified and of slow answers.
    public let time: any TimeSource
    // Nothing is called while it is held: no sink, no source, no continuation.
    let state: Lock<State>
    let gate = RequestGate()
    /// Signs listing tokens, so that those of another store are refused.
    let tokenSalt: UInt64

    /// - Parameters:
    ///   - time: whose `now` becomes LastModified.
    ///   - capabilities: limits and abilities to pretend; small part sizes make small tests.
    ///   - seed: of ETags and of the sizes of the pieces that bodies are delivered in.
    public init(
        time: any TimeSource = SimulatedTime(), capabilities: StoreCapabilities = .init(), seed: UInt64 = 1
    ) {
        self.time = time
        tokenSalt = seed
        state = Lock(State(capabilities: capabilities, random: SplitMix64(seed: seed)))
    }

    public var capabilities: StoreCapabilities { state.withLock { $0.capabilities } }

    public func setCapabilities(_ capabilities: StoreCapabilities) {
        state.withLock { $0.capabilities = capabilities }
    }

    /// Whether a GET without `If-Match` is refused with `.invalidRequest`. Off at first.
    public var requireIfMatch: Bool {
        get { state.withLock { $0.requireIfMatch } }
        set { state.withLock { $0.requireIfMatch = newValue } }
    }

    /// Installs a plan; its counting starts now. The empty plan ends all faults.
    public func setFaults(_ plan: FaultPlan) {
        state.withLock { $0.faults = plan }
    }

    // MARK: Counting

    /// What was asked since the last reset.
    public var requests: RequestCounts { state.withLock { $0.counts } }

    /// Every request since the last reset, in the order of arrival.
    public var requestLog: [RequestRecord] { state.withLock { $0.log } }

    /// Begins counting anew. Requests in flight are not counted again.
    public func resetRequests() {
        state.withLock { state in
            state.counts = RequestCounts()
            state.log = []
            state.logGeneration += 1
        }
    }

    // MARK: Holding

    /// Makes requests of that kind wait, until `resume` or the cancellation of their task.
    public func pause(_ operation: StoreOperation, at stage: Stage = .beforeExecution) {
        gate.close(.init(operation: operation, stage: stage))
    }

    /// Lets held and coming requests go on.
    public func resume(_ operation: StoreOperation, at stage: Stage = .beforeExecution) {
        gate.open(.init(operation: operation, stage: stage))
    }

    /// Lets one held request go on, of those that `isMeant` names the first that came; false when none is held.
    /// Requests of one caller may come in any order, so a test that needs a certain one must name it.
    @discardableResult
    public func resumeOne(
        _ operation: StoreOperation, at stage: Stage = .beforeExecution,
        where isMeant: (RequestRecord) -> Bool = { _ in true }
    ) -> Bool {
        gate.openOnce(.init(operation: operation, stage: stage), where: isMeant)
    }

    /// Returns once `count` requests of that kind are held.
    public func untilHeld(_ operation: StoreOperation, count: Int = 1, at stage: Stage = .beforeExecution) async {
        await gate.untilHeld(.init(operation: operation, stage: stage), count: count)
    }

    /// How many requests of that kind are held now.
    public func heldCount(_ operation: StoreOperation, at stage: Stage = .beforeExecution) -> Int {
        gate.heldCount(.init(operation: operation, stage: stage))
    }
}
