// Whether removals follow each other: what decides if one is acknowledged before the store has made it.

/// The removals of one directory and of those below it. A pure value; the owner guards it.
///
/// The first ones wait for the store's answer, so that a refusal (policies are about prefixes) is told where it belongs, and
/// that whoever removes a single file finds it gone in the bucket, too. After a failure anywhere it begins anew.
struct RemovalBurst: Sendable, Equatable {
    private var count = 0
    private var lastNanoseconds: UInt64 = 0
    private var epoch = 0

    /// Removals that wait before those that need not.
    static let waitingCount = 2
    /// The longest pause between two, from the answer to the next call: the kernel asks for a name before it removes it.
    static let pauseNanosecondsMax: UInt64 = 100_000_000

    /// Whether a removal that is asked for now need not wait.
    /// - Parameter epoch: see `RemovalQueue.epoch`.
    func goesOn(now: UInt64, epoch: Int) -> Bool {
        count >= Self.waitingCount && epoch == self.epoch && now <= lastNanoseconds &+ Self.pauseNanosecondsMax
    }

    /// A removal was answered with success.
    /// - Parameter startedAt: when it was asked for; monotonic nanoseconds.
    mutating func succeeded(startedAt: UInt64, now: UInt64, epoch: Int) {
        if epoch != self.epoch || startedAt > lastNanoseconds &+ Self.pauseNanosecondsMax { count = 0 }
        (count, lastNanoseconds, self.epoch) = (min(count + 1, Self.waitingCount), now, epoch)
    }
}
