// The place where one check works: a store, a prefix of its own, and short ways to say what is expected.

import Base
import MemoryStore
import ObjectModel
import ObjectStore
import Testing

/// One check on one store.
struct Bench: Sendable {
    let store: any ObjectStore
    let target: StoreUnderTest
    /// All keys of the check begin with it; ends with `/`.
    let prefix: String

    private static let runName = String(UInt64.random(in: 0...UInt64.max), radix: 36)
    /// Cases of one check run at once, so each has a prefix of its own.
    private static let serials = Lock(0)
    private static let stores = Lock([String: any ObjectStore]())

    /// Runs a check, with the exemption of its name if there is one, and notes the outcome.
    static func check(
        _ name: String, on target: StoreUnderTest, variation: StoreUnderTest.Variation = .standard,
        _ body: @Sendable (Bench) async throws -> Void
    ) async throws {
        let serial = serials.withLock { serial in
            serial += 1
            return serial
        }
        let bench = Bench(
            store: try await store(target, variation), target: target,
            prefix: "conformance-\(runName)/\(serial)-\(name)/")
        let issues = Lock(0)
        let reason = Exemptions.reason(store: target.name, check: name)
        // Intermittent as far as Testing is concerned; staleness is judged below, with the table's own words.
        let result: Result<Void, any Error>
        do {
            try await withKnownIssue(Comment(rawValue: reason ?? ""), isIntermittent: true) {
                try await body(bench)
            } matching: { _ in
                issues.withLock { $0 += 1 }
                return reason != nil
            }
            result = .success(())
        } catch {
            result = .failure(error)
        }
        let failed = issues.withLock { $0 } > 0
        ConformanceReport.note(
            reason == nil ? (failed ? .failed : .passed) : (failed ? .exempt : .staleExemption),
            check: name, store: target.name)
        if reason != nil, !failed { Issue.record("\(target.name) passes '\(name)': remove its exemption") }
        try result.get()
    }

    /// One store a server and variation for the whole run: connections are reused as a mount would.
    private static func store(
        _ target: StoreUnderTest, _ variation: StoreUnderTest.Variation
    ) async throws -> any ObjectStore {
        let name = "\(target.name) \(variation)"
        if let store = stores.withLock({ $0[name] }) { return store }
        let made = try await target.make(variation)
        return stores.withLock { stores in
            if let store = stores[name] { return store }
            stores[name] = made
            return made
        }
    }

    func key(_ suffix: String) -> ObjectKey {
        MemoryStore.objectKey(prefix + suffix)
    }

    // MARK: Doing

    @discardableResult
    func put(
        _ key: ObjectKey, _ bytes: [UInt8], properties: ObjectProperties = .init(), condition: WriteCondition = .none
    ) async throws(StoreError) -> ETag {
        try await store.put(
            PutRequest(key: key, body: ByteArraySource(bytes), properties: properties, condition: condition))
    }

    /// The body of an object, with the sink's promises checked.
    func get(
        _ key: ObjectKey, etag: ETag? = nil, range: ByteRange? = nil
    ) async throws(StoreError) -> (info: ObjectInfo, bytes: [UInt8]) {
        let sink = CollectingSink()
        let result: Result<ObjectInfo, StoreError>
        do throws(StoreError) {
            result = .success(try await store.get(GetRequest(key: key, etag: etag, range: range), into: sink))
        } catch {
            result = .failure(error)
        }
        sink.end()
        #expect(sink.breaches == [])
        let info = try result.get()
        #expect(sink.info == info)
        #expect(sink.range?.count == sink.bytes.count, "the body is shorter than begin said")
        return (info, sink.bytes)
    }

    /// All pages of a listing, with the rules of a page checked.
    func listAll(
        _ prefix: String, delimited: Bool = false, startAfter: ObjectKey? = nil, entryCountMax: Int = 1000
    ) async throws -> (objects: [ListedObject], prefixes: [String], pageCount: Int) {
        var request = ListRequest(
            prefix: ByteString(prefix), delimited: delimited, startAfter: startAfter, entryCountMax: entryCountMax)
        var objects: [ListedObject] = []
        var prefixes: [ByteString] = []
        var last: ByteString?
        var pageCount = 0
        repeat {
            let page = try await store.list(request)
            pageCount += 1
            let names = (page.objects.map(\.key.bytes) + page.commonPrefixes).sorted()
            #expect(names.count <= entryCountMax)
            #expect(names.allSatisfy { $0.hasPrefix(request.prefix) })
            #expect(page.objects.map(\.key) == page.objects.map(\.key).sorted(), "order of keys")
            #expect(page.commonPrefixes == page.commonPrefixes.sorted(), "order of common prefixes")
            #expect(page.commonPrefixes.allSatisfy { $0.utf8.last == UInt8(ascii: "/") })
            if let last, let first = names.first { #expect(last < first, "a page begins before the end of the last") }
            last = names.last ?? last
            objects += page.objects
            prefixes += page.commonPrefixes
            request.continuation = page.continuation
            guard pageCount < 10_000 else {
                Issue.record("the listing does not end")
                break
            }
        } while request.continuation != nil
        return (objects, prefixes.map(\.string), pageCount)
    }

    // MARK: Expecting

    /// Fails unless `body` throws a `StoreError` of one of the kinds. Returns the error.
    @discardableResult
    func expectFailure<Value>(
        _ kinds: StoreError.Kind..., sourceLocation: SourceLocation = #_sourceLocation,
        _ body: () async throws(StoreError) -> Value
    ) async -> StoreError? {
        do throws(StoreError) {
            _ = try await body()
            Issue.record("succeeded; expected \(kinds)", sourceLocation: sourceLocation)
            return nil
        } catch {
            if !kinds.contains(error.kind) {
                Issue.record("\(error.kind): \(error); expected \(kinds)", sourceLocation: sourceLocation)
            }
            return error
        }
    }

    /// Fails unless the object has exactly this body.
    func expectBody(
        _ key: ObjectKey, _ bytes: [UInt8], sourceLocation: SourceLocation = #_sourceLocation
    ) async throws(StoreError) {
        let found = try await get(key).bytes
        // Not by `==` on the arrays within `#expect`: a difference would print megabytes.
        let isSame = found == bytes
        #expect(isSame, "\(found.count) bytes, not the \(bytes.count) written", sourceLocation: sourceLocation)
    }
}

/// Bytes that no two seeds share and no shift repeats.
func randomBytes(_ count: Int, seed: UInt64) -> [UInt8] {
    var random = SplitMix64(seed: seed)
    var words = [UInt64](repeating: 0, count: (count + 7) / 8)
    for index in words.indices { words[index] = random.next() }
    return words.withUnsafeBytes { Array($0.prefix(count)) }
}

/// Runs `body` for 0 ..< count, at most `width` at once.
func inParallel(
    _ count: Int, width: Int = 16, _ body: @escaping @Sendable (Int) async throws -> Void
) async throws {
    try await withThrowingTaskGroup(of: Void.self) { group in
        for index in 0..<count {
            if index >= width { try await group.next() }
            group.addTask { try await body(index) }
        }
        try await group.waitForAll()
    }
}
