// What this mount has of a file, as extended attributes.

internal import Base
internal import BlockCache
internal import ObjectModel
internal import Staging

/// What `user.pail.NAME` shows. Not listed by listxattr(2), and never changed by setxattr(2).
enum MountAttribute: String, CaseIterable {
    /// Bytes that are not in S3 yet.
    case pendingBytes = "pending-bytes"
    /// Why the last try to upload it failed; absent where none did.
    case uploadError = "upload-error"
    /// Bytes of the object that are here, in memory or on disk: reading them asks nothing of S3.
    case cachedBytes = "cached-bytes"
}

extension FileSystem {
    func value(of attribute: MountAttribute, _ node: Node) -> Answer<[UInt8]> {
        guard node.kind == .file else { return .fail(.noAttribute) }
        func ready(_ text: String?) -> Answer<[UInt8]> {
            text.map { .ready(Array($0.utf8)) } ?? .fail(.noAttribute)
        }
        switch attribute {
        case .pendingBytes:
            guard let file = node.stagedFile, file.needsUpload else { return ready("0") }
            return ready(String(file.dirtyByteCount))
        case .uploadError: return ready(node.stagedFile?.failure.map { "\($0.error)" })
        case .cachedBytes:
            guard let version = node.state.withLock({ $0.objectVersion }) else { return ready("0") }
            return .later { () async throws(FileSystemError) in
                Array(String(await self.cache.cachedByteCount(of: version)).utf8)
            }
        }
    }
}
