// Damaged files and failing disks: no wrong byte is served, and no read fails or waits for them.

import Base
import Glibc
import MemoryStore
import ObjectModel
import Testing

@testable import BlockCache

@Suite(.timeLimit(.minutes(5)))
struct DiskDamageTests {
    /// A cache with one object of three blocks on disk.
    private struct Damaged {
        let folder: CacheFolder
        let store = DiskFixture.store()
        let version: ObjectVersion
        let bytes: [UInt8]
        let path: String
        let sound: [UInt8]

        init(byteCount: Int = 2 * blockBytes + 100) async throws {
            folder = try CacheFolder()
            bytes = Fixture.bytes(byteCount)
            version = store.object(byteCount)
            let fixture = DiskFixture(folder.path, store: store)
            try await fixture.expectRead(version, of: bytes)
            await fixture.drain()
            path = try #require(try folder.segments.first)
            sound = try CacheFolder.bytes(of: path)
            #expect(sound.count == 4096 + byteCount)
        }

        /// Reads it by the tier alone, as a mount would: every block that is accepted must be right.
        func expectNothingWrong(_ tier: DiskTier, _ what: String) {
            let finding = tier.find(version, 0..<(bytes.count + blockBytes - 1) / blockBytes)
            for run in finding.present {
                let memory = (0..<run.count).map { _ in
                    UnsafeMutableRawPointer.allocate(byteCount: blockBytes, alignment: 4096)
                }
                defer { for pointer in memory { pointer.deallocate() } }
                var next = 0
                _ = tier.read(finding, run, into: memory) { count in
                    for _ in 0..<count {
                        let index = run.lowerBound + next
                        let count = min(blockBytes, bytes.count - index * blockBytes)
                        let isRight = self.bytes.withUnsafeBytes {
                            memcmp($0.baseAddress! + index * blockBytes, memory[next], count) == 0
                        }
                        if !isRight { Issue.record("\(what): block \(index)") }
                        next += 1
                    }
                }
            }
        }
    }

    @Test func aFlippedByteIsNeverServed() async throws {
        let damaged = try await Damaged(byteCount: blockBytes + 100)
        let tier = DiskFixture(damaged.folder.path, store: damaged.store).tier
        let calls = DiskCalls()
        var isWhole = false
        for position in damaged.sound.indices {
            // What was found damaged was removed, or marked so.
            if !isWhole { try CacheFolder.write(damaged.sound, to: damaged.path) }
            let file = try calls.open(AT_FDCWD, damaged.path, O_RDWR)
            try calls.writeBytes(file, [damaged.sound[position] ^ UInt8(position % 255 + 1)], at: position)
            damaged.expectNothingWrong(tier, "byte \(position)")
            await Task.yield()
            try calls.writeBytes(file, [damaged.sound[position]], at: position)
            isWhole = (try? CacheFolder.bytes(of: damaged.path)) == damaged.sound
        }
    }

    @Test func aTruncatedFileIsNeverServed() async throws {
        let damaged = try await Damaged(byteCount: blockBytes + 100)
        let tier = DiskFixture(damaged.folder.path, store: damaged.store).tier
        try CacheFolder.write(damaged.sound, to: damaged.path)
        for count in (0..<damaged.sound.count).reversed() {
            // Below a whole header the file is removed when it is found so.
            if count < 4096 { try CacheFolder.write(Array(damaged.sound[..<count]), to: damaged.path) }
            truncate(damaged.path, count)
            damaged.expectNothingWrong(tier, "\(count) bytes left")
            await Task.yield()
        }
    }

    /// Damage anywhere: the read is answered, the block is fetched and written again.
    @Test(arguments: [0, 8, 20, 44, 64, 68, 600, 4096, 4096 + 4096, 4096 + 2 * 4096 + 99])
    func aDamagedBlockIsFetchedAndWrittenAgain(position: Int) async throws {
        let damaged = try await Damaged()
        var bytes = damaged.sound
        bytes[position] ^= 0x40
        try CacheFolder.write(bytes, to: damaged.path)
        let fixture = DiskFixture(damaged.folder.path, store: damaged.store)
        let getCount = fixture.getCount
        try await fixture.expectRead(damaged.version, of: damaged.bytes)
        await fixture.drain()
        #expect(fixture.getCount == getCount + 1)
        #expect(fixture.tier.statistics.corruptBlocks >= 1)
        #expect(fixture.cache.statistics.failures == 0)

        let second = DiskFixture(damaged.folder.path, store: damaged.store)
        try await second.expectRead(damaged.version, of: damaged.bytes)
        #expect(second.getCount == getCount + 1, "mended")
        #expect(second.tier.statistics.corruptBlocks == 0)
    }

