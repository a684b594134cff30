// The contract between pail and any store of objects. One conformance suite holds every implementation to it.

public import Base
public import ObjectModel

/// A bucket, as the layers above see it. All calls are thread-safe and may run at once.
///
/// Contract of every call:
/// - It ends in bounded time: with the result, or with a `StoreError`. Cancelling the task ends it soon with `.cancelled`.
/// - Retry is inside: an error that comes out is final for this call. A call that is not idempotent is repeated only
///   when that is safe (the condition it carries makes it so, or the server said that it did nothing).
/// - Keys are complete: a mount's prefix is the caller's business.
/// - A strong read-after-write and list-after-write consistency is expected of the store, as S3 gives it.
public protocol ObjectStore: Sendable {
    /// What this store is known to do and not to do; may become more precise as answers come in.
    var capabilities: StoreCapabilities { get }

    /// Whether the store answers, as the calls so far have shown. Cheap. Nothing is sent to find out: while the store is
    /// unreachable each call fails within a few seconds, unless the store is back, which it then sees. So whoever spares
    /// itself calls meanwhile must make one now and then.
    var reachability: StoreReachability { get }

    /// The properties of an object, without its body. `.notFound` only when the store said so.
    func head(_ key: ObjectKey) async throws(StoreError) -> ObjectInfo

    /// One page of the keys that begin with `request.prefix`, in the order of their UTF-8 bytes (some servers deviate).
    func list(_ request: ListRequest) async throws(StoreError) -> ListPage

    /// Streams a range of an object into `sink` (see `BodySink` for its promises) and returns the object's properties.
    ///
    /// With `request.etag` the body is of that version or the call fails with `.preconditionFailed`, also over retries
    /// in the middle of the body. Without it, the version of the first answer is kept over retries. A body that ends
    /// early is an error, never a short success. An object shorter than the range gives what there is of it; a range
    /// that begins at or beyond the end fails with `.invalidRange`.
    func get(_ request: GetRequest, into sink: any BodySink) async throws(StoreError) -> ObjectInfo

    /// Writes an object whole. The store verifies a checksum of the body before it publishes it.
    func put(_ request: PutRequest) async throws(StoreError) -> ETag

    /// Removes a key. Removing what is not there succeeds.
    func delete(_ key: ObjectKey) async throws(StoreError)

    /// Removes many keys in as few requests as possible. Returns the keys that could not be removed, each with its error.
    func delete(_ keys: [ObjectKey]) async throws(StoreError) -> [(key: ObjectKey, error: StoreError)]

    /// Copies on the server, an object of any size (by parts where one request does not do). Returns the ETag of the copy.
    func copy(_ request: CopyRequest) async throws(StoreError) -> ETag

    /// The tags of an object.
    func tags(of key: ObjectKey) async throws(StoreError) -> [ObjectTag]

    /// Replaces the tags of an object; none removes them. Neither its ETag nor its LastModified changes.
    func setTags(_ tags: [ObjectTag], of key: ObjectKey) async throws(StoreError)

    /// Begins a multipart upload.
    func createUpload(_ key: ObjectKey, properties: ObjectProperties) async throws(StoreError) -> UploadID

    /// Sends a part; `number` is 1...10,000; a repeated number replaces the part.
    func uploadPart(_ upload: UploadID, key: ObjectKey, number: Int, body: any BodySource) async throws(StoreError)
        -> ETag

    /// Makes a part of a range of `source` without moving the bytes; fails with `.preconditionFailed` when the source changed.
    /// Where the store has no condition for it, the part may be there all the same then: it is not to be used.
    func uploadPartCopy(
        _ upload: UploadID, key: ObjectKey, number: Int, source: ObjectVersion, range: ByteRange
    ) async throws(StoreError) -> ETag

