// What a mount is told about how to show its bucket.

public import Base

/// When the attributes of objects are asked for (a HEAD each) beyond what listings tell.
public enum AttributePolicy: String, Sendable, CaseIterable {
    /// Until the first 64 of a directory have shown that its objects carry no POSIX metadata.
    case adaptive
    /// Never.
    case listing
    /// Always.
    case exact
}

public struct FileSystemConfiguration: Sendable {
    /// What all keys begin with: empty, or ending with `/`.
    public var prefix: ByteString = ""
    /// How long names, attributes and listings are believed.
    public var ttlNanoseconds: UInt64 = 60_000_000_000
    public var attributePolicy = AttributePolicy.adaptive
    public var uid: UInt32 = 0
    public var gid: UInt32 = 0
    public var filePermissions: UInt32 = 0o644
    public var directoryPermissions: UInt32 = 0o755
    public var isReadOnly = false
    /// The store is not asked at all: what is known serves, whatever its age.
    public var isOffline = false
    /// Files that are opened one after another bring those that come next.
    public var prefetchesSiblings = true
    /// The largest file that comes this way, in bytes.
    public var siblingBytesMax = 1 << 20
    /// Names that the kernel is let keep; beyond them the oldest that are not in use are taken back. See doc/design/names.md.
    public var nodeCountMax = 150_000
    /// Names in all listings that are kept for more than who reads them just now.
    public var listedNameCountMax = 300_000
    /// close() waits until the object is in the store.
    public var isWriteThrough = false
    /// Open files up to this size are kept whole on local disk when they are removed or replaced by this mount, so that
    /// their readers go on; readers of larger ones get ESTALE.
    public var keepUnlinkedBytesMax = 1 << 30
    /// The kernel's number of the first node after the root: beyond all numbers that an earlier process of the same mount
    /// gave out.
    public var firstNodeNumber: UInt64 = 2

    public init() {}
}
