// A store of which nothing is asked: what `--offline` mounts.

internal import Base
public import ObjectModel

/// Fails every call with `.unreachable`, at once.
public struct OfflineStore: ObjectStore {
    public let capabilities: StoreCapabilities

    public init(capabilities: StoreCapabilities = StoreCapabilities()) {
        self.capabilities = capabilities
    }

    private func failure(_ operation: String, _ key: ObjectKey? = nil) -> StoreError {
        StoreError(.unreachable, operation: operation, key: key, message: "the mount is offline: nothing is asked")
    }

    public func head(_ key: ObjectKey) async throws(StoreError) -> ObjectInfo { throw failure("HeadObject", key) }

    public func list(_ request: ListRequest) async throws(StoreError) -> ListPage { throw failure("ListObjectsV2") }

    public func get(_ request: GetRequest, into sink: any BodySink) async throws(StoreError) -> ObjectInfo {
        throw failure("GetObject", request.key)
    }

    public func put(_ request: PutRequest) async throws(StoreError) -> ETag { throw failure("PutObject", request.key) }

    public func delete(_ key: ObjectKey) async throws(StoreError) { throw failure("DeleteObject", key) }

    public func delete(_ keys: [ObjectKey]) async throws(StoreError) -> [(key: ObjectKey, error: StoreError)] {
        throw failure("DeleteObjects")
    }

    public func copy(_ request: CopyRequest) async throws(StoreError) -> ETag {
        throw failure("CopyObject", request.destination)
    }

    public func tags(of key: ObjectKey) async throws(StoreError) -> [ObjectTag] {
        throw failure("GetObjectTagging", key)
    }

    public func setTags(_ tags: [ObjectTag], of key: ObjectKey) async throws(StoreError) {
        throw failure("PutObjectTagging", key)
    }

    public func createUpload(
        _ key: ObjectKey, properties: ObjectProperties
    ) async throws(StoreError) -> UploadID { throw failure("CreateMultipartUpload", key) }

    public func uploadPart(
        _ upload: UploadID, key: ObjectKey, number: Int, body: any BodySource
    ) async throws(StoreError) -> ETag { throw failure("UploadPart", key) }

    public func uploadPartCopy(
        _ upload: UploadID, key: ObjectKey, number: Int, source: ObjectVersion, range: ByteRange
    ) async throws(StoreError) -> ETag { throw failure("UploadPartCopy", key) }

    public func completeUpload(
        _ upload: UploadID, key: ObjectKey, parts: [UploadedPart], condition: WriteCondition
    ) async throws(StoreError) -> ETag { throw failure("CompleteMultipartUpload", key) }

    public func abortUpload(_ upload: UploadID, key: ObjectKey) async throws(StoreError) {
        throw failure("AbortMultipartUpload", key)
    }

    public func listParts(_ upload: UploadID, key: ObjectKey) async throws(StoreError) -> [UploadedPart] {
        throw failure("ListParts", key)
    }
}