    /// Damage in two segments that one fetch reads: what was fetched again because of the first mends the second too.
    @Test func regression_damageBehindDamageIsMended() async throws {
        let folder = try CacheFolder()
        let store = DiskFixture.store()
        let bytes = Fixture.bytes(200 * blockBytes)
        let version = store.object(bytes.count)
        let first = DiskFixture(folder.path, store: store)
        try await first.expectRead(version, of: bytes)
        await first.drain()
        for path in try folder.segments {
            var content = try CacheFolder.bytes(of: path)
            content[4096 + 60 * blockBytes + 7] ^= 1
            try CacheFolder.write(content, to: path)
        }
        let second = DiskFixture(folder.path, store: store)
        try await second.expectRead(version, of: bytes)
        await second.drain()
        #expect(second.tier.statistics.corruptBlocks >= 1)

        let getCount = second.getCount
        let third = DiskFixture(folder.path, store: store)
        try await third.expectRead(version, of: bytes)
        #expect(third.tier.statistics.corruptBlocks == 0 && third.getCount == getCount)
    }

    /// What the scan found damaged, a reader finds too, and it may be written again before the scan comes to remove it.
    @Test func regression_theScanKeepsWhatWasMendedMeanwhile() async throws {
        let folder = try CacheFolder()
        let store = DiskFixture.store()
        let bytes = Fixture.bytes(200 * blockBytes)
        let fixture = DiskFixture(folder.path, store: store)
        try await fixture.expectRead(store.object(bytes.count), of: bytes)
        await fixture.drain()
        let sound = try folder.segments.map { ($0, try CacheFolder.bytes(of: $0)) }
        #expect(sound.count == 2)
        for (path, content) in sound { try CacheFolder.write(content.map { $0 ^ 1 }, to: path) }
        // The reads that have been made, and after how many of them the files are mended.
        let reads = Lock((count: 0, last: Int.max))
        let calls = DiskCalls { call in
            let isDue = reads.withLock { reads in
                if call == .read { reads.count += 1 }
                return reads.count == reads.last && call != .read
            }
            if isDue { for (path, content) in sound { try? CacheFolder.write(content, to: path) } }
            return nil
        }
        let directory = try BlockDirectory(path: folder.path, isMade: false, calls: calls)
        reads.withLock { $0.count = 0 }
        #expect(try SegmentCensus(directory, isCleaning: false).foreignCount == 2)
        reads.withLock { $0 = (0, $0.count) }
        #expect(try SegmentCensus(directory, isCleaning: true).foreignCount == 2)
        #expect(try folder.segments.count == 2)
    }

    /// The name of another version's file: what it holds is asked of the file itself.
    @Test func aFileOfAnotherVersionIsNotServed() async throws {
        let damaged = try await Damaged()
        let other = damaged.store.object(damaged.bytes.count, at: "k2", salt: 9)
        let fixture = DiskFixture(damaged.folder.path, store: damaged.store)
        await fixture.drain()
        let name = SegmentName(fixture.tier.identity(other, segment: 0))
        mkdir("\(damaged.folder.path)/blocks/\(name.directory)", 0o700)
        try CacheFolder.write(damaged.sound, to: "\(damaged.folder.path)/blocks/\(name.path)")
        try await fixture.expectRead(other, of: Fixture.bytes(damaged.bytes.count, salt: 9))
        #expect(fixture.tier.statistics.corruptBlocks == 1)
    }

    // MARK: Failing disks

    /// Every call fails in its turn with every errno: reads go on, one line is logged.
    @Test(arguments: DiskCalls.Call.allCases, [ENOSPC, EROFS, EACCES, EIO, ENOENT, EDQUOT])
    func aFailingCallIsNobodysProblem(call: DiskCalls.Call, code: Int32) async throws {
        let damaged = try await Damaged()
        let fixture = DiskFixture(damaged.folder.path, store: damaged.store, fault: { $0 == call ? code : nil })
        let new = damaged.store.object(50_000, at: "new", salt: 3)
        try await fixture.expectRead(damaged.version, of: damaged.bytes)
        try await fixture.expectRead(new, of: Fixture.bytes(50_000, salt: 3))
        await fixture.drain()
        #expect(fixture.cache.statistics.failures == 0)
        #expect(fixture.lines.all.count <= 2, "\(fixture.lines.all)")
    }

