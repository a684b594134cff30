// What the disk gives back: after a restart, in part, for several mounts, within its limits.

import Base
import Glibc
import MemoryStore
import ObjectModel
import Testing

@testable import BlockCache

@Suite(.timeLimit(.minutes(3)))
struct DiskTierTests {
    @Test(arguments: [1, 4095, 4096, 4097, 128 * 4096, 128 * 4096 + 1, 1_000_000, 3_000_000])
    func aSecondMountAsksTheStoreForNothing(byteCount: Int) async throws {
        let folder = try CacheFolder()
        let store = DiskFixture.store()
        let version = store.object(byteCount)
        let bytes = Fixture.bytes(byteCount)
        let first = DiskFixture(folder.path, store: store)
        try await first.expectRead(version, of: bytes)
        await first.drain()
        let getCount = first.getCount
        #expect(getCount > 0)

        let second = DiskFixture(folder.path, store: store)
        try await second.expectRead(version, of: bytes)
        #expect(second.getCount == getCount)
        #expect(second.tier.statistics.hits == (byteCount + blockBytes - 1) / blockBytes)
        #expect(second.tier.statistics.bytesRead == byteCount)
        #expect(second.cache.statistics.requests == 0 && second.cache.statistics.bytesFetched == 0)
        #expect(first.lines.all.isEmpty && second.lines.all.isEmpty)
    }

    /// Reading a long file again and again takes no more memory than once: the disk has it.
    @Test func whatTheDiskHasPassesThroughMemory() async throws {
        let folder = try CacheFolder()
        let store = DiskFixture.store()
        let fixture = DiskFixture(folder.path, store: store, blockCount: 64)
        let bytes = Fixture.bytes(32 * blockBytes)
        let version = store.object(bytes.count)
        for pass in 0..<3 {
            for start in stride(from: 0, to: bytes.count, by: 4 * blockBytes) {
                try await fixture.expectRead(version, ByteRange(offset: start, count: 4 * blockBytes), of: bytes)
            }
            await fixture.drain()
            #expect(fixture.cache.statistics.blocks <= 64 / 8 + 4, "pass \(pass)")
        }
        #expect(fixture.getCount == 8)
        #expect(fixture.tier.statistics.hits >= 2 * 32 - 2 * 12)
    }

    @Test func filesAreTheUsersAlone() async throws {
        let folder = try CacheFolder()
        let store = DiskFixture.store()
        let fixture = DiskFixture(folder.path + "/made/here", store: store)
        try await fixture.expectRead(store.object(10_000), of: Fixture.bytes(10_000))
        await fixture.drain()
        let made = folder.path + "/made"
        for directory in [made, made + "/here", made + "/here/blocks"] {
            #expect(CacheFolder.mode(of: directory) == 0o700, "\(directory)")
        }
        let blocks = made + "/here/blocks"
        for name in try DiskCalls().names(AT_FDCWD, blocks) {
            let mode = CacheFolder.mode(of: "\(blocks)/\(name)")
            #expect(mode == 0o700 || mode == 0o600, "\(name)")
        }
    }

    @Test func aDirectoryThatWasOpenToOthersIsClosed() async throws {
        let folder = try CacheFolder()
        mkdir(folder.path + "/blocks", 0o755)
        chmod(folder.path + "/blocks", 0o777)
        _ = DiskFixture(folder.path, store: DiskFixture.store())
        #expect(CacheFolder.mode(of: folder.path + "/blocks") == 0o700)
    }

    /// Some blocks are there and some are not, in every mixture.
    @Test(arguments: 0..<12 as Range<UInt64>)
    func partsComeFromDiskAndTheRestFromTheStore(seed: UInt64) async throws {
        var dice = Dice(state: seed)
        let folder = try CacheFolder()
        let store = DiskFixture.store()
        let byteCount = 300 * blockBytes + 17
        let bytes = Fixture.bytes(byteCount)
        let version = store.object(byteCount)
        let first = DiskFixture(folder.path, store: store)
        for _ in 0..<Int.random(in: 1...12, using: &dice) {
            let start = Int.random(in: 0..<byteCount, using: &dice)
            let end = min(byteCount, start + Int.random(in: 1...40 * blockBytes, using: &dice))
            try await first.expectRead(version, ByteRange(start, end), of: bytes)
        }
        await first.drain()
        let stored = first.tier.statistics.blocksWritten

        let second = DiskFixture(folder.path, store: store)
        try await second.expectRead(version, of: bytes)
        let figures = second.tier.statistics
        #expect(figures.hits <= stored && figures.corruptBlocks == 0)
        #expect(figures.bytesRead + second.cache.statistics.bytesFetched == byteCount, "each byte came once")
        await second.drain()

        let third = DiskFixture(folder.path, store: store)
        let getCount = third.getCount
        try await third.expectRead(version, of: bytes)
        #expect(third.getCount == getCount)
    }

