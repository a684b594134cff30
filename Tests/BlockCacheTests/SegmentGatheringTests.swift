// Which blocks go to disk together.

import Base
import MemoryStore
import ObjectModel
import Testing

@testable import BlockCache

@Suite(.timeLimit(.minutes(3)))
struct SegmentGatheringTests {
    static let segmentBlocks = SegmentIdentity.blockCount
    let large = ObjectVersion(
        key: MemoryStore.objectKey("large"), etag: ETag("1")!, byteCount: 300 * blockBytes - 5)
    let small = ObjectVersion(key: MemoryStore.objectKey("small"), etag: ETag("2")!, byteCount: 10)

    private func add(
        _ gathering: inout SegmentGathering, _ version: ObjectVersion, _ blocks: Range<Int>, at now: UInt64 = 0
    ) {
        for index in blocks {
            let memory = UnsafeMutableRawPointer.allocate(byteCount: 1, alignment: 1)
            memory.storeBytes(of: 0, as: UInt8.self)
            gathering.add(version, index, Block(owning: memory, byteCount: 1), at: now)
        }
    }

    private func segments(_ groups: [SegmentGathering.Group]) -> [Int] { groups.map(\.key.segment) }

    @Test func smallObjectsGoAtOnce() {
        var gathering = SegmentGathering(blockBytes: blockBytes, patienceNanoseconds: 100)
        add(&gathering, small, 0..<1)
        #expect(gathering.take(at: 0, .none).map(\.key.version) == [small])
        #expect(gathering.isEmpty)
    }

    /// The last segment of 300 blocks has 44.
    @Test func wholeSegmentsGoAtOnce() {
        var gathering = SegmentGathering(blockBytes: blockBytes, patienceNanoseconds: 100)
        add(&gathering, large, 0..<127)
        add(&gathering, large, 256..<299)
        #expect(gathering.take(at: 99, .none).isEmpty)
        add(&gathering, large, 127..<128)
        #expect(segments(gathering.take(at: 99, .none)) == [0])
        add(&gathering, large, 299..<300)
        let last = gathering.take(at: 99, .none)
        #expect(segments(last) == [2] && last[0].blocks.map(\.index) == Array(256..<300))
        #expect(gathering.isEmpty)
    }

    @Test func theRestGoesAfterAWhile() {
        var gathering = SegmentGathering(blockBytes: blockBytes, patienceNanoseconds: 100)
        add(&gathering, large, 0..<1)
        add(&gathering, large, 200..<201, at: 50)
        #expect(gathering.take(at: 99, .none).isEmpty)
        #expect(segments(gathering.take(at: 100, .none)) == [0])
        add(&gathering, large, 201..<202, at: 140)
        let rest = gathering.take(at: 150, .none)
        #expect(segments(rest) == [1] && rest[0].blocks.map(\.index) == [200, 201])
    }

    @Test func theOldestMakesRoom() {
        var gathering = SegmentGathering(blockBytes: blockBytes, patienceNanoseconds: 100)
        add(&gathering, large, 130..<131)
        add(&gathering, large, 0..<1)
        #expect(segments(gathering.take(at: 0, .room)) == [1])
        #expect(segments(gathering.take(at: 0, .room)) == [0])
        #expect(gathering.take(at: 0, .room).isEmpty)
    }

    @Test func everythingGoesWhenSomebodyWaits() {
        var gathering = SegmentGathering(blockBytes: blockBytes, patienceNanoseconds: 100)
        add(&gathering, large, 0..<1)
        add(&gathering, large, 130..<131)
        add(&gathering, small, 0..<1)
        #expect(gathering.take(at: 0, .all).count == 3)
        #expect(gathering.isEmpty)
    }
}
