// The order of eviction on disk.

import ObjectModel
import Testing

@testable import BlockCache

@Suite(.timeLimit(.minutes(3)))
struct SegmentQueueTests {
    static func name(_ number: Int) -> SegmentName {
        SegmentName(SegmentFormatTests.identity("k\(number)", number: 0))
    }

    /// Fills the queue up to a limit of 100 segments of 10 bytes; returns what had to go.
    private func insert(_ numbers: Range<Int>, _ queue: inout SegmentQueue) -> [SegmentName] {
        var gone: [SegmentName] = []
        for number in numbers {
            while queue.byteCount + 10 > 1000 { gone.append(queue.next(limitBytes: 1000)!.name) }
            queue.set(Self.name(number), bytes: 10)
        }
        return gone
    }

    @Test func theOldestGoFirst() {
        var queue = SegmentQueue()
        #expect(insert(0..<100, &queue).isEmpty)
        #expect(insert(100..<150, &queue) == (0..<50).map { Self.name($0) })
        #expect(queue.byteCount == 1000 && queue.count == 100)
    }

    /// One pass over a thousand segments leaves those that were found again.
    @Test func aScanLeavesWhatIsUsedAgain() {
        var queue = SegmentQueue()
        _ = insert(0..<80, &queue)
        for number in 0..<80 { queue.use(Self.name(number)) }
        let gone = Set(insert(1000..<2000, &queue))
        let lost = (0..<80).count { gone.contains(Self.name($0)) }
        #expect(lost == 0, "a scan drove out \(lost) of 80 segments in use")
    }

    /// What comes back soon after it left is not one-pass data.
    @Test func aSegmentThatComesBackIsKept() {
        var queue = SegmentQueue()
        _ = insert(0..<110, &queue)
        #expect(!queue.contains(Self.name(0)))
        _ = insert(0..<1, &queue)
        let gone = insert(2000..<2500, &queue)
        #expect(!gone.contains(Self.name(0)))
    }

    @Test func whatIsNotUsedAnyMoreLeavesTheLongQueueToo() {
        var queue = SegmentQueue()
        _ = insert(0..<100, &queue)
        for number in 0..<100 { queue.use(Self.name(number)) }
        _ = insert(100..<130, &queue)
        // All were used once; room was made all the same, and again.
        #expect(queue.byteCount == 1000)
        for number in 100..<130 { queue.use(Self.name(number)) }
        _ = insert(200..<300, &queue)
        #expect(queue.byteCount == 1000)
    }

    @Test func whatAnEarlierProcessLeftGoesBeforeWhatCameSince() {
        var queue = SegmentQueue()
        queue.set(Self.name(1), bytes: 10)
        queue.adopt([(Self.name(5), 10, false), (Self.name(1), 99, false), (Self.name(6), 10, true)])
        #expect(queue.byteCount == 30)
        #expect(queue.next(limitBytes: 0)?.name == Self.name(5))
        #expect(queue.next(limitBytes: 0)?.name == Self.name(1))
        let last = queue.next(limitBytes: 0)
        #expect(last?.name == Self.name(6) && last?.isProven == true)
        #expect(queue.next(limitBytes: 0) == nil)
    }

    /// The sums hold whatever happens, and every segment comes out once.
    @Test(arguments: 0..<8 as Range<UInt64>)
    func sumsHold(seed: UInt64) {
        var dice = Dice(state: seed)
        var queue = SegmentQueue()
        var model: [Int: Int] = [:]
        for _ in 0..<3000 {
            let number = Int.random(in: 0..<60, using: &dice)
            switch Int.random(in: 0..<5, using: &dice) {
            case 0, 1:
                let bytes = Int.random(in: 1...50, using: &dice)
                queue.set(Self.name(number), bytes: bytes, isFound: Bool.random(using: &dice))
                model[number] = bytes
            case 2: queue.use(Self.name(number))
            case 3:
                queue.forget(Self.name(number))
                model[number] = nil
            default:
                if let next = queue.next(limitBytes: 500) {
                    let number = model.keys.first { Self.name($0) == next.name }
                    #expect(number != nil)
                    if let number { model[number] = nil }
                } else {
                    #expect(model.isEmpty)
                }
            }
            #expect(queue.byteCount == model.values.reduce(0, +) && queue.count == model.count)
        }
    }
}
