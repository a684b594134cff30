// How fast something goes, of late.

/// A rate over the last few seconds. Pure: the caller brings time.
public struct RateEstimate: Sendable {
    private struct Sample {
        let nanoseconds: UInt64
        let count: Int
    }

    static let windowNanoseconds: UInt64 = 8_000_000_000
    private static let sampleCountMax = 64

    /// Oldest first, never more than `sampleCountMax`.
    private var samples: [Sample] = []

    public init() {}

    /// Takes the count reached at a monotonic time.
    public mutating func add(_ count: Int, at nanoseconds: UInt64) {
        samples.append(Sample(nanoseconds: nanoseconds, count: count))
        // One sample older than the window stays, so that a slow stream keeps a rate.
        while samples.count > 2,
            samples[1].nanoseconds &+ Self.windowNanoseconds < nanoseconds
                || samples.count > Self.sampleCountMax
        {
            samples.removeFirst()
        }
    }

    /// Per second; nil until two samples lie half a second apart.
    public var perSecond: Double? {
        guard let first = samples.first, let last = samples.last, last.nanoseconds >= first.nanoseconds + 500_000_000
        else { return nil }
        return Double(max(0, last.count - first.count)) / (Double(last.nanoseconds - first.nanoseconds) / 1e9)
    }
}
