// The bucket as another client sees and changes it: at once, uncounted, beside all faults and gates.

public import Base
public import ObjectModel
public import ObjectStore

/// A multipart upload that is neither completed nor aborted.
public struct OpenUpload: Sendable, Equatable {
    public let id: UploadID
    public let key: ObjectKey
    public let created: Timestamp
    /// By number.
    public let parts: [UploadedPart]
}

extension MemoryStore {
    /// A key from a literal; traps when it is none.
    public static func objectKey(_ text: String) -> ObjectKey {
        guard let key = ObjectKey(text) else { preconditionFailure("not a key: '\(text)'") }
        return key
    }

    /// Writes an object, or a new version of it.
    @discardableResult
    public func write(_ bytes: some Sequence<UInt8>, at key: String, properties: ObjectProperties = .init()) -> ETag {
        let now = time.now
        let bytes = Array(bytes)
        return state.withLock { state in
            let etag = state.nextETag()
            state.store(Self.objectKey(key), bytes: bytes, etag: etag, properties: properties, now: now)
            return etag
        }
    }

    /// Writes a text.
    @discardableResult
    public func write(_ text: String, at key: String, properties: ObjectProperties = .init()) -> ETag {
        write(text.utf8, at: key, properties: properties)
    }

    public func remove(at key: String) {
        state.withLock { $0.remove(Self.objectKey(key)) }
    }

    /// The body; nil when there is no object.
    public func bytes(at key: String) -> [UInt8]? {
        state.withLock { $0.objects[Self.objectKey(key)]?.bytes }
    }

    /// The body as text; nil when there is no object.
    public func text(at key: String) -> String? {
        bytes(at: key).map { String(decoding: $0, as: UTF8.self) }
    }

    public func info(at key: String) -> ObjectInfo? {
        state.withLock { $0.objects[Self.objectKey(key)]?.info }
    }

    /// All keys that begin with the prefix, in order.
    public func keys(under prefix: String = "") -> [String] {
        let prefix = ByteString(prefix)
        return state.withLock { state in
            state.keys[state.firstIndex { $0.bytes >= prefix }...].prefix { $0.bytes.hasPrefix(prefix) }.map(\.string)
        }
    }

    /// Multipart uploads that nobody ended, by id.
    public var openUploads: [OpenUpload] {
        state.withLock { state in
            state.uploads
                .map { OpenUpload(id: $0.key, key: $0.value.key, created: $0.value.created, parts: $0.value.listed) }
                .sorted { $0.id.value < $1.id.value }
        }
    }

    /// Ends an upload as a lifecycle rule of the bucket would.
    public func forgetUpload(_ id: UploadID) {
        state.withLock { $0.uploads[id] = nil }
    }
}
