// How many GETs an access pattern costs, and of which ranges.

import Base
import BlockCache
import MemoryStore
import ObjectModel
import ObjectStore
import Testing

@Suite(.timeLimit(.minutes(3)))
struct RequestPatternTests {
    static let kib = 1024
    static let mib = 1 << 20

    @Test func randomReadsFetchOnlyTheirBlocks() async throws {
        let fixture = Fixture(blockBytes: 128 * Self.kib)
        let version = fixture.write(64 * Self.mib)
        let stream = ReadStream(version: version)
        var dice = Dice(state: 7)
        var seen: Set<Int> = []
        for _ in 0..<200 {
            let offset = Int.random(in: 64..<16 * 1024, using: &dice) * 4 * Self.kib
            _ = try await fixture.cache.read(stream, range: ByteRange(offset: offset, count: 4 * Self.kib))
            seen.insert(offset / (128 * Self.kib))
        }
        await fixture.settle()
        #expect(fixture.ranges.count == seen.count)
        #expect(fixture.ranges.allSatisfy { $0.count <= 128 * Self.kib })
        #expect(fixture.cache.statistics.readAheadRequests == 0)
    }

    @Test func readersOfOneBlockShareOneRequest() async throws {
        let fixture = Fixture()
        let version = fixture.write(100 * blockBytes)
        let bytes = Fixture.bytes(100 * blockBytes)
        fixture.store.pause(.getObject)
        try await withThrowingTaskGroup(of: [UInt8].self) { group in
            for reader in 0..<8 {
                group.addTask {
                    let range = ByteRange(offset: 50 * blockBytes + reader * 10, count: 100)
                    return try await fixture.cache.read(version, range: range).array
                }
            }
            await fixture.store.untilHeld(.getObject)
            while fixture.cache.statistics.misses < 8 { await Task.yield() }
            fixture.store.resume(.getObject)
            for try await answer in group {
                let start = bytes[(50 * blockBytes)...].firstRange(of: answer)
                #expect(start != nil)
            }
        }
        #expect(fixture.ranges == [ByteRange(offset: 50 * blockBytes, count: blockBytes)])
    }

    @Test func neighbouringMissingBlocksAreOneRequest() async throws {
        let fixture = Fixture()
        let bytes = Fixture.bytes(100 * blockBytes)
        let version = fixture.write(100 * blockBytes)
        let stream = ReadStream(version: version, readsAhead: false)
        try await fixture.expectRead(stream, ByteRange(offset: 12 * blockBytes, count: 1), of: bytes)
        try await fixture.expectRead(stream, ByteRange(offset: 10 * blockBytes + 5, count: 5 * blockBytes), of: bytes)
        let expected = [
            ByteRange(12 * blockBytes, 13 * blockBytes), ByteRange(10 * blockBytes, 12 * blockBytes),
            ByteRange(13 * blockBytes, 16 * blockBytes),
        ]
        #expect(fixture.ranges.sorted { $0.offset < $1.offset } == expected.sorted { $0.offset < $1.offset })
        #expect(fixture.store.requestLog.allSatisfy { $0.ifMatch == version.etag })
    }

    @Test(arguments: [1, 100, blockBytes, 3 * blockBytes + 17, 300 * 1024])
    func aSmallObjectIsOneRequest(byteCount: Int) async throws {
        let fixture = Fixture()
        let stream = ReadStream(version: fixture.write(byteCount))
        let bytes = Fixture.bytes(byteCount)
        var offset = 0
        while offset < byteCount {
            let count = min(blockBytes, byteCount - offset)
            try await fixture.expectRead(stream, ByteRange(offset: offset, count: count), of: bytes)
            offset += count
        }
        #expect(fixture.ranges == [ByteRange(0, byteCount)])
    }

    @Test(arguments: [4096, 65_536, 131_072, 1 << 20])
    func aSequentialReadFetchesEveryByteOnceInFewRequests(readBytes: Int) async throws {
        let fixture = Fixture(blockCount: 1024, blockBytes: 128 * Self.kib)
        let byteCount = 48 * Self.mib + 12_345
        let bytes = Fixture.bytes(byteCount)
        let stream = ReadStream(version: fixture.write(byteCount))
        var offset = 0
        while offset < byteCount {
            let count = min(readBytes, byteCount - offset)
            try await fixture.expectRead(stream, ByteRange(offset: offset, count: count), of: bytes)
            offset += count
        }
        await fixture.settle()
        let ranges = fixture.ranges.sorted { $0.offset < $1.offset }
        #expect(ByteRangeSet(ranges).ranges == [ByteRange(0, byteCount)])
        #expect(ranges.reduce(0) { $0 + $1.count } == byteCount)
        #expect(ranges.count <= 80, "\(ranges.count) requests")
        #expect(ranges.allSatisfy { $0.count <= 8 * Self.mib })
        #expect(fixture.cache.statistics.blocksFetchedInVain == 0)
    }

