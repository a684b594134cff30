// Whether the cache's disk is tried: a failing one is left alone for a while, and said once. Pure.

/// The state of one direction, reading or writing.
///
/// works → failed (left alone until a time) → tried again → works | failed.
struct DiskHealth {
    /// How long a disk that failed is left alone.
    static let pauseNanoseconds: UInt64 = 30_000_000_000

    /// What is done, for the log: `reading`, `writing`.
    let purpose: String
    private var retryAt: UInt64?

    init(purpose: String) {
        self.purpose = purpose
    }

    func mayTry(at now: UInt64) -> Bool { retryAt.map { now >= $0 } ?? true }

    /// Returns the line to log; nil when this outage was told of already.
    mutating func failed(_ reason: String, at now: UInt64) -> String? {
        let isFirst = retryAt == nil
        retryAt = now + Self.pauseNanoseconds
        guard isFirst else { return nil }
        let seconds = Self.pauseNanoseconds / 1_000_000_000
        return "\(purpose) failed, going on without (\(reason)); tried again every \(seconds) s"
    }

    /// Returns the line to log when an outage ended with it.
    mutating func worked() -> String? {
        guard retryAt != nil else { return nil }
        retryAt = nil
        return "\(purpose) works again"
    }
}
