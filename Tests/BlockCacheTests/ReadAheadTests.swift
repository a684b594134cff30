// The read-ahead state machine by itself: reads in, advice out.

import ObjectModel
import Testing

@testable import BlockCache

@Suite(.timeLimit(.minutes(3)))
struct ReadAheadTests {
    static let kib = 1024
    static let mib = 1 << 20
    static let block = 128 * 1024

    /// All the memory in the world.
    static let wide = ReadAhead.Room(shareBytes: .max, freeBytes: .max)

    static func machine(
        objectBytes: Int = 1 << 40, _ change: (inout ReadAhead.Parameters) -> Void = { _ in }
    ) -> ReadAhead {
        var parameters = ReadAhead.Parameters(
            blockBytes: block, objectBytes: objectBytes, windowBytesMax: 128 * mib, requestBytesMax: 8 * mib)
        change(&parameters)
        return ReadAhead(parameters)
    }

    /// One read: what it is, and the total advice expected; nil is anything.
    struct Step: Sendable {
        var offset: Int
        var count = ReadAheadTests.block
        var room = Int.max
        var ahead: ClosedRange<Int>?

        init(_ offset: Int, _ count: Int = ReadAheadTests.block, room: Int = .max, ahead: ClosedRange<Int>? = nil) {
            self.offset = offset
            self.count = count
            self.room = room
            self.ahead = ahead
        }
    }

    struct Case: Sendable, CustomTestStringConvertible {
        var name: String
        var objectBytes = 1 << 40
        var steps: [Step]
        var testDescription: String { name }
    }

    static let nothing = 0...0
    static let cases: [Case] = [
        Case(name: "from the start, at once", steps: [Step(0, ahead: 2 * mib...2 * mib)]),
        Case(name: "a small first read, a small window", steps: [Step(0, 4096, ahead: 256 * kib...256 * kib)]),
        Case(
            name: "elsewhere, at the third read",
            steps: [
                Step(10 * mib, ahead: nothing), Step(10 * mib + block, ahead: nothing),
                Step(10 * mib + 2 * block, ahead: mib...2 * mib),
            ]),
        Case(
            name: "random reads, never",
            steps: [
                Step(900 * mib, 4096, ahead: nothing), Step(3 * mib, 4096, ahead: nothing),
                Step(500 * mib, 4096, ahead: nothing), Step(70 * mib, 4096, ahead: nothing),
                Step(71 * mib, 4096, ahead: nothing), Step(3 * mib, 4096, ahead: nothing),
            ]),
        Case(
            name: "the whole of a small object", objectBytes: 300 * kib,
            steps: [
                Step(0, ahead: (300 - 128) * kib...(300 - 128) * kib), Step(block, ahead: nothing),
            ]),
        Case(name: "nothing behind the end", objectBytes: block, steps: [Step(0, ahead: nothing)]),
        Case(
            name: "only as much as there is room for",
            steps: [
                Step(0, room: 0, ahead: nothing), Step(block, room: 600 * kib, ahead: 512 * kib...512 * kib),
            ]),
        Case(
            name: "a little out of order is still a stream",
            steps: [
                Step(50 * mib), Step(50 * mib + 2 * block), Step(50 * mib + block, ahead: nothing),
                Step(50 * mib + 3 * block, ahead: mib...4 * mib),
            ]),
        Case(
            name: "the same place again and again is none",
            steps: [
                Step(50 * mib, ahead: nothing), Step(50 * mib, ahead: nothing), Step(50 * mib, ahead: nothing),
                Step(50 * mib, ahead: nothing), Step(50 * mib, ahead: nothing),
            ]),
        Case(
            name: "backward",
            steps: [
                Step(90 * mib, ahead: nothing), Step(90 * mib - block, ahead: nothing),
                Step(90 * mib - 2 * block, ahead: nothing), Step(90 * mib - 3 * block, ahead: 4 * block...4 * block),
            ]),
        Case(
            name: "strided",
            steps: [
                Step(10 * mib, 8192, ahead: nothing), Step(20 * mib, 8192, ahead: nothing),
                Step(30 * mib, 8192, ahead: nothing), Step(40 * mib, 8192, ahead: 4 * 8192...4 * 8192),
                Step(50 * mib, 8192, ahead: 5 * 8192...5 * 8192),
            ]),
    ]

