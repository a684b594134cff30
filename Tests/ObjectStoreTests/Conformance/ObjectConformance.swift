// Whole objects: write, look, read, remove, copy.

import Base
import MemoryStore
import ObjectModel
import ObjectStore
import Testing

extension Conformance {
    @Suite(.timeLimit(.minutes(5)))
    struct Objects {
        @Test(arguments: StoreUnderTest.all, [0, 1, 4095, 4096, 65_537, 1 << 20, (3 << 20) + 7])
        func roundTrip(_ target: StoreUnderTest, byteCount: Int) async throws {
            try await Bench.check("object.roundTrip", on: target) { bench in
                let key = bench.key("object-\(byteCount)")
                let bytes = randomBytes(byteCount, seed: UInt64(byteCount))
                let etag = try await bench.put(key, bytes)
                let info = try await bench.store.head(key)
                #expect(info.version == ObjectVersion(key: key, etag: etag, byteCount: byteCount))
                let answer = try await bench.get(key)
                #expect(answer.info == info)
                try await bench.expectBody(key, bytes)
                let listed = try #require(try await bench.listAll(key.string).objects.first)
                #expect(listed.version == info.version)
                #expect(listed.lastModified.seconds == info.lastModified.seconds)
            }
        }

        @Test(arguments: StoreUnderTest.all)
        func bodyWithoutSource(_ target: StoreUnderTest) async throws {
            try await Bench.check("object.noBody", on: target) { bench in
                let key = bench.key("empty")
                let etag = try await bench.store.put(PutRequest(key: key, body: nil))
                let answer = try await bench.get(key)
                #expect(answer.info.version == ObjectVersion(key: key, etag: etag, byteCount: 0))
                #expect(answer.bytes.isEmpty)
            }
        }

        @Test(arguments: StoreUnderTest.all)
        func overwrite(_ target: StoreUnderTest) async throws {
            try await Bench.check("object.overwrite", on: target) { bench in
                let key = bench.key("object")
                let first = try await bench.put(
                    key, randomBytes(100, seed: 1), properties: .init(metadata: ["old": "yes"]))
                let second = try await bench.put(key, randomBytes(100, seed: 2))
                #expect(first != second)
                let info = try await bench.store.head(key)
                #expect(info.version.etag == second)
                #expect(info.properties.metadata == [:], "an overwrite replaces the metadata too")
                try await bench.expectBody(key, randomBytes(100, seed: 2))
            }
        }

        @Test(arguments: StoreUnderTest.all)
        func properties(_ target: StoreUnderTest) async throws {
            try await Bench.check("object.properties", on: target) { bench in
                let key = bench.key("object")
                var properties = ObjectProperties(
                    metadata: [
                        "mode": "33188", "uid": "0", "mtime": "1700000000.123456789", "a-b": "x  y; z=\"q\", %41+~",
                        "encoded": "=?UTF-8?B?w6nDqA==?=", "long": String(repeating: "v", count: 1000),
                    ], contentType: "text/csv; charset=utf-8")
                properties.cacheControl = "max-age=60, no-transform"
                properties.contentEncoding = "identity"
                properties.contentDisposition = "attachment; filename=\"a b.csv\""
                properties.contentLanguage = "de-DE"
                try await bench.put(key, [1, 2, 3], properties: properties)
                #expect(try await bench.store.head(key).properties == properties)
                #expect(try await bench.get(key).info.properties == properties)
            }
        }

        @Test(arguments: StoreUnderTest.all)
        func metadataLimit(_ target: StoreUnderTest) async throws {
            try await Bench.check("object.metadataLimit", on: target) { bench in
                let fits = ObjectProperties(metadata: ["k": String(repeating: "v", count: 2047)])
                try await bench.put(bench.key("fits"), [1], properties: fits)
                #expect(try await bench.store.head(bench.key("fits")).properties.metadata == fits.metadata)
            }
        }