    @Test func theFirstReadWaitsForOneRequestOnly() async throws {
        let fixture = Fixture(blockBytes: 128 * Self.kib)
        let stream = ReadStream(version: fixture.write(64 * Self.mib))
        fixture.store.pause(.getObject)
        async let first = fixture.cache.read(stream, range: ByteRange(0, 128 * Self.kib))
        await fixture.store.untilHeld(.getObject, count: 2)
        // The demanded bytes are at the head of their request, and others run beside it.
        await fixture.resumeGet(at: 0)
        #expect(try await first.byteCount == 128 * Self.kib)
        #expect(fixture.store.heldCount(.getObject) >= 1)
        fixture.store.resume(.getObject)
        await fixture.settle()
    }

    @Test func blocksAnswerBeforeTheirRequestIsOver() async throws {
        let fixture = Fixture()
        let version = fixture.write(64 * blockBytes)
        // The body breaks off after 20 blocks: readers of the first 20 have theirs, the others get the error.
        fixture.store.setFaults(
            FaultPlan().adding(.bodyCut(afterBytes: 20 * blockBytes + 99, .serverFault), on: .getObject))
        let stream = ReadStream(version: version)
        let slices = try await fixture.cache.read(stream, range: ByteRange(0, 4 * blockBytes))
        #expect(slices.byteCount == 4 * blockBytes)
        await fixture.settle()
        #expect(fixture.ranges == [ByteRange(0, 64 * blockBytes)])
        #expect(fixture.cache.statistics.blocks == 20)
        // Nothing failed is kept, and the rest can be had.
        let bytes = Fixture.bytes(64 * blockBytes)
        try await fixture.expectRead(stream, ByteRange(0, 64 * blockBytes), of: bytes)
        #expect(fixture.ranges[1].lowerBound == 20 * blockBytes)
    }

    @Test func severalStreamsOnOneHandleKeepTheirWindows() async throws {
        // What was read stays: a stream may reach into the beginning of the next.
        let fixture = Fixture(blockBytes: 128 * Self.kib) { $0.spentShare = 1 }
        let byteCount = 64 * Self.mib
        let stream = ReadStream(version: fixture.write(byteCount))
        let starts = [0, 16, 32, 48].map { $0 * Self.mib }
        for step in 0..<64 {
            for start in starts {
                let range = ByteRange(offset: start + step * 128 * Self.kib, count: 128 * Self.kib)
                _ = try await fixture.cache.read(stream, range: range)
            }
        }
        await fixture.settle()
        // 256 reads; those that had to be fetched on demand are the first few of each stream.
        let statistics = fixture.cache.statistics
        #expect(statistics.requests - statistics.readAheadRequests <= 4 * 4)
        #expect(ByteRangeSet(fixture.ranges).count == fixture.ranges.reduce(0) { $0 + $1.count })
    }

    @Test(arguments: [-1, 3, -5])
    func stridesAreForeseen(strideBlocks: Int) async throws {
        let fixture = Fixture(blockCount: 4096)
        let stream = ReadStream(version: fixture.write(1200 * blockBytes))
        // Reads of a quarter of a block are too far apart to be one sequential stream.
        let count = blockBytes / 4
        var offset = strideBlocks > 0 ? 7 * blockBytes : 1190 * blockBytes
        for _ in 0..<200 {
            _ = try await fixture.cache.read(stream, range: ByteRange(offset: offset, count: count))
            await fixture.settle()
            offset += strideBlocks * blockBytes
        }
        let statistics = fixture.cache.statistics
        #expect(statistics.misses <= 10, "\(statistics)")
        #expect(fixture.ranges.reduce(0) { $0 + $1.count } <= 240 * blockBytes)
    }

    @Test func aClosedStreamFetchesNoMore() async throws {
        let fixture = Fixture(blockBytes: 128 * Self.kib) { $0.requestCountMax = 4 }
        var stream: ReadStream? = ReadStream(version: fixture.write(64 * Self.mib))
        fixture.store.pause(.getObject)
        let first = Task { [stream, cache = fixture.cache] in
            try await cache.read(stream!, range: ByteRange(0, Self.mib)).byteCount
        }
        await fixture.store.untilHeld(.getObject, count: 4)
        await fixture.resumeGet(at: 0)
        #expect(try await first.value == Self.mib)
        stream = nil
        fixture.store.resume(.getObject)
        await fixture.settle()
        // The three in flight were cancelled; 16 MiB in 512 KiB pieces would be 32.
        #expect(fixture.ranges.count <= 5)
        #expect(fixture.cache.statistics.requestsInFlight == 0)
    }