    @Test func piecesOfARun() {
        func pieces(_ present: [Range<Int>]) -> [String] {
            BlockCache.pieces(of: 10..<30, present: present).map { "\($0.blocks)\($0.isPresent ? "+" : "-")" }
        }
        #expect(pieces([]) == ["10..<30-"])
        #expect(pieces([10..<30]) == ["10..<30+"])
        #expect(pieces([10..<11]) == ["10..<11+", "11..<30-"])
        #expect(pieces([29..<30]) == ["10..<29-", "29..<30+"])
        // One GET is dearer than three blocks.
        #expect(pieces([12..<15]) == ["10..<30-"])
        #expect(pieces([12..<16]) == ["10..<12-", "12..<16+", "16..<30-"])
        #expect(pieces([10..<12, 13..<14, 20..<30]) == ["10..<12+", "12..<20-", "20..<30+"])
    }

    @Test func versionsAndBucketsAreKeptApart() async throws {
        let folder = try CacheFolder()
        let store = DiskFixture.store()
        let old = store.object(20_000, salt: 1)
        let first = DiskFixture(folder.path, store: store)
        try await first.expectRead(old, of: Fixture.bytes(20_000, salt: 1))
        await first.drain()
        let new = store.object(20_000, salt: 2)
        let second = DiskFixture(folder.path, store: store)
        try await second.expectRead(new, of: Fixture.bytes(20_000, salt: 2))
        let other = DiskFixture(folder.path, store: store, bucket: "http://server other")
        let getCount = other.getCount
        try await other.expectRead(new, of: Fixture.bytes(20_000, salt: 2))
        #expect(other.getCount > getCount)
    }

    /// Readahead comes from disk like everything else.
    @Test func readAheadIsAnsweredFromDisk() async throws {
        let folder = try CacheFolder()
        let store = DiskFixture.store()
        let byteCount = 2000 * blockBytes
        let bytes = Fixture.bytes(byteCount)
        let version = store.object(byteCount)
        let first = DiskFixture(folder.path, store: store)
        try await first.expectRead(version, of: bytes)
        await first.drain()
        let second = DiskFixture(folder.path, store: store)
        let getCount = second.getCount
        let stream = ReadStream(version: version)
        for offset in stride(from: 0, to: byteCount, by: 8 * blockBytes) {
            let range = ByteRange(offset: offset, count: 8 * blockBytes)
            #expect(try await second.cache.read(stream, range: range).isEqual(bytes, range))
        }
        #expect(second.getCount == getCount)
        #expect(second.cache.statistics.blocksFetchedAhead > 0)
    }

    /// Two mounts fill and read one directory at once.
    @Test func twoMountsShareADirectory() async throws {
        let folder = try CacheFolder()
        let store = DiskFixture.store()
        let byteCount = 400 * blockBytes
        let versions = (0..<6).map { store.object(byteCount, at: "k\($0)", salt: UInt64($0)) }
        // Room for a third of it, so that each removes what the other uses.
        let mounts = (0..<2).map { _ in
            DiskFixture(folder.path, store: store, blockCount: 256) { $0.limitBytes = byteCount * 2 }
        }
        try await withThrowingTaskGroup(of: Void.self) { group in
            for (number, mount) in mounts.enumerated() {
                group.addTask {
                    var dice = Dice(state: UInt64(number))
                    for _ in 0..<120 {
                        let index = Int.random(in: 0..<versions.count, using: &dice)
                        let start = Int.random(in: 0..<byteCount, using: &dice)
                        let end = min(byteCount, start + Int.random(in: 1...30 * blockBytes, using: &dice))
                        try await mount.expectRead(
                            versions[index], ByteRange(start, end), of: Fixture.bytes(byteCount, salt: UInt64(index)))
                    }
                }
            }
            try await group.waitForAll()
        }
        for mount in mounts {
            await mount.drain()
            #expect(mount.tier.statistics.corruptBlocks == 0)
            let failures = mount.lines.all.filter { !$0.hasSuffix("until there is") }
            #expect(failures.isEmpty, "\(failures)")
        }
    }

    @Test func theLimitHolds() async throws {
        let folder = try CacheFolder()
        let store = DiskFixture.store()
        let limit = 300 * blockBytes
        let fixture = DiskFixture(folder.path, store: store, blockCount: 64) { $0.limitBytes = limit }
        let byteCount = 40 * blockBytes
        for number in 0..<30 {
            let version = store.object(byteCount, at: "k\(number)", salt: UInt64(number))
            try await fixture.expectRead(version, of: Fixture.bytes(byteCount, salt: UInt64(number)))
            await fixture.drain()
            let stored = try folder.segments.reduce(0) { try $0 + CacheFolder.bytes(of: $1).count }
            #expect(stored <= limit)
            #expect(fixture.tier.statistics.bytesStored == stored)
        }
        #expect(fixture.tier.statistics.evictions > 20)
        #expect(fixture.tier.statistics.writesSkipped == 0)
    }

