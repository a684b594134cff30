// When to ask again, and how long to wait before. Pure: clock and dice come in.

/// Full jitter over exponential steps
/// (<https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/>), bounded by attempts and by time.
public struct RetryPolicy: Sendable, Equatable {
    /// What kind of failure an attempt ended in.
    public enum Failure: Sendable, Equatable {
        /// A fault or a broken connection: soon over, usually.
        case transient
        /// The server asks for fewer requests, and may say for how long.
        case throttled(retryAfterNanoseconds: UInt64?)
        /// Nobody answers at that address. Given up sooner: whoever waits can often do something about it.
        case unreachable
    }

    /// Attempts in a row without progress, the first included.
    public var attemptsMax: Int
    /// The first step of `.transient` and `.unreachable`; it doubles with each attempt.
    public var baseNanoseconds: UInt64
    /// The first step of `.throttled`.
    public var throttledBaseNanoseconds: UInt64
    /// No wait that we choose is longer.
    public var delayNanosecondsMax: UInt64
    /// From the first attempt, or the last progress, to the start of the last attempt.
    public var deadlineNanoseconds: UInt64
    /// The same for `.unreachable`.
    public var unreachableDeadlineNanoseconds: UInt64

    public init(
        attemptsMax: Int = 20, baseNanoseconds: UInt64 = 100_000_000, throttledBaseNanoseconds: UInt64 = 500_000_000,
        delayNanosecondsMax: UInt64 = 5_000_000_000, deadlineNanoseconds: UInt64 = 50_000_000_000,
        unreachableDeadlineNanoseconds: UInt64 = 6_000_000_000
    ) {
        precondition(attemptsMax >= 1)
        self.attemptsMax = attemptsMax
        self.baseNanoseconds = baseNanoseconds
        self.throttledBaseNanoseconds = throttledBaseNanoseconds
        self.delayNanosecondsMax = delayNanosecondsMax
        self.deadlineNanoseconds = deadlineNanoseconds
        self.unreachableDeadlineNanoseconds = unreachableDeadlineNanoseconds
    }

    /// Gives up after the first failure.
    public static let never = RetryPolicy(attemptsMax: 1)

    /// How long to wait before the next attempt; nil gives up.
    /// - Parameters:
    ///   - attempts: in a row without progress, the failed one included; at least 1.
    ///   - elapsedNanoseconds: since the first of them began.
    ///   - dice: 0 ..< 1.
    public func delayNanoseconds(
        after failure: Failure, attempts: Int, elapsedNanoseconds: UInt64, dice: Double
    ) -> UInt64? {
        precondition(attempts >= 1 && (0..<1).contains(dice))
        guard attempts < attemptsMax else { return nil }
        let base: UInt64
        var delayMin: UInt64 = 0
        var deadline = deadlineNanoseconds
        switch failure {
        case .transient: base = baseNanoseconds
        case .throttled(let retryAfter):
            base = throttledBaseNanoseconds
            delayMin = retryAfter ?? 0
        case .unreachable:
            base = baseNanoseconds
            deadline = unreachableDeadlineNanoseconds
        }
        let doublings = UInt64(min(attempts - 1, 30))
        let (step, overflow) = base.multipliedReportingOverflow(by: 1 << doublings)
        let ceiling = overflow ? delayNanosecondsMax : min(step, delayNanosecondsMax)
        let delay = delayMin + UInt64(Double(ceiling) * dice)
        return elapsedNanoseconds + delay <= deadline ? delay : nil
    }
}
