// What is kept on disk of one name: what a listing told, and what a HEAD or our own write told besides.

internal import Base
internal import ObjectModel

/// A name of a directory as it was known last.
struct RememberedEntry: Sendable, Equatable {
    enum Content: Sendable, Equatable {
        case file(etag: ETag, byteCount: Int)
        case directory
    }

    /// When the object was changed last: a file's, or a directory's marker's.
    enum Modified: Sendable, Equatable {
        case unknown
        /// The store said so.
        case told(Timestamp)
        /// This mount wrote it then, by its own clock; the store's answer does not say.
        case written(Timestamp)
    }

    /// What was learnt of the object beyond its listing.
    enum Learned: Sendable, Equatable {
        case nothing
        /// A directory without a marker object.
        case noMarker
        case properties(ObjectProperties)
    }

    var content: Content
    var modified = Modified.unknown
    var storageClass: String?
    var learned = Learned.nothing
    /// The inode number, where it is not the one that follows from key and ETag.
    var inode: UInt64?

    /// How far the store's clock may be from ours for an object to be taken for the one that we wrote.
    static let clockSkewSecondsMax: Int64 = 5

    /// Whether this is about the object that a listing shows: key (the caller's business), ETag, and LastModified. Times
    /// are compared by the second, since HEAD tells no more.
    func isOf(_ object: ListedObject) -> Bool {
        guard case .file(let etag, let byteCount) = content, etag == object.version.etag,
            byteCount == object.version.byteCount
        else { return false }
        return isOfTime(object.lastModified)
    }

    func isOfTime(_ listed: Timestamp) -> Bool {
        switch modified {
        case .unknown: false
        case .told(let time): time.seconds == listed.seconds
        case .written(let time): abs(time.seconds - listed.seconds) <= Self.clockSkewSecondsMax
        }
    }
}

extension RememberedEntry {
    /// What a listing alone tells.
    init(_ entry: Listing.Entry) {
        switch entry {
        case .directory: self.init(content: .directory)
        case .file(let object):
            self.init(
                content: .file(etag: object.version.etag, byteCount: object.version.byteCount),
                modified: .told(object.lastModified), storageClass: object.storageClass)
        }
    }

    /// The listing's entry of this; nil when the name makes no key.
    func entry(key: ObjectKey) -> Listing.Entry {
        switch content {
        case .directory: .directory
        case .file(let etag, let byteCount):
            .file(
                ListedObject(
                    version: ObjectVersion(key: key, etag: etag, byteCount: byteCount),
                    lastModified: time ?? Timestamp(seconds: 0), storageClass: storageClass))
        }
    }

    var time: Timestamp? {
        switch modified {
        case .unknown: nil
        case .told(let time), .written(let time): time
        }
    }
}
