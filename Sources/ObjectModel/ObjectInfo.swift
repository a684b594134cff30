// What a store says about an object.

public import Base

/// One immutable version of an object: what a read is pinned to.
public struct ObjectVersion: Sendable, Hashable {
    public let key: ObjectKey
    public let etag: ETag
    /// The body's length in bytes.
    public let byteCount: Int

    public init(key: ObjectKey, etag: ETag, byteCount: Int) {
        self.key = key
        self.etag = etag
        self.byteCount = byteCount
    }
}

/// An entry of a listing: everything known without a request for the object itself.
public struct ListedObject: Sendable, Equatable {
    public let version: ObjectVersion
    public let lastModified: Timestamp
    public let storageClass: String?

    public var key: ObjectKey { version.key }

    public init(version: ObjectVersion, lastModified: Timestamp, storageClass: String? = nil) {
        self.version = version
        self.lastModified = lastModified
        self.storageClass = storageClass
    }
}

/// The answer of HEAD, and the header part of GET.
public struct ObjectInfo: Sendable, Equatable {
    public let version: ObjectVersion
    public let lastModified: Timestamp
    public let properties: ObjectProperties
    /// The server's name of this version in a bucket that keeps old ones.
    public let versionID: String?

    public var key: ObjectKey { version.key }

    public init(
        version: ObjectVersion, lastModified: Timestamp, properties: ObjectProperties, versionID: String? = nil
    ) {
        self.version = version
        self.lastModified = lastModified
        self.properties = properties
        self.versionID = versionID
    }
}

/// What a writer says about an object beside its body.
public struct ObjectProperties: Sendable, Equatable {
    /// User metadata: names lower-case without the `x-amz-meta-` prefix; values as sent.
    public var metadata: [String: String]
    public var contentType: String?
    public var cacheControl: String?
    public var contentEncoding: String?
    public var contentDisposition: String?
    public var contentLanguage: String?
    /// `STANDARD` is nil.
    public var storageClass: String?

    public init(metadata: [String: String] = [:], contentType: String? = nil) {
        self.metadata = metadata
        self.contentType = contentType
    }
}
