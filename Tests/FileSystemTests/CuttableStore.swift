// The line between one mount and the store, which ends when the mount's process is killed.

import Base
import ObjectModel
import ObjectStore

/// Passes everything on until it is cut. From then on nothing reaches the store, and no answer reaches the mount.
final class CuttableStore: ObjectStore {
    private let store: any ObjectStore
    private let state = Lock((isCut: false, inFlightCount: 0))
    private let process: DyingProcess?
    private let onBegun: @Sendable (UploadID) -> Void

    /// - Parameters:
    ///   - process: what the requests are those of; it dies at one that changes something.
    ///   - onBegun: told of each multipart upload that the mount hears was begun.
    init(
        _ store: any ObjectStore, of process: DyingProcess? = nil,
        onBegun: @escaping @Sendable (UploadID) -> Void = { _ in }
    ) {
        self.store = store
        self.process = process
        self.onBegun = onBegun
    }

    func cut() {
        state.withLock { $0.isCut = true }
    }

    /// How many requests are on their way: after a cut the store may still execute them.
    var inFlightCount: Int { state.withLock { $0.inFlightCount } }

    private func pass<Value>(
        _ operation: String, changes: Bool = true, _ work: () async throws(StoreError) -> Value
    ) async throws(StoreError) -> Value {
        let isCut = state.withLock { state in
            if !state.isCut { state.inFlightCount += 1 }
            return state.isCut
        }
        if isCut { throw StoreError(.unreachable, operation: operation, message: "killed") }
        defer { state.withLock { $0.inFlightCount -= 1 } }
        if changes { try process?.beginRequest(operation) }
        let value = try await work()
        try process?.endRequest(operation)
        if state.withLock({ $0.isCut }) { throw StoreError(.unreachable, operation: operation, message: "killed") }
        return value
    }

    var capabilities: StoreCapabilities { store.capabilities }

    func head(_ key: ObjectKey) async throws(StoreError) -> ObjectInfo {
        try await pass("head", changes: false) { () async throws(StoreError) in try await store.head(key) }
    }

    func list(_ request: ListRequest) async throws(StoreError) -> ListPage {
        try await pass("list", changes: false) { () async throws(StoreError) in try await store.list(request) }
    }

    func get(_ request: GetRequest, into sink: any BodySink) async throws(StoreError) -> ObjectInfo {
        try await pass("get", changes: false) { () async throws(StoreError) in try await store.get(request, into: sink)
        }
    }

    func put(_ request: PutRequest) async throws(StoreError) -> ETag {
        try await pass("put") { () async throws(StoreError) in try await store.put(request) }
    }

    func delete(_ key: ObjectKey) async throws(StoreError) {
        try await pass("delete") { () async throws(StoreError) in try await store.delete(key) }
    }

    func tags(of key: ObjectKey) async throws(StoreError) -> [ObjectTag] {
        try await pass("tags", changes: false) { () async throws(StoreError) in try await store.tags(of: key) }
    }

    func setTags(_ tags: [ObjectTag], of key: ObjectKey) async throws(StoreError) {
        try await pass("setTags") { () async throws(StoreError) in try await store.setTags(tags, of: key) }
    }

    func delete(_ keys: [ObjectKey]) async throws(StoreError) -> [(key: ObjectKey, error: StoreError)] {
        try await pass("delete") { () async throws(StoreError) in try await store.delete(keys) }
    }

    func copy(_ request: CopyRequest) async throws(StoreError) -> ETag {
        try await pass("copy") { () async throws(StoreError) in try await store.copy(request) }
    }

    func createUpload(_ key: ObjectKey, properties: ObjectProperties) async throws(StoreError) -> UploadID {
        let id = try await pass("createUpload") { () async throws(StoreError) in
            try await store.createUpload(key, properties: properties)
        }
        onBegun(id)
        return id
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
        try await pass("listParts", changes: false) { () async throws(StoreError) in
            try await store.listParts(upload, key: key)
        }
    }
}
