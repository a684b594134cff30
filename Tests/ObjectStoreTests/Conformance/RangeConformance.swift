// Ranges and versions of GET.

import MemoryStore
import ObjectModel
import ObjectStore
import Testing

extension Conformance {
    @Suite(.timeLimit(.minutes(5)))
    struct Ranges {
        static let byteCount = 1000

        @Test(
            arguments: StoreUnderTest.all,
            [
                (0, 1, 0, 1), (0, 1000, 0, 1000), (999, 1000, 999, 1000), (1, 999, 1, 999), (500, 1001, 500, 1000),
                (0, 5000, 0, 1000), (999, 1 << 40, 999, 1000), (256, 512, 256, 512),
            ])
        func delivered(_ target: StoreUnderTest, range: (Int, Int, Int, Int)) async throws {
            try await Bench.check("range.delivered", on: target) { bench in
                let key = bench.key("object")
                let bytes = randomBytes(Self.byteCount, seed: 1)
                let etag = try await bench.put(key, bytes)
                for version in [nil, etag] {
                    let answer = try await bench.get(key, etag: version, range: ByteRange(range.0, range.1))
                    #expect(answer.bytes == Array(bytes[range.2..<range.3]))
                    #expect(
                        answer.info.version == ObjectVersion(key: key, etag: etag, byteCount: Self.byteCount),
                        "the size of the object, not of the range")
                }
            }
        }

        @Test(arguments: StoreUnderTest.all, [(1000, 1000, 1001), (1000, 5000, 6000), (0, 0, 1), (0, 1, 2)])
        func beyondTheEnd(_ target: StoreUnderTest, sizes: (byteCount: Int, lower: Int, upper: Int)) async throws {
            try await Bench.check("range.beyondTheEnd", on: target) { bench in
                let key = bench.key("object-\(sizes.byteCount)")
                let etag = try await bench.put(key, randomBytes(sizes.byteCount, seed: 1))
                let sink = CollectingSink()
                await bench.expectFailure(.invalidRange) { () throws(StoreError) in
                    try await bench.store.get(
                        GetRequest(key: key, etag: etag, range: ByteRange(sizes.lower, sizes.upper)), into: sink)
                }
                #expect(sink.info == nil && sink.bytes.isEmpty && sink.breaches == [])
            }
        }

        @Test(arguments: StoreUnderTest.all)
        func largeRanges(_ target: StoreUnderTest) async throws {
            try await Bench.check("range.large", on: target) { bench in
                let key = bench.key("object")
                let bytes = randomBytes(4 << 20, seed: 9)
                let etag = try await bench.put(key, bytes)
                try await inParallel(32, width: 8) { index in
                    let range = ByteRange(offset: index << 17, count: 1 << 17)
                    let part = try await bench.get(key, etag: etag, range: range).bytes
                    let isSame = part.elementsEqual(bytes[range.lowerBound..<range.upperBound])
                    #expect(isSame, "range \(range)")
                }
            }
        }

        @Test(arguments: StoreUnderTest.all, [nil, ByteRange(10, 20)])
        func replacedVersion(_ target: StoreUnderTest, range: ByteRange?) async throws {
            try await Bench.check("range.replacedVersion", on: target) { bench in
                let key = bench.key("object")
                let old = try await bench.put(key, randomBytes(100, seed: 1))
                try await bench.put(key, randomBytes(100, seed: 2))
                let sink = CollectingSink()
                await bench.expectFailure(.preconditionFailed) { () throws(StoreError) in
                    try await bench.store.get(GetRequest(key: key, etag: old, range: range), into: sink)
                }
                #expect(sink.info == nil && sink.bytes.isEmpty && sink.breaches == [])
                try await bench.store.delete(key)
                await bench.expectFailure(.notFound) { () throws(StoreError) in
                    try await bench.get(key, etag: old, range: range)
                }
            }
        }
    }
}
