// Latencies counted as they come, without a lock and without an allocation.

internal import Synchronization

/// Histograms of durations, one for each of a fixed number of kinds. Thread-safe; recording is a few atomic additions.
///
/// Bucket `i` counts durations below 2^(14+i) ns (16 µs, 33 µs, … 17 s), the last one all others: fine enough to tell a hit from a
/// miss from a hang, and an index by the position of the highest bit.
public final class LatencyTable: @unchecked Sendable {
    /// One kind at one moment.
    public struct Histogram: Sendable, Equatable {
        /// Not cumulative.
        public var counts: [UInt64]
        public var sumNanoseconds: UInt64

        public var count: UInt64 { counts.reduce(0, +) }

        /// A bound that the given share of the durations (0...1) does not exceed; nil without any. In the last bucket the
        /// bound is unknown, and the answer is the bound below it.
        public func quantileNanoseconds(_ share: Double) -> UInt64? {
            let total = count
            guard total > 0 else { return nil }
            let wanted = UInt64((Double(total) * share).rounded(.up))
            var seen: UInt64 = 0
            for (index, count) in counts.enumerated() {
                seen += count
                if seen >= max(1, wanted) {
                    return LatencyTable.upperNanoseconds[min(index, LatencyTable.bucketCount - 2)]
                }
            }
            return nil
        }
    }

    /// The last bucket has no bound.
    public static let bucketCount = 22
    private static let firstBit = 14
    /// The bounds of all buckets but the last.
    public static let upperNanoseconds: [UInt64] = (0..<(bucketCount - 1)).map { 1 << UInt64(firstBit + $0) }

    public let kindCount: Int
    // SAFETY: allocated and initialised in init for the life of the object; cells are atomic. A row is the buckets and
    // the sum.
    private let cells: UnsafeMutablePointer<Atomic<UInt64>>
    private static let rowCells = bucketCount + 1

    public init(kindCount: Int) {
        self.kindCount = kindCount
        cells = .allocate(capacity: kindCount * Self.rowCells)
        for index in 0..<(kindCount * Self.rowCells) { (cells + index).initialize(to: Atomic(0)) }
    }

    deinit {
        cells.deinitialize(count: kindCount * Self.rowCells)
        cells.deallocate()
    }

    /// Counts one duration.
    @inline(__always)
    public func record(kind: Int, nanoseconds: UInt64) {
        guard kind >= 0, kind < kindCount else { return }
        let row = cells + kind * Self.rowCells
        row[Self.bucket(nanoseconds)].add(1, ordering: .relaxed)
        row[Self.bucketCount].add(nanoseconds, ordering: .relaxed)
    }

    /// What was counted so far of one kind.
    public func histogram(kind: Int) -> Histogram {
        precondition(kind >= 0 && kind < kindCount)
        let row = cells + kind * Self.rowCells
        return Histogram(
            counts: (0..<Self.bucketCount).map { row[$0].load(ordering: .relaxed) },
            sumNanoseconds: row[Self.bucketCount].load(ordering: .relaxed))
    }

    @inline(__always)
    static func bucket(_ nanoseconds: UInt64) -> Int {
        let highest = 64 - (nanoseconds >> UInt64(firstBit)).leadingZeroBitCount
        return min(highest, bucketCount - 1)
    }
}
