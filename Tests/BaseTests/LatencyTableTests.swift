// Histograms of durations.

import Testing

@testable import Base

@Suite(.timeLimit(.minutes(3)))
struct LatencyTableTests {
    @Test(
        arguments: [
            (0, 0), (16_383, 0), (16_384, 1), (32_767, 1), (32_768, 2), (1_000_000, 6), (17_179_869_183, 20),
            (17_179_869_184, 21), (UInt64.max, 21),
        ] as [(UInt64, Int)])
    func aDurationFallsBelowItsBound(nanoseconds: UInt64, bucket: Int) {
        #expect(LatencyTable.bucket(nanoseconds) == bucket)
        if bucket < LatencyTable.bucketCount - 1 { #expect(nanoseconds < LatencyTable.upperNanoseconds[bucket]) }
        if bucket > 0 { #expect(nanoseconds >= LatencyTable.upperNanoseconds[bucket - 1]) }
    }

    @Test func kindsAreApartAndSumsAreKept() {
        let table = LatencyTable(kindCount: 3)
        for _ in 0..<98 { table.record(kind: 1, nanoseconds: 20_000) }
        table.record(kind: 1, nanoseconds: 5_000_000)
        table.record(kind: 1, nanoseconds: 1 << 40)
        // A kind that nobody knows is nobody's.
        table.record(kind: 3, nanoseconds: 1)
        table.record(kind: -1, nanoseconds: 1)
        let histogram = table.histogram(kind: 1)
        #expect(histogram.count == 100)
        #expect(histogram.sumNanoseconds == 98 * 20_000 + 5_000_000 + 1 << 40)
        #expect(histogram.quantileNanoseconds(0.5) == 32_768)
        #expect(histogram.quantileNanoseconds(0.99) == 8_388_608)
        #expect(histogram.quantileNanoseconds(1) == LatencyTable.upperNanoseconds.last)
        #expect(table.histogram(kind: 0).count == 0 && table.histogram(kind: 2).count == 0)
        #expect(table.histogram(kind: 0).quantileNanoseconds(0.5) == nil)
    }
}