    @Test func aDiskThatWorksAgainIsUsedAgain() async throws {
        let folder = try CacheFolder()
        let store = DiskFixture.store()
        let gate = FaultGate()
        let fixture = DiskFixture(folder.path, store: store, fault: { gate.isOn && $0 == .write ? ENOSPC : nil })
        for number in 0..<5 {
            let version = store.object(20_000, at: "k\(number)")
            try await fixture.expectRead(version, of: Fixture.bytes(20_000))
            await fixture.drain()
        }
        #expect(fixture.lines.all.count == 1, "\(fixture.lines.all)")
        #expect(fixture.lines.all.first?.contains("No space left on device") == true)
        #expect(try folder.segments.isEmpty)
        #expect(fixture.tier.statistics.writesSkipped == 25)

        gate.turnOff()
        fixture.time.advance(nanoseconds: DiskHealth.pauseNanoseconds)
        try await fixture.expectRead(store.object(20_000, at: "later"), of: Fixture.bytes(20_000))
        await fixture.drain()
        #expect(fixture.lines.all.count == 2 && fixture.lines.all[1].hasSuffix("works again"))
        #expect(try folder.segments.count == 1)
    }

    /// The directory is removed while mounted, and comes back.
    @Test func aDirectoryThatVanishesIsMadeAgain() async throws {
        let folder = try CacheFolder()
        let store = DiskFixture.store()
        let inner = folder.path + "/cache"
        let fixture = DiskFixture(inner, store: store)
        await fixture.drain()
        CacheFolder.remove(inner)
        try await fixture.expectRead(store.object(20_000, at: "a"), of: Fixture.bytes(20_000))
        await fixture.drain()
        fixture.time.advance(nanoseconds: DiskHealth.pauseNanoseconds)
        try await fixture.expectRead(store.object(20_000, at: "b"), of: Fixture.bytes(20_000))
        await fixture.drain()
        try await fixture.expectRead(store.object(20_000, at: "c"), of: Fixture.bytes(20_000))
        await fixture.drain()
        #expect(access(inner + "/blocks", F_OK) == 0)
        #expect(fixture.tier.statistics.blocksWritten >= 5)
    }

    /// What cannot be read is not looked for again: it comes from the store and is written anew.
    @Test func regression_aLostSectorIsReadOnce() async throws {
        let folder = try CacheFolder()
        let store = DiskFixture.store()
        let version = store.object(20_000, at: "a")
        let first = DiskFixture(folder.path, store: store)
        try await first.expectRead(version, of: Fixture.bytes(20_000))
        await first.drain()
        let gate = FaultGate()
        let reads = Lock(0)
        let fixture = DiskFixture(
            folder.path, store: store,
            fault: { call in
                // The first read of a file is that of its header.
                guard call == .read else { return nil }
                let number = reads.withLock { count in
                    count += 1
                    return count
                }
                return gate.isOn && number % 2 == 0 ? EIO : nil
            })
        await fixture.drain()
        try await fixture.expectRead(version, of: Fixture.bytes(20_000))
        await fixture.drain()
        gate.turnOff()
        fixture.time.advance(nanoseconds: DiskHealth.pauseNanoseconds)
        let answer = await fixture.cache.cachedByteCount(of: version)
        #expect(answer == 20_000, "in memory")
        let (present, _) = (fixture.tier.find(version, 0..<5).present, 0)
        #expect(present.isEmpty, "its marks are gone: \(present)")
    }

    /// More is read than the disk takes: what does not fit in the queue is not written, and nobody waits.
    @Test func aSlowDiskHoldsNobodyUp() async throws {
        let folder = try CacheFolder()
        let store = DiskFixture.store()
        let gate = Gate()
        let fixture = DiskFixture(
            folder.path, store: store, configure: { $0.writeQueueBytesMax = 8 * blockBytes },
            fault: {
                if $0 == .rename { gate.wait() }
                return nil
            })
        await fixture.drain()
        let byteCount = 100 * blockBytes
        try await fixture.expectRead(store.object(byteCount), of: Fixture.bytes(byteCount))
        #expect(fixture.tier.statistics.writesSkipped >= 80)
        gate.open()
        await fixture.drain()
        #expect(fixture.tier.statistics.blocksWritten + fixture.tier.statistics.writesSkipped == 100)
    }
}

/// A switch that a fault looks at.
final class FaultGate: Sendable {
    private let state = Lock(true)
    var isOn: Bool { state.withLock { $0 } }
    func turnOff() { state.withLock { $0 = false } }
}

/// Holds threads until it is opened.
final class Gate: Sendable {
    private let ends: (Int32, Int32)

    init() {
        var ends: [Int32] = [-1, -1]
        precondition(pipe(&ends) == 0)
        self.ends = (ends[0], ends[1])
    }

    /// Returns once the gate is open: the end of a pipe comes when its other end is closed.
    func wait() {
        var byte: UInt8 = 0
        _ = read(ends.0, &byte, 1)
    }

    func open() { close(ends.1) }
    deinit { close(ends.0) }
}
