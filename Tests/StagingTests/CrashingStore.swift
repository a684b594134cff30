// A store that the process dies under: at a given request, before it is executed or before its answer is heard.

import Base
import MemoryStore
import ObjectModel
import ObjectStore

/// Passes everything on until the crash. From then on nothing reaches the store, and no answer comes back.
final class CrashingStore: ObjectStore {
    struct Point: Sendable, CustomStringConvertible {
        /// Of the request, from 0.
        let index: Int
        /// Whether the store has executed it by then.
        let isExecuted: Bool

        var description: String { "\(isExecuted ? "after" : "before") request \(index)" }
    }

    private struct State {
        var point: Point?
        var operations: [String] = []
        var isDead = false
    }

    private let store: MemoryStore
    private let onCrash: @Sendable () -> Void
    private let state: Lock<State>

    init(_ store: MemoryStore, at point: Point?, onCrash: @escaping @Sendable () -> Void) {
        self.store = store
        self.onCrash = onCrash
        state = Lock(State(point: point))
    }

    /// What was asked, in order.
    var operations: [String] { state.withLock { $0.operations } }
    var isDead: Bool { state.withLock { $0.isDead } }

    private func pass<Value>(
        _ operation: String, _ work: () async throws(StoreError) -> Value
    ) async throws(StoreError) -> Value {
        let point: Point? = state.withLock { state in
            defer { state.operations.append(operation) }
            guard let point = state.point, point.index == state.operations.count else { return nil }
            return point
        }
        if let point, !point.isExecuted { die() }
        try checkAlive(operation)
        let value = try await work()
        if point != nil { die() }
        try checkAlive(operation)
        return value
    }

    private func die() {
        let isFirst = state.withLock { state in
            defer { state.isDead = true }
            return !state.isDead
        }
        if isFirst { onCrash() }
    }

    private func checkAlive(_ operation: String) throws(StoreError) {
        if isDead { throw StoreError(.cancelled, operation: operation, message: "dead") }
    }

    var capabilities: StoreCapabilities { store.capabilities }

    func head(_ key: ObjectKey) async throws(StoreError) -> ObjectInfo {
        try await pass("head") { () async throws(StoreError) in try await store.head(key) }
    }

    func list(_ request: ListRequest) async throws(StoreError) -> ListPage {
        try await pass("list") { () async throws(StoreError) in try await store.list(request) }
    }

    func get(_ request: GetRequest, into sink: any BodySink) async throws(StoreError) -> ObjectInfo {
        try await pass("get") { () async throws(StoreError) in try await store.get(request, into: sink) }
    }

    func put(_ request: PutRequest) async throws(StoreError) -> ETag {
        try await pass("put") { () async throws(StoreError) in try await store.put(request) }
    }

    func delete(_ key: ObjectKey) async throws(StoreError) {
        try await pass("delete") { () async throws(StoreError) in try await store.delete(key) }
    }

    func delete(_ keys: [ObjectKey]) async throws(StoreError) -> [(key: ObjectKey, error: StoreError)] {
        try await pass("delete") { () async throws(StoreError) in try await store.delete(keys) }
    }

    func copy(_ request: CopyRequest) async throws(StoreError) -> ETag {
        try await pass("copy") { () async throws(StoreError) in try await store.copy(request) }
    }

    func createUpload(_ key: ObjectKey, properties: ObjectProperties) async throws(StoreError) -> UploadID {
        try await pass("createUpload") { () async throws(StoreError) in
            try await store.createUpload(key, properties: properties)
        }
    }

    func uploadPart(
        _ upload: UploadID, key: ObjectKey, number: Int, body: any BodySource
    ) async throws(StoreError) -> ETag {
        try await pass("uploadPart") { () async throws(StoreError) in
            try await store.uploadPart(upload, key: key, number: number, body: body)
        }
    }

    func uploadPartCopy(
        _ upload: UploadID, key: ObjectKey, number: Int, source: ObjectVersion, range: ByteRange
    ) async throws(StoreError) -> ETag {
        try await pass("uploadPartCopy") { () async throws(StoreError) in
            try await store.uploadPartCopy(upload, key: key, number: number, source: source, range: range)
        }
    }

    func completeUpload(
        _ upload: UploadID, key: ObjectKey, parts: [UploadedPart], condition: WriteCondition
    ) async throws(StoreError) -> ETag {
        try await pass("completeUpload") { () async throws(StoreError) in
            try await store.completeUpload(upload, key: key, parts: parts, condition: condition)
        }
    }

    func abortUpload(_ upload: UploadID, key: ObjectKey) async throws(StoreError) {
        try await pass("abortUpload") { () async throws(StoreError) in
            try await store.abortUpload(upload, key: key)
        }
    }

    func listParts(_ upload: UploadID, key: ObjectKey) async throws(StoreError) -> [UploadedPart] {
        try await pass("listParts") { () async throws(StoreError) in
            try await store.listParts(upload, key: key)
        }
    }
}
