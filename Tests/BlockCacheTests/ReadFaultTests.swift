// Reads while the store fails, the object changes, and readers leave.

import Base
import BlockCache
import MemoryStore
import ObjectModel
import ObjectStore
import Testing

@Suite(.timeLimit(.minutes(3)))
struct ReadFaultTests {
    @Test func aChangedObjectIsAPreconditionFailure() async throws {
        let fixture = Fixture()
        let old = fixture.write(10 * blockBytes)
        let stream = ReadStream(version: old, readsAhead: false)
        try await fixture.expectRead(stream, ByteRange(0, blockBytes), of: Fixture.bytes(10 * blockBytes))
        let new = fixture.write(10 * blockBytes, salt: 5)
        await #expect { try await fixture.cache.read(stream, range: ByteRange(blockBytes, 2 * blockBytes)) } throws: {
            ($0 as? StoreError)?.kind == .preconditionFailed
        }
        // What is in memory is of the old version and stays readable as such; the new version has its own blocks.
        try await fixture.expectRead(stream, ByteRange(0, blockBytes), of: Fixture.bytes(10 * blockBytes))
        try await fixture.expectRead(
            ReadStream(version: new), ByteRange(0, 10 * blockBytes), of: Fixture.bytes(10 * blockBytes, salt: 5))
    }

    @Test func anErrorReachesEveryWaiterAndIsNotKept() async throws {
        let fixture = Fixture()
        let version = fixture.write(10 * blockBytes)
        fixture.store.pause(.getObject)
        fixture.store.setFaults(FaultPlan().adding(.serverFault, on: .getObject))
        let readers = (0..<5).map { _ in
            Task { [cache = fixture.cache] in try await cache.read(version, range: ByteRange(0, 100)).byteCount }
        }
        await fixture.store.untilHeld(.getObject)
        while fixture.cache.statistics.misses < 5 { await Task.yield() }
        fixture.store.resume(.getObject)
        for reader in readers {
            await #expect { try await reader.value } throws: { ($0 as? StoreError)?.kind == .serverFault }
        }
        #expect(fixture.pool.leasedCount == 0)
        #expect(try await fixture.cache.read(version, range: ByteRange(0, 100)).byteCount == 100)
        #expect(fixture.ranges.count == 2)
    }

    @Test func failedReadAheadFailsNobody() async throws {
        let fixture = Fixture(blockBytes: 128 << 10)
        let byteCount = 16 << 20
        let bytes = Fixture.bytes(byteCount)
        let stream = ReadStream(version: fixture.write(byteCount))
        // The second and third requests are read-ahead that runs beside the first.
        fixture.store.setFaults(
            FaultPlan().adding(.serverFault, on: .getObject, when: .nth(2))
                .adding(.throttled, on: .getObject, when: .nth(3)))
        try await fixture.expectRead(stream, ByteRange(0, 128 << 10), of: bytes)
        await fixture.settle()
        for offset in stride(from: 128 << 10, to: byteCount, by: 128 << 10) {
            try await fixture.expectRead(stream, ByteRange(offset: offset, count: 128 << 10), of: bytes)
        }
    }

    @Test func lostReadAheadIsFetchedAgainInOnePiece() async throws {
        let fixture = Fixture(blockBytes: 128 << 10)
        let stream = ReadStream(version: fixture.write(16 << 20))
        fixture.store.setFaults(FaultPlan().adding(.serverFault, on: .getObject, when: .nth(2)))
        for offset in stride(from: 0, to: 4 << 20, by: 128 << 10) {
            _ = try await fixture.cache.read(stream, range: ByteRange(offset: offset, count: 128 << 10))
            await fixture.settle()
        }
        let statistics = fixture.cache.statistics
        #expect(statistics.requests - statistics.readAheadRequests == 2, "\(fixture.ranges)")
    }

    @Test func aReaderOfAGivenUpFetchIsServedByAnother() async throws {
        let pool = BufferPool(limitBytes: 1024 * blockBytes, bufferBytes: blockBytes)
        let version = ObjectVersion(key: MemoryStore.objectKey("k"), etag: ETag("e")!, byteCount: 400 * blockBytes)
        let held = OneShot<Void>()
        let isCancelled = OneShot<Void>()
        let requests = Lock<[ByteRange]>([])
        // The second request, which is read-ahead, ends late after it was cancelled.
        let store = StubStore { request, sink throws(StoreError) in
            let number = requests.withLock { requests in
                requests.append(request.range!)
                return requests.count
            }
            if number == 2 {
                await withTaskCancellationHandler {
                    await held.wait()
                } onCancel: {
                    isCancelled.set(())
                }
                throw StoreError(.cancelled, operation: "GetObject")
            }
            let info = ObjectInfo(version: version, lastModified: Timestamp(seconds: 0), properties: .init())
            sink.begin(info, range: request.range!)
            [UInt8](repeating: 1, count: request.range!.count).withUnsafeBytes { sink.receive($0) }
            return info
        }
        let cache = BlockCache(store: store, pool: pool)
        var stream: ReadStream? = ReadStream(version: version)
        _ = try await cache.read(stream!, range: ByteRange(0, 64 * blockBytes))
        while requests.withLock({ $0.count }) < 2 { await Task.yield() }
        let lost = requests.withLock { $0[1] }
        stream = nil
        await isCancelled.wait()
        let missCount = cache.statistics.misses
        let reader = Task { try await cache.read(version, range: ByteRange(offset: lost.offset, count: 9)).array }
        while cache.statistics.misses == missCount { await Task.yield() }
        held.set(())
        #expect(try await reader.value == [UInt8](repeating: 1, count: 9))
        #expect(requests.withLock { $0.last } == ByteRange(offset: lost.offset, count: blockBytes))
    }

    @Test func abandoningAnswersAtOnce() async throws {
        let fixture = Fixture()
        let version = fixture.write(10 * blockBytes)
        let stream = ReadStream(version: version, readsAhead: false)
        fixture.store.pause(.getObject)
        let answers = Lock<[StoreError.Kind?]>([])
        let answer = fixture.cache.read(stream, range: ByteRange(0, 3 * blockBytes)) { result in
            answers.withLock { answers in
                switch result {
                case .success: answers.append(nil)
                case .failure(let error): answers.append(error.kind)
                }
            }
        }
        guard case .parked(let read) = answer else {
            Issue.record("a hit without data")
            return
        }
        await fixture.store.untilHeld(.getObject)
        read.abandon()
        read.abandon()
        #expect(answers.withLock { $0 } == [.cancelled])
        fixture.store.resume(.getObject)
        await fixture.settle()
        #expect(answers.withLock { $0 } == [.cancelled], "once only")
        // What was under way is kept.
        #expect(fixture.cache.statistics.blocks == 3)
    }

    /// The completion of a read that is over held the last reference to its stream, whose end takes the lock under which
    /// the read was let go of: the process died.
    @Test func regression_aReadGivenUpHoldsItsStream() async throws {
        let fixture = Fixture()
        let version = fixture.write(10 * blockBytes)
        fixture.store.pause(.getObject)
        func begin() -> ReadAnswer {
            let stream = ReadStream(version: version)
            return fixture.cache.read(stream, range: ByteRange(0, 100)) { _ in withExtendedLifetime(stream) {} }
        }
        func beginAndGiveUp() async {
            guard case .parked(let read) = begin() else {
                Issue.record("a hit without data")
                return
            }
            await fixture.store.untilHeld(.getObject)
            read.abandon()
        }
        await beginAndGiveUp()
        fixture.store.resume(.getObject)
        await fixture.settle()
        #expect(fixture.cache.statistics.blocks > 0)
    }

    @Test func aCancelledTaskEndsItsRead() async throws {
        let fixture = Fixture()
        let version = fixture.write(10 * blockBytes)
        fixture.store.pause(.getObject)
        let reader = Task { [cache = fixture.cache] in try await cache.read(version, range: ByteRange(0, 9)).byteCount }
        await fixture.store.untilHeld(.getObject)
        reader.cancel()
        await #expect { try await reader.value } throws: { ($0 as? StoreError)?.kind == .cancelled }
        fixture.store.resume(.getObject)
        await fixture.settle()
    }

    /// What a broken store could send.
    enum Lie: CaseIterable {
        case otherVersion, otherLength, otherRange, shortBody, longBody, noBegin
    }

    /// Breaks the contract of `get` in one way; the bytes are all 1.
    private static func lie(_ lie: Lie, _ request: GetRequest, into sink: any BodySink) -> ObjectInfo {
        let range = request.range!
        let etag = lie == .otherVersion ? ETag("wrong")! : request.etag!
        let info = ObjectInfo(
            version: ObjectVersion(
                key: request.key, etag: etag, byteCount: (lie == .otherLength ? 9 : 8) * blockBytes),
            lastModified: Timestamp(seconds: 0), properties: .init())
        if lie != .noBegin {
            sink.begin(
                info, range: lie == .otherRange ? ByteRange(offset: range.offset + 1, count: range.count) : range)
        }
        let count = lie == .shortBody ? range.count - 1 : lie == .longBody ? range.count + 1 : range.count
        [UInt8](repeating: 1, count: count).withUnsafeBytes { sink.receive($0) }
        return info
    }

    @Test(arguments: Lie.allCases)
    func aBodyThatBreaksTheContractIsAnError(lie: Lie) async throws {
        let pool = BufferPool(limitBytes: 64 * blockBytes, bufferBytes: blockBytes)
        let store = StubStore { request, sink in Self.lie(lie, request, into: sink) }
        let cache = BlockCache(store: store, pool: pool)
        let version = ObjectVersion(key: MemoryStore.objectKey("k"), etag: ETag("right")!, byteCount: 8 * blockBytes)
        if lie == .longBody {
            // All that was asked for is there, and the rest is ignored.
            let slices = try await cache.read(version, range: ByteRange(0, 4 * blockBytes))
            #expect(slices.array == [UInt8](repeating: 1, count: 4 * blockBytes))
        } else {
            await #expect { try await cache.read(version, range: ByteRange(0, 4 * blockBytes)) } throws: {
                ($0 as? StoreError)?.kind == .malformedResponse
            }
            while cache.statistics.requestsInFlight > 0 { await Task.yield() }
        }
        #expect(pool.leasedCount == cache.statistics.blocks)
    }

    /// Random reads through many streams, while the object changes, requests fail and memory is short: each read gives
    /// the bytes of its version or an error.
    @Test(arguments: 1...12 as ClosedRange<UInt64>)
    func randomReadsGiveTheirVersionOrAnError(seed: UInt64) async throws {
        var dice = Dice(state: seed)
        let blockCount = Int.random(in: 4...60, using: &dice)
        let fixture = Fixture(blockCount: blockCount, seed: seed) { $0.requestCountMax = 5 }
        let byteCount = Int.random(in: 1...150 * blockBytes, using: &dice)
        let salts = (0..<3).map { UInt64($0) }
        let versions = salts.map { fixture.write(byteCount, salt: $0) }
        fixture.store.setFaults(
            FaultPlan(seed: seed)
                .adding(.serverFault, on: .getObject, when: .chance(0.05))
                .adding(.bodyCut(afterBytes: 3 * blockBytes + 1, .timedOut), on: .getObject, when: .chance(0.1)))
        let good = Lock(0)
        await withTaskGroup(of: Void.self) { group in
            for reader in 0..<8 {
                group.addTask {
                    var dice = Dice(state: seed &* 1000 &+ UInt64(reader))
                    for _ in 0..<4 {
                        // Only the last version is in the store; older ones give errors, or what is in memory.
                        let which = Int.random(in: 0..<10, using: &dice) == 0 ? 0 : 2
                        let bytes = Fixture.bytes(byteCount, salt: salts[which])
                        let stream = ReadStream(version: versions[which])
                        var offset = 0
                        let isSequential = Bool.random(using: &dice)
                        for _ in 0..<20 {
                            let count = Int.random(in: 1...min(byteCount, 7 * blockBytes), using: &dice)
                            if !isSequential || offset + count > byteCount {
                                offset = Int.random(in: 0...byteCount - count, using: &dice)
                            }
                            let range = ByteRange(offset: offset, count: count)
                            if let slices = try? await fixture.cache.read(stream, range: range) {
                                #expect(slices.isEqual(bytes, range), "seed \(seed)")
                                good.withLock { $0 += 1 }
                            }
                            #expect(fixture.pool.leasedCount <= blockCount)
                            offset += count
                        }
                    }
                }
            }
            await group.waitForAll()
        }
        await fixture.settle()
        #expect(good.withLock { $0 } > 200)
        #expect(fixture.pool.leasedCount == fixture.cache.statistics.blocks)
        #expect(fixture.store.requestLog.allSatisfy { $0.ifMatch != nil })
        fixture.cache.forget(versions[0].key)
        #expect(fixture.pool.leasedCount == 0)
    }
}
