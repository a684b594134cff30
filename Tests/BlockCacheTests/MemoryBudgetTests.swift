// Reads under a small budget: everyone is served, the budget holds, and what is used again stays.

import Base
import BlockCache
import MemoryStore
import ObjectModel
import ObjectStore
import Testing

@Suite(.timeLimit(.minutes(3)))
struct MemoryBudgetTests {
    @Test(arguments: [2, 3, 4, 16])
    func manyReadersOfAFewBlocksAllEnd(blockCount: Int) async throws {
        let fixture = Fixture(blockCount: blockCount)
        let byteCount = 300 * blockBytes
        let bytes = Fixture.bytes(byteCount)
        let version = fixture.write(byteCount)
        try await withThrowingTaskGroup(of: Void.self) { group in
            for reader in 0..<500 {
                group.addTask {
                    var dice = Dice(state: UInt64(reader))
                    let stream = ReadStream(version: version)
                    for _ in 0..<3 {
                        let count = Int.random(in: 1...5 * blockBytes, using: &dice)
                        let offset = Int.random(in: 0...byteCount - count, using: &dice)
                        try await fixture.expectRead(stream, ByteRange(offset: offset, count: count), of: bytes)
                        #expect(fixture.pool.leasedCount <= blockCount)
                    }
                }
            }
            try await group.waitForAll()
        }
        await fixture.settle()
        #expect(fixture.pool.leasedCount == fixture.cache.statistics.blocks)
        fixture.cache.forget(version)
        #expect(fixture.pool.leasedCount == 0)
    }

    @Test func manySequentialReadersOfASmallPoolAllEnd() async throws {
        let fixture = Fixture(blockCount: 32)
        let byteCount = 200 * blockBytes
        let bytes = Fixture.bytes(byteCount)
        let version = fixture.write(byteCount)
        try await withThrowingTaskGroup(of: Void.self) { group in
            for _ in 0..<40 {
                group.addTask {
                    let stream = ReadStream(version: version)
                    for offset in stride(from: 0, to: byteCount, by: 2 * blockBytes) {
                        try await fixture.expectRead(
                            stream, ByteRange(offset: offset, count: 2 * blockBytes), of: bytes)
                    }
                    #expect(fixture.pool.leasedCount <= 32)
                }
            }
            try await group.waitForAll()
        }
    }

    @Test func slicesKeepTheirBytesWhenTheirBlocksAreEvicted() async throws {
        let fixture = Fixture(blockCount: 4)
        let bytes = Fixture.bytes(100 * blockBytes)
        let version = fixture.write(100 * blockBytes)
        let held = try await fixture.cache.read(version, range: ByteRange(0, 2 * blockBytes))
        for index in 2..<100 {
            let slices = try await fixture.cache.read(version, range: ByteRange(offset: index * blockBytes, count: 9))
            #expect(slices.array == Array(bytes[index * blockBytes..<index * blockBytes + 9]))
        }
        #expect(held.array == Array(bytes[0..<2 * blockBytes]))
    }

    @Test func readersWaitWhileRepliesHoldAllMemory() async throws {
        let fixture = Fixture(blockCount: 2)
        let version = fixture.write(10 * blockBytes)
        var held: [ReadSlices]? = []
        for index in 0..<2 {
            held!.append(try await fixture.cache.read(version, range: ByteRange(offset: index * blockBytes, count: 1)))
        }
        let waiting = Task { [cache = fixture.cache] in
            try await cache.read(version, range: ByteRange(offset: 5 * blockBytes, count: 1)).byteCount
        }
        while fixture.pool.shortage == 0 { await Task.yield() }
        #expect(fixture.ranges.count == 2)
        held = nil
        #expect(try await waiting.value == 1)
    }

    @Test func anAbandonedReaderInLineLetsOthersPass() async throws {
        let fixture = Fixture(blockCount: 2)
        let version = fixture.write(10 * blockBytes)
        var held: [ReadSlices]? = []
        for index in 0..<2 {
            held!.append(try await fixture.cache.read(version, range: ByteRange(offset: index * blockBytes, count: 1)))
        }
        let tasks = (0..<50).map { index in
            Task { [cache = fixture.cache] in
                try await cache.read(version, range: ByteRange(offset: (2 + index % 8) * blockBytes, count: 1))
                    .byteCount
            }
        }
        while fixture.cache.statistics.misses < 52 { await Task.yield() }
        for task in tasks[..<49] { task.cancel() }
        for task in tasks[..<49] {
            await #expect { try await task.value } throws: { ($0 as? StoreError)?.kind == .cancelled }
        }
        held = nil
        #expect(try await tasks[49].value == 1)
        #expect(fixture.ranges.count == 3, "nothing is fetched for those who left")
    }