    /// A mount finds what an earlier one left, and makes room among it.
    @Test func aRestartKnowsTheSizesAndTheLimit() async throws {
        let folder = try CacheFolder()
        let store = DiskFixture.store()
        let byteCount = 40 * blockBytes
        let versions = (0..<24).map { store.object(byteCount, at: "k\($0)", salt: UInt64($0)) }
        func read(_ numbers: Range<Int>, _ fixture: DiskFixture) async throws {
            for number in numbers {
                try await fixture.expectRead(versions[number], of: Fixture.bytes(byteCount, salt: UInt64(number)))
                await fixture.drain()
            }
        }
        let first = DiskFixture(folder.path, store: store)
        try await read(0..<20, first)
        // Used again: these are to stay.
        let again = DiskFixture(folder.path, store: store)
        try await read(0..<5, again)
        await again.drain()

        let limit = 12 * (byteCount + 4096)
        let second = DiskFixture(folder.path, store: store) { $0.limitBytes = limit }
        await second.drain()
        #expect(second.tier.statistics.bytesStored == 20 * (byteCount + 4096))
        try await read(20..<24, second)
        #expect(second.tier.statistics.bytesStored <= limit)
        #expect(second.tier.statistics.evictions >= 12)
        let getCount = second.getCount
        let third = DiskFixture(folder.path, store: store)
        try await read(0..<5, third)
        #expect(third.getCount == getCount, "what was used twice has stayed")
    }

    @Test func spaceThatIsToStayFreeIsLeft() async throws {
        let folder = try CacheFolder()
        let store = DiskFixture.store()
        // No file system is so empty.
        let fixture = DiskFixture(folder.path, store: store) { $0.freePercent = 99 }
        let used = Self.usedPercent(folder.path)
        try await fixture.expectRead(store.object(40_000), of: Fixture.bytes(40_000))
        await fixture.drain()
        if used >= 2 {
            #expect(try folder.segments.isEmpty)
            #expect(fixture.tier.statistics.writesSkipped == 10)
            #expect(fixture.lines.all.count == 1)
        } else {
            // An almost empty one: all but what the guard leaves may be taken.
            #expect(fixture.tier.statistics.writesSkipped == 0)
        }
    }

    private static func usedPercent(_ path: String) -> Int {
        var status = statvfs()
        guard statvfs(path, &status) == 0, status.f_blocks > 0 else { return 0 }
        return Int((status.f_blocks - status.f_bavail) * 100 / status.f_blocks)
    }

    @Test func theContentsAreListedAndCleared() async throws {
        let folder = try CacheFolder()
        #expect(try DiskCacheContents.buckets(directory: folder.path).isEmpty)
        let store = DiskFixture.store()
        let fixture = DiskFixture(folder.path, store: store)
        let large = store.object(200 * blockBytes, at: "large")
        let small = store.object(100, at: "small")
        try await fixture.expectRead(large, of: Fixture.bytes(200 * blockBytes))
        try await fixture.expectRead(small, of: Fixture.bytes(100))
        await fixture.drain()
        let buckets = try DiskCacheContents.buckets(directory: folder.path)
        #expect(buckets.map(\.name) == ["http://server bucket"] && buckets.map(\.objects) == [2])
        #expect(buckets.map(\.bytes) == [200 * blockBytes + 2 * 4096 + 4096 + 4096])

        try DiskCacheContents.clear(directory: folder.path)
        #expect(try folder.segments.isEmpty)
        // The mount goes on, and fills it again.
        fixture.cache.forget(large)
        try await fixture.expectRead(large, of: Fixture.bytes(200 * blockBytes))
        await fixture.drain()
        #expect(try !folder.segments.isEmpty)
        #expect(fixture.lines.all.isEmpty)
    }

    @Test func theScanRemovesWhatIsNoneOfTheCaches() async throws {
        let folder = try CacheFolder()
        let store = DiskFixture.store()
        let first = DiskFixture(folder.path, store: store)
        let version = store.object(10_000)
        try await first.expectRead(version, of: Fixture.bytes(10_000))
        await first.drain()
        let segment = try #require(try folder.segments.first)
        let directory = String(segment.prefix(segment.count - "/c-0".count - 29))
        try CacheFolder.write([1, 2, 3], to: directory + "/stray")
        // A sound segment under the name of another.
        var renamed = Array(segment.utf8)
        renamed[renamed.count - 1] = UInt8(ascii: "5")
        let other = String(decoding: renamed, as: UTF8.self)
        try CacheFolder.write(try CacheFolder.bytes(of: segment), to: other)
        // Not ours: beside the blocks.
        try CacheFolder.write([1], to: folder.path + "/precious")
        let second = DiskFixture(folder.path, store: store)
        await second.drain()
        #expect(try folder.segments == [segment])
        #expect(access(directory + "/stray", F_OK) != 0)
        #expect(access(folder.path + "/precious", F_OK) == 0)
        #expect(second.tier.statistics.corruptBlocks == 1)
    }
}
