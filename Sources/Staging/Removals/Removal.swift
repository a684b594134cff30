// A removal that was acknowledged before the store had made it.

internal import Base
public import ObjectModel

/// An object that is to be removed: only as long as it is what the program removed.
public struct Removal: Sendable, Equatable {
    public let version: ObjectVersion
    /// The store's LastModified of that version, in seconds; nil when it is not known (this mount wrote it).
    public let storeSeconds: Int64?
    /// When the removal was acknowledged, by this machine's clock, in seconds.
    public let acknowledgedSeconds: Int64

    public init(_ version: ObjectVersion, storeSeconds: Int64?, acknowledgedSeconds: Int64) {
        self.version = version
        self.storeSeconds = storeSeconds
        self.acknowledgedSeconds = acknowledgedSeconds
    }

    /// Whether an object found long after is still the one that was removed. The same bytes written anew have the same
    /// ETag, so the time counts, too; in doubt it is another one, and stays.
    func isStill(_ info: ObjectInfo) -> Bool {
        guard info.version.etag == version.etag else { return false }
        guard let storeSeconds else { return info.lastModified.seconds <= acknowledgedSeconds }
        return info.lastModified.seconds == storeSeconds
    }
}

typealias RemovalJournal = RequestJournal<Removal>

extension Removal: JournalledRequest {
    static let journalSuffix = ".removals"

    var key: ObjectKey { version.key }

    func encode(into encoder: inout ByteEncoder) {
        encoder.put(version.key.string)
        encoder.put(version.etag.value)
        encoder.put(version.byteCount)
        encoder.put(storeSeconds != nil)
        encoder.put(storeSeconds ?? 0)
        encoder.put(acknowledgedSeconds)
    }

    init?(from decoder: inout ByteDecoder) {
        guard let key = decoder.string().flatMap({ ObjectKey($0) }), let etag = decoder.string().flatMap({ ETag($0) }),
            let byteCount = decoder.count(), let hasTime = decoder.bool(), let time: Int64 = decoder.integer(),
            let acknowledged: Int64 = decoder.integer()
        else { return nil }
        self.init(
            ObjectVersion(key: key, etag: etag, byteCount: byteCount), storeSeconds: hasTime ? time : nil,
            acknowledgedSeconds: acknowledged)
    }
}
