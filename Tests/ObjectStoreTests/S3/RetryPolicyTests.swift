// The arithmetic of waiting.

@testable import ObjectStore
import Testing

@Suite(.timeLimit(.minutes(3)))
struct RetryPolicyTests {
    static let policy = RetryPolicy(
        attemptsMax: 5, baseNanoseconds: 100, throttledBaseNanoseconds: 1000, delayNanosecondsMax: 500,
        deadlineNanoseconds: 10_000, unreachableDeadlineNanoseconds: 300)

    @Test(arguments: [
        (RetryPolicy.Failure.transient, 1, 0, 0.5, 50 as UInt64?),
        (.transient, 2, 0, 0.5, 100),
        (.transient, 3, 0, 0.5, 200),
        (.transient, 4, 0, 0.5, 250),
        (.transient, 4, 0, 0, 0),
        (.transient, 5, 0, 0.5, nil),
        (.transient, 1, 9_950, 0.5, 50),
        (.transient, 1, 9_951, 0.5, nil),
        (.throttled(retryAfterNanoseconds: nil), 1, 0, 0.5, 250),
        (.throttled(retryAfterNanoseconds: 3_000), 1, 0, 0.5, 3_250),
        (.throttled(retryAfterNanoseconds: 20_000), 1, 0, 0.5, nil),
        (.unreachable, 1, 0, 0.5, 50),
        (.unreachable, 2, 200, 0.5, 300 - 200),
        (.unreachable, 2, 201, 0.5, nil),
    ])
    func delays(
        _ failure: RetryPolicy.Failure, _ attempts: Int, _ elapsed: UInt64, _ dice: Double, _ delay: UInt64?
    ) {
        #expect(
            Self.policy.delayNanoseconds(
                after: failure, attempts: attempts, elapsedNanoseconds: elapsed, dice: dice) == delay)
    }

    @Test func hugeAttemptsDoNotOverflow() {
        let policy = RetryPolicy(attemptsMax: .max, baseNanoseconds: .max / 2, delayNanosecondsMax: 10_000_000_000)
        #expect(
            policy.delayNanoseconds(after: .transient, attempts: 1_000_000, elapsedNanoseconds: 0, dice: 0.5)
                == 5_000_000_000)
    }

    @Test func neverIsOneAttempt() {
        #expect(
            RetryPolicy.never.delayNanoseconds(after: .transient, attempts: 1, elapsedNanoseconds: 0, dice: 0) == nil)
    }
}
