// The bucket as programs are to see it while removals are on their way.

internal import Base
public import ObjectModel
public import ObjectStore

/// A store in which every acknowledged removal has happened: a call that could see or meet an object that is still to be
/// removed waits for that first, and fails with the removal's error if that fails. All other calls pass.
public struct SettledStore: ObjectStore {
    private let base: any ObjectStore
    private let removals: RemovalQueue

    /// - Parameter base: the store that `removals` removes from.
    public init(_ base: any ObjectStore, _ removals: RemovalQueue) {
        self.base = base
        self.removals = removals
    }

    public var capabilities: StoreCapabilities { base.capabilities }
    public var reachability: StoreReachability { base.reachability }

    public func head(_ key: ObjectKey) async throws(StoreError) -> ObjectInfo {
        try await removals.settle(key)
        return try await base.head(key)
    }

    public func list(_ request: ListRequest) async throws(StoreError) -> ListPage {
        try await removals.settle(below: request.prefix)
        return try await base.list(request)
    }

    /// A read of a version that is known is of what was there; without one it is a question what is there.
    public func get(_ request: GetRequest, into sink: any BodySink) async throws(StoreError) -> ObjectInfo {
        if request.etag == nil { try await removals.settle(request.key) }
        return try await base.get(request, into: sink)
    }

    public func put(_ request: PutRequest) async throws(StoreError) -> ETag {
        try await removals.settle(request.key)
        return try await base.put(request)
    }

    public func delete(_ key: ObjectKey) async throws(StoreError) {
        try await removals.settle(key)
        try await base.delete(key)
    }

    public func delete(_ keys: [ObjectKey]) async throws(StoreError) -> [(key: ObjectKey, error: StoreError)] {
        let pending = Set(removals.pendingKeys)
        if !pending.isEmpty {
            for key in keys where pending.contains(key) { try await removals.settle(key) }
        }
        return try await base.delete(keys)
    }

    public func copy(_ request: CopyRequest) async throws(StoreError) -> ETag {
        try await removals.settle(request.source.key)
        try await removals.settle(request.destination)
        return try await base.copy(request)
    }

    public func tags(of key: ObjectKey) async throws(StoreError) -> [ObjectTag] {
        try await removals.settle(key)
        return try await base.tags(of: key)
    }

    public func setTags(_ tags: [ObjectTag], of key: ObjectKey) async throws(StoreError) {
        try await removals.settle(key)
        try await base.setTags(tags, of: key)
    }

    public func createUpload(
        _ key: ObjectKey, properties: ObjectProperties
    ) async throws(StoreError) -> UploadID {
        try await base.createUpload(key, properties: properties)
    }

    public func uploadPart(
        _ upload: UploadID, key: ObjectKey, number: Int, body: any BodySource
    ) async throws(StoreError) -> ETag {
        try await base.uploadPart(upload, key: key, number: number, body: body)
    }

    public func uploadPartCopy(
        _ upload: UploadID, key: ObjectKey, number: Int, source: ObjectVersion, range: ByteRange
    ) async throws(StoreError) -> ETag {
        try await base.uploadPartCopy(upload, key: key, number: number, source: source, range: range)
    }

    public func completeUpload(
        _ upload: UploadID, key: ObjectKey, parts: [UploadedPart], condition: WriteCondition
    ) async throws(StoreError) -> ETag {
        try await removals.settle(key)
        return try await base.completeUpload(upload, key: key, parts: parts, condition: condition)
    }

    public func abortUpload(_ upload: UploadID, key: ObjectKey) async throws(StoreError) {
        try await base.abortUpload(upload, key: key)
    }

    public func listParts(_ upload: UploadID, key: ObjectKey) async throws(StoreError) -> [UploadedPart] {
        try await base.listParts(upload, key: key)
    }
}