    @Test func aReaderOfAGivenUpFetchGetsItsBytes() async throws {
        let fixture = Fixture(blockBytes: 128 * Self.kib)
        let version = fixture.write(8 * Self.mib)
        var stream: ReadStream? = ReadStream(version: version)
        fixture.store.pause(.getObject)
        let first = Task { [stream, cache = fixture.cache] in
            try await cache.read(stream!, range: ByteRange(0, 128 * Self.kib)).byteCount
        }
        await fixture.store.untilHeld(.getObject, count: 3)
        stream = nil
        await fixture.resumeGet(at: 0)
        #expect(try await first.value == 128 * Self.kib)
        // Some of the cancelled GETs may still be ending: whoever reads their blocks is served by new ones.
        fixture.store.resume(.getObject)
        let slices = try await fixture.cache.read(version, range: ByteRange(0, 8 * Self.mib))
        #expect(slices.isEqual(Fixture.bytes(8 * Self.mib), ByteRange(0, 8 * Self.mib)))
    }

    /// Whoever skips to a place that is being fetched ahead waits for that GET, though the rest of them is given up.
    @Test func aSkipSparesTheFetchThatItReads() async throws {
        let fixture = Fixture(blockBytes: 128 * Self.kib)
        let bytes = Fixture.bytes(64 * Self.mib)
        let stream = ReadStream(version: fixture.write(64 * Self.mib))
        for number in 0..<16 {
            _ = try await fixture.cache.read(
                stream, range: ByteRange(offset: number * 128 * Self.kib, count: 128 * Self.kib))
        }
        await fixture.settle()
        let count = fixture.ranges.count
        fixture.store.pause(.getObject)
        // In memory, and has more fetched ahead.
        _ = try await fixture.cache.read(stream, range: ByteRange(offset: 2 * Self.mib, count: 128 * Self.kib))
        await fixture.store.untilHeld(.getObject)
        let ahead = fixture.ranges[count]
        let wanted = ByteRange(offset: ahead.lowerBound + 128 * Self.kib, count: 4096)
        async let slices = fixture.cache.read(stream, range: wanted)
        while fixture.cache.statistics.misses == 0 || fixture.store.heldCount(.getObject) == 0 { await Task.yield() }
        fixture.store.resume(.getObject)
        #expect(try await slices.isEqual(bytes, wanted))
        await fixture.settle()
        #expect(fixture.ranges.count { $0.overlaps(wanted) } == 1)
    }

    @Test func forgottenVersionsAreFetchedAgain() async throws {
        let fixture = Fixture()
        let version = fixture.write(10 * blockBytes)
        let stream = ReadStream(version: version, readsAhead: false)
        _ = try await fixture.cache.read(stream, range: ByteRange(0, blockBytes))
        fixture.cache.forget(version)
        #expect(fixture.cache.statistics.blocks == 0)
        _ = try await fixture.cache.read(stream, range: ByteRange(0, blockBytes))
        _ = try await fixture.cache.read(version, range: ByteRange(0, blockBytes))
        #expect(fixture.ranges.count == 3)
        fixture.cache.forget(version.key)
        #expect(fixture.pool.leasedCount == 1, "the old stream's own block stays until it closes")
    }

    @Test func aHitIsAnsweredInline() async throws {
        let fixture = Fixture()
        let stream = ReadStream(version: fixture.write(10 * blockBytes))
        _ = try await fixture.cache.read(stream, range: ByteRange(0, 10 * blockBytes))
        let answer = fixture.cache.read(stream, range: ByteRange(5, 9 * blockBytes)) { _ in
            Issue.record("a hit calls no completion")
        }
        guard case .hit(let slices) = answer else {
            Issue.record("not a hit")
            return
        }
        #expect(slices.count == 9)
        #expect(slices.array == Array(Fixture.bytes(10 * blockBytes)[5..<9 * blockBytes]))
        #expect(slices.withUnsafeBuffers { $0.reduce(0) { $0 + $1.count } } == 9 * blockBytes - 5)
        #expect(fixture.cache.statistics.hits == 1)
    }

    @Test func emptyReadsNeedNothing() async throws {
        let fixture = Fixture()
        let stream = ReadStream(version: fixture.write(0))
        #expect(try await fixture.cache.read(stream, range: ByteRange(0, 0)).byteCount == 0)
        #expect(fixture.ranges.isEmpty)
    }
}