    @Test(arguments: cases)
    func table(_ row: Case) {
        var machine = Self.machine(objectBytes: row.objectBytes)
        for (number, step) in row.steps.enumerated() {
            let range = ByteRange(offset: step.offset, count: step.count)
            let advice = machine.read(range, ReadAhead.Room(shareBytes: .max, freeBytes: step.room))
            let total = advice.fetch.reduce(0) { $0 + $1.count }
            if let ahead = step.ahead { #expect(ahead.contains(total), "step \(number): \(advice.fetch)") }
            #expect(!advice.fetch.contains { $0.overlaps(range) })
        }
    }

    @Test func aStreamIsAdvisedOnceAndInOrder() {
        let objectBytes = Self.mib * 700 + 5000
        var machine = Self.machine(objectBytes: objectBytes)
        var end = Self.block
        var offset = 0
        while offset < objectBytes {
            let range = ByteRange(offset, min(offset + Self.block, objectBytes))
            for piece in machine.read(range, Self.wide).fetch {
                #expect(piece.lowerBound == end)
                #expect(piece.count <= 8 * Self.mib)
                end = piece.upperBound
            }
            // Once begun, the reader never catches up, and the window stays within its limit.
            #expect(end >= min(range.upperBound + Self.mib, objectBytes) || offset < 4 * Self.block)
            #expect(end - range.upperBound <= 129 * Self.mib)
            offset = range.upperBound
        }
        #expect(end == objectBytes)
    }

    /// Servers keep objects in stripes of such sizes: a range that crosses fewer of them costs less.
    @Test func longPiecesEndAtRoundPositions() {
        var machine = Self.machine(objectBytes: 700 * Self.mib + 5000)
        var pieces: [ByteRange] = []
        for number in 0..<5600 {
            pieces += machine.read(ByteRange(offset: number * Self.block, count: Self.block), Self.wide).fetch
        }
        let long = pieces.filter { $0.count >= 4 * Self.mib }.dropFirst()
        #expect(long.count > 100)
        #expect(long.dropLast().allSatisfy { $0.lowerBound % (4 * Self.mib) == 0 && $0.count == 4 * Self.mib })
    }

    @Test(arguments: [256 * kib, mib, 5 * mib])
    func aSmallShareIsStillReadAheadInPieces(shareBytes: Int) {
        var machine = Self.machine()
        var end = 0
        var pieceCount = 0
        for number in 0..<200 {
            let range = ByteRange(offset: number * Self.block, count: Self.block)
            let freeBytes = shareBytes - max(0, end - range.upperBound)
            let advice = machine.read(range, ReadAhead.Room(shareBytes: shareBytes, freeBytes: freeBytes))
            pieceCount += advice.fetch.count
            end = max(end, advice.fetch.last?.upperBound ?? 0)
            #expect(end > range.upperBound && end - range.upperBound <= shareBytes)
        }
        #expect(pieceCount <= 201)
    }

    @Test func withoutAnyShareNothingIsAdvised() {
        var machine = Self.machine()
        for number in 0..<20 {
            let range = ByteRange(offset: number * Self.block, count: Self.block)
            let advice = machine.read(range, ReadAhead.Room(shareBytes: 0, freeBytes: 0))
            #expect(advice == ReadAhead.Advice())
        }
    }

    @Test func theWindowIsBoundedByWhatWasRead() {
        var machine = Self.machine()
        var end = 0
        for number in 0..<40 {
            let range = ByteRange(offset: (400 + number) * Self.block, count: Self.block)
            end = machine.read(range, Self.wide).fetch.last?.upperBound ?? max(end, range.upperBound)
            let readBytes = (number + 1) * Self.block
            let factor = readBytes < 4 * Self.mib ? 4 : 16
            #expect(end - range.upperBound <= readBytes * factor + 512 * Self.kib)
        }
    }

    @Test func interleavedStreamsAreAllFollowed() {
        var machine = Self.machine()
        var advised = [Int](repeating: 0, count: 6)
        for step in 0..<10 {
            for stream in 0..<6 {
                let range = ByteRange(offset: (1 + stream) << 30 + step * Self.block, count: Self.block)
                advised[stream] += machine.read(range, Self.wide).fetch.reduce(0) { $0 + $1.count }
            }
        }
        #expect(advised.allSatisfy { $0 >= 2 * Self.mib })
    }

    @Test func aNeighbourhoodThatReadsComeBackToIsFetchedWhole() {
        var machine = Self.machine { $0.blockBytes = 32 * Self.kib }
        func advice(_ offset: Int, room: Int = .max) -> [ByteRange] {
            machine.read(ByteRange(offset: offset, count: 4096), .init(shareBytes: room, freeBytes: room)).fetch
        }
        let start = 1024 * Self.mib
        #expect(advice(start + 70 * Self.kib) == [])
        #expect(advice(5 * Self.mib) == [])
        #expect(advice(start + 66 * Self.kib) == [], "the same block")
        #expect(advice(start + 10 * Self.kib, room: 64 * Self.kib) == [], "no room")
        #expect(advice(start + 10 * Self.kib) == [ByteRange(offset: start, count: 128 * Self.kib)])
        for other in 10..<26 { #expect(advice(other * other * Self.mib) == []) }
        #expect(advice(5 * Self.mib + 90 * Self.kib) == [], "too long ago")
        var atEnd = Self.machine(objectBytes: 200 * Self.kib) { $0.blockBytes = 32 * Self.kib }
        #expect(atEnd.read(ByteRange(offset: 132 * Self.kib, count: 9), Self.wide).fetch == [])
        let rest = ByteRange(128 * Self.kib, 200 * Self.kib)
        #expect(atEnd.read(ByteRange(offset: 190 * Self.kib, count: 9), Self.wide).fetch == [rest])
    }

    /// Every fourth chunk of a grid: after two of them it is known where a chunk ends.
    @Test func chunksAreNotReadBeyondTheirEnd() {
        var machine = Self.machine(objectBytes: 256 * Self.mib) { $0.blockBytes = 32 * Self.kib }
        let chunkBytes = 2 * Self.mib
        var asked = ByteRangeSet(), wanted = ByteRangeSet(), dropped = 0
        for start in stride(from: 16 * Self.kib, to: 200 * Self.mib, by: 4 * chunkBytes) {
            for offset in stride(from: start, to: start + chunkBytes, by: 256 * Self.kib) {
                let range = ByteRange(offset: offset, count: 256 * Self.kib)
                wanted.insert(range)
                let advice = machine.read(range, Self.wide)
                for range in advice.fetch { asked.insert(range) }
                dropped += advice.drop.count
            }
        }
        var needless = asked
        for range in wanted.ranges { needless.remove(range) }
        #expect(needless.count < wanted.count / 4)
        #expect(asked.count > wanted.count / 2, "chunks are still read ahead")
    }

    /// Skipping a little is no end of a run; nothing that was fetched ahead is lost by it.
    @Test func shortSkipsKeepTheWindow() {
        var machine = Self.machine()
        var dropped: [ByteRange] = []
        var offset = 0
        for step in 0..<100 {
            dropped += machine.read(ByteRange(offset: offset, count: Self.block), Self.wide).drop
            offset += step % 10 == 9 ? 6 * Self.block : Self.block
        }
        #expect(dropped.isEmpty)
    }

    @Test func randomReadsDoNotDriveAStreamOut() {
        var machine = Self.machine()
        var dice = Dice(state: 3)
        var dropped: [ByteRange] = []
        for step in 0..<20 {
            dropped += machine.read(ByteRange(offset: step * Self.block, count: Self.block), Self.wide).drop
            for _ in 0..<9 {
                let offset = Int.random(in: 1_000_000..<100_000_000, using: &dice) * 4096
                let advice = machine.read(ByteRange(offset: offset, count: 4096), Self.wide)
                #expect(advice.fetch.isEmpty)
                dropped += advice.drop
            }
        }
        #expect(dropped.isEmpty)
    }

    @Test func anIdleStreamIsDropped() {
        var machine = Self.machine()
        let first = machine.read(ByteRange(0, Self.block), Self.wide).fetch
        var dropped: [ByteRange] = []
        for step in 0..<200 {
            dropped +=
                machine.read(
                    ByteRange(offset: 1 << 35 + step * Self.block, count: Self.block),
                    ReadAhead.Room(shareBytes: .max, freeBytes: 0)
                ).drop
        }
        #expect(dropped == [ByteRange(Self.block, first.last!.upperBound)])
    }

    @Test func whatWasLostIsAdvisedAgain() {
        var machine = Self.machine()
        let first = machine.read(ByteRange(0, Self.block), Self.wide).fetch
        #expect(!first.isEmpty)
        let next = ByteRange(Self.block, 2 * Self.block)
        machine.missed(next)
        let again = machine.read(next, Self.wide).fetch
        #expect(again.first?.lowerBound == 2 * Self.block)
    }
}