        /// S3 takes 2 KB; other servers take more. What is taken comes back whole, what is not is refused.
        @Test(arguments: StoreUnderTest.all, [2049, 9000, 40_000])
        func metadataBeyondTheLimit(_ target: StoreUnderTest, byteCount: Int) async throws {
            try await Bench.check("object.metadataBeyondTheLimit", on: target) { bench in
                let key = bench.key("object")
                let metadata = ["k": String(repeating: "v", count: byteCount - 1)]
                do throws(StoreError) {
                    try await bench.put(key, [1], properties: .init(metadata: metadata))
                } catch {
                    #expect(error.kind == .tooLarge || (target.isServer && error.kind == .invalidRequest), "\(error)")
                    await bench.expectFailure(.notFound) { () throws(StoreError) in try await bench.store.head(key) }
                    return
                }
                #expect(target.isServer, "the store in memory is as strict as S3")
                let found = try await bench.store.head(key).properties.metadata
                #expect(found == metadata)
            }
        }

        /// A value that HTTP does not carry surely comes back as it was, or is refused; it is never mangled.
        @Test(arguments: StoreUnderTest.all, ["gr\u{fc}n", "\u{65e5}\u{672c}", "e\u{301}", "\u{1f600}"])
        func metadataBeyondASCII(_ target: StoreUnderTest, value: String) async throws {
            try await Bench.check("object.metadataBeyondASCII", on: target) { bench in
                let key = bench.key("object")
                do throws(StoreError) {
                    try await bench.put(key, [1], properties: .init(metadata: ["name": value]))
                } catch {
                    #expect(error.kind == .invalidRequest)
                    return
                }
                let found = try await bench.store.head(key).properties.metadata["name"]
                #expect(found.map { Array($0.utf8) } == Array(value.utf8))
            }
        }

        @Test(arguments: StoreUnderTest.all)
        func absent(_ target: StoreUnderTest) async throws {
            try await Bench.check("object.absent", on: target) { bench in
                let key = bench.key("not/there")
                await bench.expectFailure(.notFound) { () throws(StoreError) in try await bench.store.head(key) }
                await bench.expectFailure(.notFound) { () throws(StoreError) in try await bench.get(key) }
            }
        }

        @Test(arguments: StoreUnderTest.all)
        func delete(_ target: StoreUnderTest) async throws {
            try await Bench.check("object.delete", on: target) { bench in
                let key = bench.key("object")
                try await bench.put(key, [1])
                try await bench.store.delete(key)
                await bench.expectFailure(.notFound) { () throws(StoreError) in try await bench.store.head(key) }
                #expect(try await bench.listAll(bench.prefix).objects.isEmpty)
                try await bench.store.delete(key)
            }
        }

        @Test(arguments: StoreUnderTest.all)
        func deleteMany(_ target: StoreUnderTest) async throws {
            try await Bench.check("object.deleteMany", on: target) { bench in
                let keys = (0..<1100).map { bench.key("many/\($0) <&> \"+%\u{e9}") }
                try await inParallel(550) { try await bench.put(keys[$0 * 2], [1]) }
                try await bench.put(bench.key("kept"), [1])
                let failures = try await bench.store.delete(keys)
                #expect(failures.isEmpty)
                #expect(try await bench.listAll(bench.prefix).objects.map(\.key) == [bench.key("kept")])
                #expect(try await bench.store.delete([]).isEmpty)
            }
        }

        @Test(arguments: StoreUnderTest.all)
        func parallel(_ target: StoreUnderTest) async throws {
            try await Bench.check("object.parallel", on: target) { bench in
                try await inParallel(64, width: 64) { index in
                    let key = bench.key("object-\(index)")
                    let bytes = randomBytes(10_000 + index, seed: UInt64(index))
                    let etag = try await bench.put(key, bytes)
                    let part = try await bench.get(key, etag: etag, range: ByteRange(index, 9000)).bytes
                    #expect(part.elementsEqual(bytes[index..<9000]))
                }
            }
        }

        // MARK: Sources

        @Test(arguments: StoreUnderTest.all)
        func sourceFails(_ target: StoreUnderTest) async throws {
            try await Bench.check("object.sourceFails", on: target) { bench in
                let key = bench.key("object")
                let source = UnsteadySource(bytes: randomBytes(300_000, seed: 1), failsFrom: 200_000)
                await bench.expectFailure(.sourceFailed) { () throws(StoreError) in
                    try await bench.store.put(PutRequest(key: key, body: source))
                }
                await bench.expectFailure(.notFound) { () throws(StoreError) in try await bench.store.head(key) }
            }
        }

