// What the in-memory store adds to the contract: strictness, counts, faults, gates.

import Base
import MemoryStore
import ObjectModel
import ObjectStore
import Testing

@Suite(.timeLimit(.minutes(3)))
struct MemoryStoreTests {
    private static let key = MemoryStore.objectKey("dir/object")

    private func failure<Value>(_ body: () async throws(StoreError) -> Value) async -> StoreError.Kind? {
        do throws(StoreError) {
            _ = try await body()
            return nil
        } catch {
            return error.kind
        }
    }

    private func put(_ store: MemoryStore, _ bytes: [UInt8], _ properties: ObjectProperties = .init()) async
        -> StoreError.Kind?
    {
        await failure { () throws(StoreError) in
            try await store.put(PutRequest(key: Self.key, body: ByteArraySource(bytes), properties: properties))
        }
    }

    // MARK: Strictness

    @Test func sameBytesHaveDifferentETags() async throws {
        let store = MemoryStore()
        let first = store.write("same", at: "a")
        #expect(store.write("same", at: "a") != first)
        #expect(store.write("same", at: "b") != first)
    }

    @Test(arguments: [
        ["Upper": "v"], ["": "v"], ["a b": "v"], ["gr\u{fc}n": "v"],
    ])
    func metadataThatHTTPChanges(_ metadata: [String: String]) async {
        #expect(await put(MemoryStore(), [], .init(metadata: metadata)) == .invalidRequest)
    }

    @Test func tokenOfAnotherListing() async throws {
        let store = MemoryStore()
        for name in ["a/1", "a/2", "b/1"] { store.write("", at: name) }
        let request = ListRequest(prefix: "", delimited: true, entryCountMax: 1)
        let token = try #require(try await store.list(request).continuation)
        for other in [
            ListRequest(prefix: "", delimited: false, continuation: token, entryCountMax: 1),
            ListRequest(prefix: "a", delimited: true, continuation: token, entryCountMax: 1),
            ListRequest(prefix: "", delimited: true, continuation: token + "0", entryCountMax: 1),
            ListRequest(prefix: "", delimited: true, continuation: "a/", entryCountMax: 1),
        ] {
            #expect(await failure { () throws(StoreError) in try await store.list(other) } == .invalidRequest)
        }
        var same = request
        same.continuation = token
        #expect(try await store.list(same).commonPrefixes == ["b/"])
        let otherStore = MemoryStore(seed: 2)
        #expect(await failure { () throws(StoreError) in try await otherStore.list(same) } == .invalidRequest)
    }

    @Test(arguments: [0, 1001, -1])
    func pageSizes(_ entryCountMax: Int) async {
        let store = MemoryStore()
        let kind = await failure { () throws(StoreError) in
            try await store.list(ListRequest(prefix: "", delimited: false, entryCountMax: entryCountMax))
        }
        #expect(kind == .invalidRequest)
    }