    @Test func aScanLeavesWhatIsUsedAgain() async throws {
        let fixture = Fixture(blockCount: 100)
        let hot = fixture.write(20 * blockBytes, at: "hot")
        let cold = fixture.write(1000 * blockBytes, at: "cold")
        for _ in 0..<3 {
            for index in 0..<20 {
                _ = try await fixture.cache.read(hot, range: ByteRange(offset: index * blockBytes, count: blockBytes))
            }
        }
        let scan = ReadStream(version: cold)
        for index in 0..<1000 {
            _ = try await fixture.cache.read(scan, range: ByteRange(offset: index * blockBytes, count: blockBytes))
        }
        await fixture.settle()
        fixture.store.resetRequests()
        for index in 0..<20 {
            _ = try await fixture.cache.read(hot, range: ByteRange(offset: index * blockBytes, count: blockBytes))
        }
        #expect(fixture.ranges.isEmpty)
    }

    @Test func pausedReadersDoNotKeepOthersFromReadingAhead() async throws {
        let fixture = Fixture(blockCount: 64)
        let paused = (0..<8).map { ReadStream(version: fixture.write(500 * blockBytes, at: "paused \($0)")) }
        for stream in paused { _ = try await fixture.cache.read(stream, range: ByteRange(0, blockBytes)) }
        let lively = ReadStream(version: fixture.write(500 * blockBytes, at: "lively"))
        _ = try await fixture.cache.read(lively, range: ByteRange(0, blockBytes))
        for _ in 0..<5000 { _ = try await fixture.cache.read(lively, range: ByteRange(0, 1)) }
        await fixture.settle()
        fixture.store.resetRequests()
        for index in 1..<500 {
            _ = try await fixture.cache.read(lively, range: ByteRange(offset: index * blockBytes, count: blockBytes))
        }
        await fixture.settle()
        #expect(fixture.ranges.count <= 100, "\(fixture.ranges.count) requests for 499 blocks")
    }

    @Test func whatOnePassHasReadWholeGivesItsMemoryBack() async throws {
        let fixture = Fixture(blockCount: 80)
        let version = fixture.write(60 * blockBytes)
        let bytes = Fixture.bytes(60 * blockBytes)
        for index in 0..<60 {
            let range = ByteRange(offset: index * blockBytes, count: blockBytes)
            try await fixture.expectRead(ReadStream(version: version, readsAhead: false), range, of: bytes)
        }
        #expect(fixture.cache.statistics.blocks == 10)
        // In pieces, and waiting for them: the same.
        let other = fixture.write(60 * blockBytes, at: "other")
        let stream = ReadStream(version: other)
        for offset in stride(from: 0, to: 60 * blockBytes, by: blockBytes / 4) {
            try await fixture.expectRead(stream, ByteRange(offset: offset, count: blockBytes / 4), of: bytes)
        }
        #expect(fixture.cache.statistics.blocks == 10)
    }

    @Test func whatIsReadInPartOrAgainKeepsItsMemory() async throws {
        let fixture = Fixture(blockCount: 80)
        let version = fixture.write(60 * blockBytes)
        for index in 0..<30 {
            for _ in 0..<2 {
                let range = ByteRange(offset: index * blockBytes, count: blockBytes)
                _ = try await fixture.cache.read(version, range: range)
            }
        }
        for index in 30..<60 {
            let range = ByteRange(offset: index * blockBytes, count: blockBytes - 1)
            _ = try await fixture.cache.read(version, range: range)
        }
        #expect(fixture.cache.statistics.blocks == 60)
    }

    @Test func theBudgetIsOtherUsersToo() async throws {
        let fixture = Fixture(blockCount: 8) { $0.spentShare = 1 }
        let version = fixture.write(8 * blockBytes)
        _ = try await fixture.cache.read(version, range: ByteRange(0, 4 * blockBytes))
        _ = try await fixture.cache.read(version, range: ByteRange(4 * blockBytes, 8 * blockBytes))
        #expect(fixture.cache.statistics.blocks == 8)
        let lease = await fixture.pool.leaseWhenFree()
        #expect(lease.byteCount == blockBytes)
        #expect(fixture.cache.statistics.blocks == 7)
    }
}
