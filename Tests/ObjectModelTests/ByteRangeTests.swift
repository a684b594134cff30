import ObjectModel
import Testing

@Suite(.timeLimit(.minutes(3)))
struct ByteRangeTests {
    /// All ranges within 0..<7, against the positions they stand for.
    private static let all = (0...7).flatMap { lower in (lower...7).map { ByteRange(lower, $0) } }

    private func positions(_ range: ByteRange) -> Set<Int> { Set(range.lowerBound..<range.upperBound) }

    @Test func measures() {
        for range in Self.all {
            #expect(range.count == positions(range).count)
            #expect(range.isEmpty == positions(range).isEmpty)
            #expect(range.offset == range.lowerBound)
            #expect(ByteRange(offset: range.offset, count: range.count) == range)
            for position in -1...8 { #expect(range.contains(position) == positions(range).contains(position)) }
        }
        #expect("\(ByteRange(3, 9))" == "3..<9")
    }

    @Test func pairs() {
        for left in Self.all {
            for right in Self.all {
                let common = positions(left).intersection(positions(right))
                #expect(left.overlaps(right) == !common.isEmpty, "\(left) \(right)")
                #expect(left.intersection(right).map(positions) ?? [] == common, "\(left) \(right)")
                #expect((left.intersection(right) == nil) == common.isEmpty, "never an empty one: \(left) \(right)")
                #expect(left.contains(right) == positions(right).isSubset(of: positions(left)), "\(left) \(right)")
            }
        }
    }

    @Test func extremes() {
        let whole = ByteRange(0, Int.max)
        #expect(whole.count == Int.max && whole.contains(ByteRange(Int.max, Int.max)) && !whole.contains(Int.max))
        #expect(whole.intersection(ByteRange(Int.max - 1, Int.max)) == ByteRange(Int.max - 1, Int.max))
    }

    @Test func negativeStart() async {
        await #expect(processExitsWith: .failure) { _ = ByteRange(-1, 1) }
    }

    @Test func endBeforeStart() async {
        await #expect(processExitsWith: .failure) { _ = ByteRange(2, 1) }
    }

    @Test func endBeyondInt() async {
        await #expect(processExitsWith: .failure) { _ = ByteRange(offset: 2, count: Int.max) }
    }
}
