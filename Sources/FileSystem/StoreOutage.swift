// Whether the store is worth asking: after it could not be reached, what is known serves for a while.

internal import Base
internal import ObjectStore

/// What the filesystem saw last of the store's reachability. A pure value; the owner guards it, and brings the time.
///
/// reachable → (a request got no answer) → out for `pauseNanoseconds` → the next question tries again.
struct StoreOutage: Sendable, Equatable {
    /// How long known names and attributes are used without asking again.
    static let pauseNanoseconds: UInt64 = 5_000_000_000

    private var endNanoseconds: UInt64 = 0

    func isOut(now: UInt64) -> Bool { now < endNanoseconds }

    mutating func failed(now: UInt64) {
        endNanoseconds = now &+ Self.pauseNanoseconds
    }

    mutating func answered() {
        endNanoseconds = 0
    }
}

extension FileSystemError {
    /// Whether the store did not answer: then what was known before is the best there is.
    var isOutage: Bool { kind == .timedOut || kind == .unreachable }
}

extension FileSystem {
    /// Whether names and attributes that were known are used beyond their TTL without asking the store.
    var sparesStore: Bool {
        configuration.isOffline || outage.withLock { $0.isOut(now: nowNanoseconds) }
    }

    /// Asks the store by `body`. When it does not answer, or is not to be asked, `known` serves; nil when nothing is known.
    /// - Parameter directory: what is asked for: what was remembered of its entries from an earlier mount is known then.
    func asking<Value: Sendable>(
        below directory: UInt64? = nil, _ body: () async throws(FileSystemError) -> Value, known: () -> Value?
    ) async throws(FileSystemError) -> Value {
        func knownAtLast() async -> Value? {
            if let value = known() { return value }
            guard let directory else { return nil }
            await recall(directory)
            return known()
        }
        if sparesStore, let value = await knownAtLast() { return value }
        do throws(FileSystemError) {
            let value = try await body()
            outage.withLock { $0.answered() }
            return value
        } catch {
            guard error.isOutage else { throw error }
            let now = nowNanoseconds
            outage.withLock { $0.failed(now: now) }
            guard let value = await knownAtLast() else { throw error }
            return value
        }
    }
}