    @Test func getWithoutIfMatch() async throws {
        let store = MemoryStore()
        let etag = store.write("body", at: Self.key.string)
        store.requireIfMatch = true
        #expect(
            await failure { () throws(StoreError) in
                try await store.get(.init(key: Self.key, etag: nil, range: nil), into: CollectingSink())
            } == .invalidRequest)
        let sink = CollectingSink()
        _ = try await store.get(.init(key: Self.key, etag: etag, range: nil), into: sink)
        #expect(sink.bytes == Array("body".utf8))
    }

    @Test func sourceThatChanges() async {
        let store = MemoryStore()
        let source = UnsteadySource(bytes: randomBytes(100_000, seed: 1), changesAfterByteCount: 100_000)
        let kind = await failure { () throws(StoreError) in
            try await store.put(PutRequest(key: Self.key, body: source))
        }
        #expect(kind == .sourceFailed)
        #expect(store.keys() == [])
    }

    @Test func limitsOfSize() async throws {
        var capabilities = StoreCapabilities()
        capabilities.singlePutBytesMax = 100
        capabilities.partBytesMax = 50
        capabilities.partCountMax = 3
        let store = MemoryStore(capabilities: capabilities)
        #expect(await put(store, [UInt8](repeating: 0, count: 100)) == nil)
        #expect(await put(store, [UInt8](repeating: 0, count: 101)) == .tooLarge)
        let upload = try await store.createUpload(Self.key, properties: .init())
        for (number, byteCount, wanted) in [
            (1, 50, nil), (1, 51, .tooLarge), (0, 1, .invalidRequest), (3, 1, nil),
            (4, 1, StoreError.Kind.invalidRequest),
        ] {
            let kind = await failure { () throws(StoreError) in
                try await store.uploadPart(
                    upload, key: Self.key, number: number,
                    body: ByteArraySource([UInt8](repeating: 0, count: byteCount)))
            }
            #expect(kind == wanted, "part \(number) of \(byteCount)")
        }
    }

    @Test func completionWithWrongSize() async throws {
        let store = MemoryStore()
        let upload = try await store.createUpload(Self.key, properties: .init())
        let etag = try await store.uploadPart(upload, key: Self.key, number: 1, body: ByteArraySource([1, 2, 3]))
        let part = UploadedPart(number: 1, etag: etag, byteCount: 4)
        let kind = await failure { () throws(StoreError) in
            try await store.completeUpload(upload, key: Self.key, parts: [part], condition: .none)
        }
        #expect(kind == .invalidRequest)
        #expect(store.openUploads.map(\.parts) == [[UploadedPart(number: 1, etag: etag, byteCount: 3)]])
    }

    @Test func partCopyOfTooSmallASource() async throws {
        let store = MemoryStore()
        let etag = store.write([UInt8](repeating: 1, count: 5 << 20), at: "source")
        let source = ObjectVersion(key: MemoryStore.objectKey("source"), etag: etag, byteCount: 5 << 20)
        let upload = try await store.createUpload(Self.key, properties: .init())
        for (range, wanted) in [
            (ByteRange(0, 1000), StoreError.Kind.invalidRequest), (ByteRange(0, 5 << 20), nil),
            (ByteRange(0, (5 << 20) + 1), .invalidRange), (ByteRange(5, 5), .invalidRange),
        ] {
            let kind = await failure { () throws(StoreError) in
                try await store.uploadPartCopy(upload, key: Self.key, number: 1, source: source, range: range)
            }
            #expect(kind == wanted, "\(range)")
        }
    }

    @Test func abilitiesThatAreNotThere() async throws {
        var capabilities = StoreCapabilities()
        capabilities.conditionalPut = false
        capabilities.conditionalComplete = false
        capabilities.partCopy = false
        let store = MemoryStore(capabilities: capabilities)
        let etag = store.write("x", at: Self.key.string)
        let version = ObjectVersion(key: Self.key, etag: etag, byteCount: 1)
        let upload = try await store.createUpload(Self.key, properties: .init())
        let part = try await store.uploadPart(upload, key: Self.key, number: 1, body: ByteArraySource([1]))
        #expect(
            await failure { () throws(StoreError) in
                try await store.put(PutRequest(key: Self.key, body: nil, condition: .ifMatch(etag)))
            } == .unsupported)
        #expect(
            await failure { () throws(StoreError) in
                try await store.completeUpload(
                    upload, key: Self.key, parts: [.init(number: 1, etag: part, byteCount: 1)], condition: .ifAbsent)
            } == .unsupported)
        #expect(
            await failure { () throws(StoreError) in
                try await store.uploadPartCopy(
                    upload, key: Self.key, number: 2, source: version, range: ByteRange(0, 1))
            } == .unsupported)
    }

    @Test func archivedObjects() async {
        let store = MemoryStore()
        var properties = ObjectProperties()
        properties.storageClass = "DEEP_ARCHIVE"
        store.write("x", at: Self.key.string, properties: properties)
        #expect(
            await failure { () throws(StoreError) in
                try await store.get(.init(key: Self.key, etag: nil, range: nil), into: CollectingSink())
            } == .archived)
        #expect(await failure { () throws(StoreError) in try await store.head(Self.key) } == nil)
    }

    // MARK: Counts

    @Test func countsAndLog() async throws {
        let store = MemoryStore()
        store.write(randomBytes(1000, seed: 1), at: Self.key.string)
        #expect(store.requests.total == 0, "another client's requests do not count")
        let info = try await store.head(Self.key)
        _ = try await store.get(
            .init(key: Self.key, etag: info.version.etag, range: ByteRange(100, 300)), into: CollectingSink())
        _ = await put(store, [1, 2, 3])
        _ = await failure { () throws(StoreError) in try await store.head(MemoryStore.objectKey("none")) }
        let counts = store.requests
        #expect(counts[.headObject] == 2 && counts[.getObject] == 1 && counts[.putObject] == 1 && counts.total == 4)
        #expect(counts.bytesReceived == 200 && counts.bytesSent == 3 && counts.failedCount == 1)
        #expect(store.requestLog.map(\.operation) == [.headObject, .getObject, .putObject, .headObject])
        let get = store.requestLog[1]
        #expect(get.range == ByteRange(100, 300) && get.ifMatch == info.version.etag && get.bytesReceived == 200)
        #expect(store.requestLog.map(\.outcome) == [.succeeded, .succeeded, .succeeded, .failed(.notFound)])
        store.resetRequests()
        #expect(store.requests == RequestCounts() && store.requestLog == [])
    }

    @Test func bulkDeleteAndBigCopyAreManyRequests() async throws {
        var capabilities = StoreCapabilities()
        capabilities.singlePutBytesMax = 1000
        capabilities.partBytesMin = 100
        let store = MemoryStore(capabilities: capabilities)
        _ = try await store.delete((0..<2500).map { MemoryStore.objectKey("k\($0)") })
        #expect(store.requests.byOperation == [.deleteObjects: 3])
        #expect(store.requestLog.map(\.keyCount) == [1000, 1000, 500])
        store.resetRequests()
        let etag = store.write(randomBytes(2500, seed: 1), at: "a")
        let source = ObjectVersion(key: MemoryStore.objectKey("a"), etag: etag, byteCount: 2500)
        _ = try await store.copy(CopyRequest(source: source, destination: Self.key))
        #expect(
            store.requests.byOperation == [.headObject: 1, .createUpload: 1, .uploadPartCopy: 3, .completeUpload: 1])
        #expect(store.bytes(at: Self.key.string) == store.bytes(at: "a"))
        #expect(store.openUploads == [])
    }

    // MARK: Faults

    @Test func scriptedFaults() async {
        let store = MemoryStore()
        store.setFaults(
            FaultPlan()
                .adding(.throttled, on: .putObject, when: .nth(2))
                .adding(.lostAnswer, on: .putObject, when: .nth(3))
                .adding(.bodyCut(afterBytes: 2, .timedOut), on: .putObject, when: .nth(4)))
        #expect(await put(store, [1]) == nil)
        #expect(await put(store, [2]) == .throttled)
        #expect(store.bytes(at: Self.key.string) == [1])
        #expect(await put(store, [3]) == .timedOut)
        #expect(store.bytes(at: Self.key.string) == [3], "done, though the answer is lost")
        #expect(await put(store, [4, 4, 4, 4]) == .timedOut)
        #expect(store.bytes(at: Self.key.string) == [3])
        #expect(store.requestLog.last?.bytesSent == 2)
        #expect(await put(store, [5]) == nil)
    }

    @Test func cutBodyOfGet() async {
        let store = MemoryStore()
        store.write(randomBytes(100, seed: 1), at: Self.key.string)
        store.setFaults(FaultPlan().adding(.bodyCut(afterBytes: 30, .malformedResponse), on: .getObject))
        let sink = CollectingSink()
        let kind = await failure { () throws(StoreError) in
            try await store.get(.init(key: Self.key, etag: nil, range: ByteRange(10, 90)), into: sink)
        }
        #expect(kind == .malformedResponse)
        #expect(sink.range == ByteRange(10, 90))
        #expect(sink.bytes == Array(randomBytes(100, seed: 1)[10..<40]))
    }

    @Test func faultsOfOneKey() async throws {
        let store = MemoryStore()
        for name in ["a", "b"] { store.write("", at: name) }
        let keys = ["a", "b"].map(MemoryStore.objectKey)
        store.setFaults(FaultPlan().adding(.accessDenied, key: "a", when: .always))
        #expect(await failure { () throws(StoreError) in try await store.head(keys[0]) } == .accessDenied)
        #expect(await failure { () throws(StoreError) in try await store.head(keys[1]) } == nil)
        let failures = try await store.delete(keys)
        #expect(failures.map(\.key) == [keys[0]] && failures.map(\.error.kind) == [.accessDenied])
        #expect(store.keys() == ["a"])
    }

    @Test(arguments: [1, 2, 3] as [UInt64])
    func chanceIsSeeded(_ seed: UInt64) async {
        var runs: [[StoreError.Kind?]] = []
        for _ in 0..<2 {
            let store = MemoryStore()
            store.setFaults(FaultPlan(seed: seed).adding(.serverFault, when: .chance(0.3)))
            var run: [StoreError.Kind?] = []
            for _ in 0..<200 { run.append(await put(store, [1])) }
            runs.append(run)
        }
        #expect(runs[0] == runs[1])
        #expect((30...90).contains(runs[0].count { $0 == .serverFault }))
    }

    @Test func slowAnswersTakeSimulatedTime() async {
        let time = SimulatedTime()
        let store = MemoryStore(time: time)
        store.setFaults(FaultPlan().adding(.slow(nanoseconds: 5_000_000_000), when: .nth(1)))
        let before = time.monotonicNanoseconds
        #expect(await put(store, [1]) == nil)
        #expect(time.monotonicNanoseconds - before == 5_000_000_000)
    }

    @Test func blackHoleEndsOnlyByCancellation() async {
        let store = MemoryStore()
        store.setFaults(FaultPlan().adding(.blackHole))
        let task = Task { await put(store, [1]) }
        while store.requests.total == 0 { await Task.yield() }
        task.cancel()
        #expect(await task.value == .cancelled)
        #expect(store.keys() == [])
    }

    // MARK: Gates

    @Test func heldRequests() async {
        let store = MemoryStore()
        store.pause(.putObject)
        let first = Task { await put(store, [1]) }
        await store.untilHeld(.putObject)
        let second = Task { await put(store, [2]) }
        await store.untilHeld(.putObject, count: 2)
        #expect(store.heldCount(.putObject) == 2 && store.keys() == [])
        #expect(store.requests.inFlightPeak == 2)
        #expect(store.resumeOne(.putObject))
        #expect(await first.value == nil)
        #expect(store.bytes(at: Self.key.string) == [1])
        second.cancel()
        #expect(await second.value == .cancelled)
        #expect(store.bytes(at: Self.key.string) == [1] && !store.resumeOne(.putObject))
        store.resume(.putObject)
        #expect(await put(store, [3]) == nil)
    }

    @Test func heldAnswers() async {
        let store = MemoryStore()
        store.pause(.putObject, at: .beforeAnswer)
        let task = Task { await put(store, [1]) }
        await store.untilHeld(.putObject, at: .beforeAnswer)
        #expect(store.bytes(at: Self.key.string) == [1], "done, not answered")
        task.cancel()
        #expect(await task.value == .cancelled)
    }
}
