// Bytes that are fetched before anybody reads them.

import Base
import BlockCache
import MemoryStore
import ObjectModel
import ObjectStore
import Testing

@Suite(.timeLimit(.minutes(5)))
struct PrefetchTests {
    private func prefetch(
        _ fixture: Fixture, _ version: ObjectVersion, _ byteCount: Int = .max, isUrgent: Bool = false
    ) -> (PrefetchOutcome, OneShot<Result<ObjectInfo?, StoreError>>) {
        let done = OneShot<Result<ObjectInfo?, StoreError>>()
        let outcome = fixture.cache.prefetch(version, byteCount: byteCount, isUrgent: isUrgent) { done.set($0) }
        return (outcome, done)
    }

    @Test func readersShareTheRequest() async throws {
        let fixture = Fixture()
        let version = fixture.write(6000)
        fixture.store.pause(.getObject)
        let (outcome, done) = prefetch(fixture, version)
        #expect(outcome == .started)
        #expect(prefetch(fixture, version).0 == .underWay)
        async let read: Void = fixture.expectRead(
            ReadStream(version: version, readsAhead: false), ByteRange(0, 6000), of: Fixture.bytes(6000))
        await fixture.store.untilHeld(.getObject)
        fixture.store.resume(.getObject)
        try await read
        let told = try await done.wait().get()
        #expect(told?.version == version)
        #expect(fixture.ranges == [ByteRange(0, 6000)])
        #expect(prefetch(fixture, version).0 == .inMemory)
        #expect(fixture.cache.statistics.blocksFetchedInVain == 0)
    }

    @Test func anErrorIsToldAndNothingIsKept() async throws {
        let fixture = Fixture()
        let version = fixture.write(6000)
        fixture.write(6000, salt: 1)
        let (_, done) = prefetch(fixture, version)
        let result = await done.wait()
        #expect(throws: StoreError.self) { try result.get() }
        #expect(!fixture.cache.holdsBeginning(of: version) && fixture.pool.leasedCount == 0)
    }

    /// An eighth of the memory may hold what nobody has read; what was read makes room for more.
    @Test func itIsBounded() async throws {
        let fixture = Fixture(blockCount: 64)
        let versions = (0..<20).map { fixture.write(1000, at: "k\($0)") }
        var started = 0
        for version in versions {
            if prefetch(fixture, version).0 == .started { started += 1 }
            await fixture.settle()
        }
        #expect(started == 8)
        try await fixture.expectRead(ReadStream(version: versions[0]), ByteRange(0, 1000), of: Fixture.bytes(1000))
        #expect(prefetch(fixture, versions[10]).0 == .started)
        #expect(prefetch(fixture, versions[11]).0 == .noRoom)
        #expect(prefetch(fixture, versions[12], isUrgent: true).0 == .started, "somebody waits for it")
        await fixture.settle()
    }

    /// What was fetched because somebody waited, and was never read, once kept every stream from reading ahead.
    @Test func regression_urgentOnesDoNotEndReadAhead() async throws {
        let fixture = Fixture(blockCount: 64)
        for index in 0..<60 {
            let version = fixture.write(1000, at: "small\(index)")
            #expect(prefetch(fixture, version, isUrgent: true).0 == .started)
            await fixture.settle()
        }
        let version = fixture.write(40 * blockBytes)
        let stream = ReadStream(version: version)
        for index in 0..<4 {
            try await fixture.expectRead(
                stream, ByteRange(index * blockBytes, (index + 1) * blockBytes), of: Fixture.bytes(40 * blockBytes))
        }
        await fixture.settle()
        #expect(fixture.cache.statistics.blocksFetchedAhead > 60)
    }

    @Test func anObjectOfUnknownVersionIsKeptUnderTheOneItHas() async throws {
        let fixture = Fixture()
        fixture.store.requireIfMatch = false
        let version = fixture.write(10_000)
        let info = try await fixture.cache.beginning(of: version.key)
        #expect(info?.version == version)
        try await fixture.expectRead(
            ReadStream(version: version, readsAhead: false), ByteRange(0, blockBytes), of: Fixture.bytes(10_000))
        #expect(fixture.ranges == [ByteRange(0, blockBytes)])
        await #expect(throws: StoreError.self) {
            try await fixture.cache.beginning(of: MemoryStore.objectKey("none"))
        }
        fixture.write(0, at: "empty")
        await #expect(throws: StoreError.self) {
            try await fixture.cache.beginning(of: MemoryStore.objectKey("empty"))
        }
        #expect(fixture.pool.leasedCount == 1)
    }

    @Test(arguments: [1, blockBytes, 2 * blockBytes + 7, 4 * blockBytes, 5 * blockBytes])
    func aSmallObjectComesWholeWithTheQuestion(byteCount: Int) async throws {
        let fixture = Fixture { $0.beginningBlockCount = 4 }
        fixture.store.requireIfMatch = false
        let version = fixture.write(byteCount)
        #expect(try await fixture.cache.beginning(of: version.key)?.version == version)
        let whole = ByteRange(0, min(byteCount, 4 * blockBytes))
        try await fixture.expectRead(
            ReadStream(version: version, readsAhead: false), whole, of: Fixture.bytes(byteCount))
        #expect(fixture.ranges.count == 1)
        #expect(fixture.pool.leasedCount == (whole.count + blockBytes - 1) / blockBytes)
    }

    /// A first look at what was prefetched brings nothing else; reading on does.
    @Test func aGlanceAtTheStartReadsNothingAhead() async throws {
        let fixture = Fixture()
        let version = fixture.write(40 * blockBytes)
        _ = await prefetch(fixture, version, blockBytes).1.wait()
        let stream = ReadStream(version: version)
        let bytes = Fixture.bytes(40 * blockBytes)
        try await fixture.expectRead(stream, ByteRange(0, 100), of: bytes)
        await fixture.settle()
        #expect(fixture.ranges.count == 1)
        try await fixture.expectRead(stream, ByteRange(100, 200), of: bytes)
        await fixture.settle()
        #expect(fixture.ranges.count > 1)
    }
}