    /// Makes the object of the parts, in the order given. If the answer is lost, finds out by HEAD whether it happened.
    func completeUpload(
        _ upload: UploadID, key: ObjectKey, parts: [UploadedPart], condition: WriteCondition
    ) async throws(StoreError) -> ETag

    /// Gives a multipart upload up. One that is not there any more is no error.
    func abortUpload(_ upload: UploadID, key: ObjectKey) async throws(StoreError)

    /// The parts that the store holds for an upload, by number. Some stores keep what was sent under a number earlier as well,
    /// and complete an upload by either: then that is among them.
    func listParts(_ upload: UploadID, key: ObjectKey) async throws(StoreError) -> [UploadedPart]
}

extension ObjectStore {
    /// Of stores without a network.
    public var reachability: StoreReachability { .reachable }

    /// Of stores without tags.
    public func tags(of key: ObjectKey) async throws(StoreError) -> [ObjectTag] {
        throw StoreError(.unsupported, operation: "GetObjectTagging", key: key)
    }

    /// As above.
    public func setTags(_ tags: [ObjectTag], of key: ObjectKey) async throws(StoreError) {
        throw StoreError(.unsupported, operation: "PutObjectTagging", key: key)
    }
}

/// Whether a store answers.
public enum StoreReachability: Sendable, Equatable {
    case reachable
    /// No answer since that time of the monotonic clock, though asked, and asked again.
    case unreachable(sinceNanoseconds: UInt64)

    public var isReachable: Bool { self == .reachable }
}

/// When a write may take effect.
public enum WriteCondition: Sendable, Equatable {
    /// Always: replaces whatever is there.
    case none
    /// Only while the key has exactly this version; else `.preconditionFailed`.
    case ifMatch(ETag)
    /// Only while the key does not exist; else `.preconditionFailed`.
    case ifAbsent
}

/// What a store can do. A false value means that the layers above use the documented fallback.
public struct StoreCapabilities: Sendable, Equatable {
    /// PutObject honours If-None-Match and If-Match.
    public var conditionalPut = true
    /// CompleteMultipartUpload honours them.
    public var conditionalComplete = true
    /// CopyObject and UploadPartCopy honour x-amz-copy-source-if-match.
    public var conditionalCopySource = true
    /// UploadPartCopy exists.
    public var partCopy = true
    /// The smallest part that is not the last, in bytes.
    public var partBytesMin = 5 << 20
    /// The largest part, in bytes.
    public var partBytesMax = 5 << 30
    public var partCountMax = 10_000
    /// The largest object that one PutObject or CopyObject takes, in bytes.
    public var singlePutBytesMax = 5 << 30

    public init() {}
}

public struct ListRequest: Sendable, Equatable {
    /// Keys begin with this; may be empty.
    public var prefix: ByteString
    /// With true, keys are cut at the first `/` after the prefix and come back once, as common prefixes.
    public var delimited: Bool
    /// Continues after an earlier page.
    public var continuation: String?
    /// Only keys after this one.
    public var startAfter: ObjectKey?
    /// 1...1,000.
    public var entryCountMax: Int

    public init(
        prefix: ByteString, delimited: Bool, continuation: String? = nil, startAfter: ObjectKey? = nil,
        entryCountMax: Int = 1000
    ) {
        self.prefix = prefix
        self.delimited = delimited
        self.continuation = continuation
        self.startAfter = startAfter
        self.entryCountMax = entryCountMax
    }
}

public struct ListPage: Sendable, Equatable {
    public var objects: [ListedObject]
    /// Each begins with the request's prefix and ends with `/`.
    public var commonPrefixes: [ByteString]
    /// Nil on the last page.
    public var continuation: String?

    public init(objects: [ListedObject], commonPrefixes: [ByteString], continuation: String?) {
        self.objects = objects
        self.commonPrefixes = commonPrefixes
        self.continuation = continuation
    }
}

