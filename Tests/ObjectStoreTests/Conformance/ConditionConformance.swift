// Conditional writes: what "no lost update" stands on.

import Base
import MemoryStore
import ObjectModel
import ObjectStore
import Testing

extension Conformance {
    @Suite(.timeLimit(.minutes(5)))
    struct Conditions {
        @Test(arguments: StoreUnderTest.all)
        func ifAbsent(_ target: StoreUnderTest) async throws {
            try await Bench.check("condition.ifAbsent", on: target) { bench in
                let key = bench.key("object")
                try await bench.put(key, [1], condition: .ifAbsent)
                await bench.expectFailure(.preconditionFailed) { () throws(StoreError) in
                    try await bench.put(key, [2], condition: .ifAbsent)
                }
                try await bench.expectBody(key, [1])
                try await bench.store.delete(key)
                try await bench.put(key, [3], condition: .ifAbsent)
                try await bench.expectBody(key, [3])
            }
        }

        @Test(arguments: StoreUnderTest.all)
        func ifMatch(_ target: StoreUnderTest) async throws {
            try await Bench.check("condition.ifMatch", on: target) { bench in
                let key = bench.key("object")
                let first = try await bench.put(key, [1])
                let second = try await bench.put(key, [2], condition: .ifMatch(first))
                #expect(try await bench.store.head(key).version.etag == second)
                try await bench.expectBody(key, [2])
            }
        }

        @Test(arguments: StoreUnderTest.all)
        func ifMatchOfOldVersion(_ target: StoreUnderTest) async throws {
            try await Bench.check("condition.ifMatchOfOldVersion", on: target) { bench in
                let key = bench.key("object")
                let first = try await bench.put(key, [1])
                try await bench.put(key, [2])
                await bench.expectFailure(.preconditionFailed) { () throws(StoreError) in
                    try await bench.put(key, [3], condition: .ifMatch(first))
                }
                try await bench.expectBody(key, [2])
            }
        }

        @Test(arguments: StoreUnderTest.all)
        func ifMatchOfNothing(_ target: StoreUnderTest) async throws {
            try await Bench.check("condition.ifMatchOfNothing", on: target) { bench in
                let key = bench.key("object")
                let etag = try await bench.put(key, [1])
                try await bench.store.delete(key)
                await bench.expectFailure(.preconditionFailed) { () throws(StoreError) in
                    try await bench.put(key, [2], condition: .ifMatch(etag))
                }
                await bench.expectFailure(.notFound) { () throws(StoreError) in try await bench.store.head(key) }
            }
        }

        /// Of many writers at once exactly one wins, and the object is the winner's.
        @Test(arguments: StoreUnderTest.all, [0, 70_000])
        func race(_ target: StoreUnderTest, byteCount: Int) async throws {
            try await Bench.check("condition.race", on: target) { bench in
                let key = bench.key("object-\(byteCount)")
                try await Self.race(bench, key, byteCount, .ifAbsent)
                let etag = try await bench.store.head(key).version.etag
                try await Self.race(bench, key, byteCount + 1, .ifMatch(etag))
            }
        }

        private static func race(
            _ bench: Bench, _ key: ObjectKey, _ byteCount: Int, _ condition: WriteCondition
        ) async throws {
            let winners = Lock([(index: Int, etag: ETag)]())
            try await inParallel(12, width: 12) { index in
                do throws(StoreError) {
                    let bytes = randomBytes(byteCount, seed: UInt64(index)) + [UInt8(index)]
                    let etag = try await bench.put(key, bytes, condition: condition)
                    winners.withLock { $0.append((index, etag)) }
                } catch {
                    #expect(error.kind == .preconditionFailed)
                }
            }
            let all = winners.withLock { $0 }
            let winner = try #require(all.first)
            #expect(all.count == 1, "writers that were told they won")
            let answer = try await bench.get(key)
            #expect(answer.info.version.etag == winner.etag)
            let isWinners = answer.bytes == randomBytes(byteCount, seed: UInt64(winner.index)) + [UInt8(winner.index)]
            #expect(isWinners, "the object is not the winner's")
        }
    }
}
