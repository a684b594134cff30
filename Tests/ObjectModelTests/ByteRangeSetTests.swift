import ObjectModel
import Testing

@Suite(.timeLimit(.minutes(3)))
struct ByteRangeSetTests {
    @Test(
        arguments: [
            // Inserted, and what becomes of it.
            ([(0, 5), (5, 10)], [(0, 10)]), ([(5, 10), (0, 5)], [(0, 10)]), ([(0, 4), (5, 10)], [(0, 4), (5, 10)]),
            ([(0, 2), (4, 6), (8, 10), (1, 9)], [(0, 10)]), ([(0, 10), (3, 4)], [(0, 10)]),
            ([(3, 4), (0, 10)], [(0, 10)]), ([(2, 4), (6, 8), (4, 6)], [(2, 8)]), ([(5, 5)], []),
            ([(1, 2), (0, 1)], [(0, 2)]),
        ] as [([(Int, Int)], [(Int, Int)])])
    func insertion(_ inserted: [(Int, Int)], _ ranges: [(Int, Int)]) {
        let set = ByteRangeSet(inserted.map { ByteRange($0.0, $0.1) })
        #expect(set.ranges == ranges.map { ByteRange($0.0, $0.1) })
    }

    @Test(
        arguments: [
            (0, 10, []), (3, 5, [(0, 3), (5, 10)]), (0, 3, [(3, 10)]), (7, 20, [(0, 7)]), (10, 20, [(0, 10)]),
            (4, 4, [(0, 10)]),
        ] as [(Int, Int, [(Int, Int)])])
    func removalFromTen(_ lower: Int, _ upper: Int, _ ranges: [(Int, Int)]) {
        var set = ByteRangeSet([ByteRange(0, 10)])
        set.remove(ByteRange(lower, upper))
        #expect(set.ranges == ranges.map { ByteRange($0.0, $0.1) })
    }

    /// Hundreds of random steps, compared with a bitmap after each.
    @Test(arguments: 0..<40 as Range<UInt64>)
    func againstABitmap(_ seed: UInt64) {
        var dice = Dice(seed: seed)
        let size = Int.random(in: 8...64, using: &dice)
        var set = ByteRangeSet()
        var bitmap = [Bool](repeating: false, count: size)
        func range() -> ByteRange {
            let ends = [Int.random(in: 0...size, using: &dice), Int.random(in: 0...size, using: &dice)].sorted()
            // Mostly short ones, so that many ranges live beside each other.
            let upper = Int.random(in: 0..<4, using: &dice) > 0 ? min(ends[1], ends[0] + 4) : ends[1]
            return ByteRange(ends[0], upper)
        }
        func runs(_ value: Bool, in range: ByteRange) -> [ByteRange] {
            var result: [ByteRange] = []
            for position in range.lowerBound..<range.upperBound where bitmap[position] == value {
                if let last = result.last, last.upperBound == position {
                    result[result.count - 1] = ByteRange(last.lowerBound, position + 1)
                } else {
                    result.append(ByteRange(position, position + 1))
                }
            }
            return result
        }
        for step in 0..<300 {
            let changed = range()
            let inserts = Bool.random(using: &dice)
            if inserts { set.insert(changed) } else { set.remove(changed) }
            for position in changed.lowerBound..<changed.upperBound { bitmap[position] = inserts }
            guard set.ranges == runs(true, in: ByteRange(0, size)) else {
                Issue.record("step \(step): \(inserts ? "insert" : "remove") \(changed) gave \(set.ranges)")
                return
            }
            #expect(set.count == bitmap.count { $0 } && set.isEmpty == !bitmap.contains(true))
            #expect(set == ByteRangeSet(set.ranges.reversed()))
            for _ in 0..<3 {
                let asked = range()
                #expect(set.intersection(asked) == runs(true, in: asked), "\(asked) of \(set.ranges)")
                #expect(set.gaps(in: asked) == runs(false, in: asked), "\(asked) of \(set.ranges)")
                #expect(set.contains(asked) == runs(false, in: asked).isEmpty, "\(asked) of \(set.ranges)")
            }
        }
    }

    @Test func farPositions() {
        var set = ByteRangeSet([ByteRange(0, 1), ByteRange(Int.max - 1, Int.max)])
        #expect(set.gaps(in: ByteRange(0, Int.max)) == [ByteRange(1, Int.max - 1)])
        set.insert(ByteRange(1, Int.max - 1))
        #expect(set.ranges == [ByteRange(0, Int.max)] && set.count == Int.max)
    }
}
