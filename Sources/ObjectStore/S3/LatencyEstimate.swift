// A running estimate of how long something takes, as quantiles. Pure.

internal import Glibc

/// A histogram over logarithmic buckets that forgets: old samples weigh half for each `sampleCountMax` newer ones.
struct LatencyEstimate: Equatable {
    /// Four buckets to each doubling, from one millisecond to a minute: an answer is at most a fifth too high.
    private static let bucketCount = 64
    private static let shortestNanoseconds: Double = 1_000_000
    /// All weights are halved when there are so many.
    static let sampleCountMax: UInt32 = 2000

    private var weights = [UInt32](repeating: 0, count: bucketCount)
    /// The sum of the weights.
    private(set) var sampleCount: UInt32 = 0

    mutating func add(nanoseconds: UInt64) {
        let steps = log2(max(1, Double(nanoseconds) / Self.shortestNanoseconds)) * 4
        weights[min(Int(steps.rounded(.up)), Self.bucketCount - 1)] += 1
        sampleCount += 1
        guard sampleCount >= Self.sampleCountMax else { return }
        for index in weights.indices { weights[index] /= 2 }
        sampleCount = weights.reduce(0, +)
    }

    /// The upper end of the bucket in which the quantile lies; nil before `samplesMin` samples.
    /// - Parameter fraction: 0 ... 1.
    func quantileNanoseconds(_ fraction: Double, samplesMin: UInt32) -> UInt64? {
        guard sampleCount >= max(1, samplesMin) else { return nil }
        let rank = UInt32((Double(sampleCount) * fraction).rounded(.up))
        var sum: UInt32 = 0
        for (index, weight) in weights.enumerated() {
            sum += weight
            if sum >= max(1, rank) { return Self.upperEndNanoseconds(index) }
        }
        return Self.upperEndNanoseconds(Self.bucketCount - 1)
    }

    private static func upperEndNanoseconds(_ index: Int) -> UInt64 {
        UInt64(shortestNanoseconds * exp2(Double(index) / 4))
    }
}