        /// What is published is what was read once as a whole; a body that changes on the way is never published.
        @Test(arguments: StoreUnderTest.all)
        func sourceChanges(_ target: StoreUnderTest) async throws {
            try await Bench.check("object.sourceChanges", on: target) { bench in
                let key = bench.key("object")
                let source = UnsteadySource(bytes: randomBytes(300_000, seed: 1), changesAfterByteCount: 300_000)
                do throws(StoreError) {
                    _ = try await bench.store.put(PutRequest(key: key, body: source))
                    // A store that reads the body only once cannot notice, and need not.
                    #expect(source.readByteCount == 300_000, "published bytes that it had seen to change")
                    try await bench.expectBody(key, randomBytes(300_000, seed: 1))
                } catch {
                    await bench.expectFailure(.notFound) { () throws(StoreError) in try await bench.store.head(key) }
                }
            }
        }

        // MARK: Cancellation

        @Test(arguments: StoreUnderTest.all)
        func cancelledBefore(_ target: StoreUnderTest) async throws {
            try await Bench.check("object.cancelledBefore", on: target) { bench in
                try await bench.put(bench.key("object"), [1])
                let task = Task {
                    withUnsafeCurrentTask { $0?.cancel() }
                    await bench.expectFailure(.cancelled) { () throws(StoreError) in
                        try await bench.store.head(bench.key("object"))
                    }
                    await bench.expectFailure(.cancelled) { () throws(StoreError) in
                        try await bench.put(bench.key("unwritten"), [1])
                    }
                }
                await task.value
                await bench.expectFailure(.notFound) { () throws(StoreError) in
                    try await bench.store.head(bench.key("unwritten"))
                }
            }
        }

        @Test(arguments: StoreUnderTest.all)
        func cancelledInBody(_ target: StoreUnderTest) async throws {
            try await Bench.check("object.cancelledInBody", on: target) { bench in
                let key = bench.key("object")
                try await bench.put(key, randomBytes(16 << 20, seed: 1))
                let handle = OneShot<Task<StoreError?, Never>>()
                let sink = CollectingSink { _ in handle.observe { $0.cancel() } }
                let task = Task {
                    // Else the whole body may be here before the handle is.
                    _ = await handle.wait()
                    let error = await bench.expectFailure(.cancelled) { () throws(StoreError) in
                        try await bench.store.get(GetRequest(key: key, etag: nil, range: nil), into: sink)
                    }
                    sink.end()
                    return error
                }
                handle.set(task)
                #expect(await task.value?.kind == .cancelled)
                // Another request on the same connections: nothing of the cancelled one comes after its end.
                _ = try await bench.store.head(key)
                #expect(sink.breaches == [])
                #expect(sink.bytes.count < 16 << 20)
            }
        }
    }
}

/// A source that fails, or gives other bytes when it is read again.
final class UnsteadySource: BodySource {
    let byteCount: Int
    private let bytes: [UInt8]
    private let failsFrom: Int
    private let changesAfterByteCount: Int
    private let readCount = Lock(0)

    init(bytes: [UInt8], failsFrom: Int = .max, changesAfterByteCount: Int = .max) {
        self.bytes = bytes
        byteCount = bytes.count
        self.failsFrom = failsFrom
        self.changesAfterByteCount = changesAfterByteCount
    }

    /// Bytes given so far, repeats counted.
    var readByteCount: Int { readCount.withLock { $0 } }

    func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int) -> Bool {
        guard offset + buffer.count <= min(failsFrom, byteCount) else { return false }
        let before = readCount.withLock { count in
            defer { count += buffer.count }
            return count
        }
        bytes.withUnsafeBytes { buffer.copyMemory(from: .init(rebasing: $0[offset..<(offset + buffer.count)])) }
        if before >= changesAfterByteCount, !buffer.isEmpty { buffer[buffer.count / 2] ^= 0xff }
        return true
    }
}
