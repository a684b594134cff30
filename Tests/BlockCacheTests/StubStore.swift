// A store whose GETs are a closure: for answers that a sound store does not give.

import MemoryStore
import ObjectModel
import ObjectStore

/// Answers GETs by a closure; everything else is an empty `MemoryStore`.
final class StubStore: ObjectStore {
    typealias Get = @Sendable (GetRequest, any BodySink) async throws(StoreError) -> ObjectInfo

    private let base = MemoryStore()
    private let answer: Get

    init(_ answer: @escaping Get) {
        self.answer = answer
    }

    func get(_ request: GetRequest, into sink: any BodySink) async throws(StoreError) -> ObjectInfo {
        try await answer(request, sink)
    }

    var capabilities: StoreCapabilities { base.capabilities }
    func head(_ key: ObjectKey) async throws(StoreError) -> ObjectInfo { try await base.head(key) }
    func list(_ request: ListRequest) async throws(StoreError) -> ListPage { try await base.list(request) }
    func put(_ request: PutRequest) async throws(StoreError) -> ETag { try await base.put(request) }
    func delete(_ key: ObjectKey) async throws(StoreError) { try await base.delete(key) }
    func delete(_ keys: [ObjectKey]) async throws(StoreError) -> [(key: ObjectKey, error: StoreError)] {
        try await base.delete(keys)
    }
    func copy(_ request: CopyRequest) async throws(StoreError) -> ETag { try await base.copy(request) }
    func createUpload(_ key: ObjectKey, properties: ObjectProperties) async throws(StoreError) -> UploadID {
        try await base.createUpload(key, properties: properties)
    }
    func uploadPart(
        _ upload: UploadID, key: ObjectKey, number: Int, body: any BodySource
    ) async throws(StoreError) -> ETag {
        try await base.uploadPart(upload, key: key, number: number, body: body)
    }
    func uploadPartCopy(
        _ upload: UploadID, key: ObjectKey, number: Int, source: ObjectVersion, range: ByteRange
    ) async throws(StoreError) -> ETag {
        try await base.uploadPartCopy(upload, key: key, number: number, source: source, range: range)
    }
    func completeUpload(
        _ upload: UploadID, key: ObjectKey, parts: [UploadedPart], condition: WriteCondition
    ) async throws(StoreError) -> ETag {
        try await base.completeUpload(upload, key: key, parts: parts, condition: condition)
    }
    func abortUpload(_ upload: UploadID, key: ObjectKey) async throws(StoreError) {
        try await base.abortUpload(upload, key: key)
    }
    func listParts(_ upload: UploadID, key: ObjectKey) async throws(StoreError) -> [UploadedPart] {
        try await base.listParts(upload, key: key)
    }
}