public struct GetRequest: Sendable, Equatable {
    public var key: ObjectKey
    /// The version that the bytes must be of; nil takes the current one.
    public var etag: ETag?
    /// Nil is the whole object.
    public var range: ByteRange?

    public init(key: ObjectKey, etag: ETag?, range: ByteRange?) {
        self.key = key
        self.etag = etag
        self.range = range
    }
}

/// Where the body of a GET goes. Called on a transport thread, one call at a time; must not block.
public protocol BodySink: AnyObject, Sendable {
    /// Called once, before the first byte, when the answer is known to be the wanted version.
    /// - Parameter range: the positions that will be delivered (the request's, cut at the end of the object).
    func begin(_ info: ObjectInfo, range: ByteRange)
    /// The next bytes of the range, in order, each exactly once, also over retries. The pointer is valid during the call.
    func receive(_ bytes: UnsafeRawBufferPointer)
}

/// The body of a PUT or a part. Read by position, so that it can be hashed, sent, and sent again.
public protocol BodySource: AnyObject, Sendable {
    /// The length in bytes; constant.
    var byteCount: Int { get }
    /// Fills `buffer` with the bytes at `offset`; the ranges asked for lie within the body. Returns false when the
    /// source cannot give them any more (the staged data changed, or the disk failed): the request fails with
    /// `.sourceFailed`. Called on a transport thread; may read a local disk, must not wait for the network.
    func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int) -> Bool
    /// The connection has taken the body up to `offset`; less than before when it is sent again. For those who show
    /// progress: the store has not acknowledged any of it yet. Called on a transport thread.
    func noteSent(upTo offset: Int)
}

extension BodySource {
    public func noteSent(upTo offset: Int) {}
}

public struct PutRequest: Sendable {
    public var key: ObjectKey
    /// Nil writes an empty object.
    public var body: (any BodySource)?
    public var properties: ObjectProperties
    public var condition: WriteCondition
    /// Whether the store has said a moment ago that nothing is there: it need not be asked again where its conditions cannot
    /// be relied on yet.
    public var isSeenAbsent: Bool

    public init(
        key: ObjectKey, body: (any BodySource)?, properties: ObjectProperties = .init(),
        condition: WriteCondition = .none, isSeenAbsent: Bool = false
    ) {
        self.key = key
        self.body = body
        self.properties = properties
        self.condition = condition
        self.isSeenAbsent = isSeenAbsent
    }
}

public struct CopyRequest: Sendable {
    /// The version to copy; fails with `.preconditionFailed` when the key has another.
    public var source: ObjectVersion
    public var destination: ObjectKey
    /// Replaces the properties of the source; nil keeps them, but for the storage class.
    public var properties: ObjectProperties?
    /// The class of a copy that keeps its properties: S3 does not take that of the source. Nil is the store's default.
    public var storageClass: String?

    public init(
        source: ObjectVersion, destination: ObjectKey, properties: ObjectProperties? = nil, storageClass: String? = nil
    ) {
        self.source = source
        self.destination = destination
        self.properties = properties
        self.storageClass = storageClass
    }

    /// The storage class that a copy of an object is to have. S3 gives it STANDARD where none is named. The copy of one that
    /// is archived, and can be copied because it was restored, would be archived at once: that gets the default.
    public static func storageClass(keeping storageClass: String?) -> String? {
        storageClass == "GLACIER" || storageClass == "DEEP_ARCHIVE" ? nil : storageClass
    }
}

/// The server's name of a multipart upload.
public struct UploadID: Sendable, Hashable, CustomStringConvertible {
    public let value: String

    public init(_ value: String) {
        self.value = value
    }

    public var description: String { value }
}

public struct UploadedPart: Sendable, Hashable {
    /// 1...10,000.
    public let number: Int
    public let etag: ETag
    public let byteCount: Int

    public init(number: Int, etag: ETag, byteCount: Int) {
        self.number = number
        self.etag = etag
        self.byteCount = byteCount
    }
}
