// A file, directory or symlink that the kernel may know.

internal import Base
internal import BlockCache
internal import ObjectModel
internal import Staging

/// An inode. The number that the kernel knows it by is unique within the mount and never reused.
///
/// A file that another client replaced is another file: the old node is *superseded*, keeps serving who has it open
/// (until a byte is needed that only the new version could give: ESTALE), and the name leads to a new node. That is how
/// a read never mixes two versions, in the kernel's page cache neither.
public final class Node: Sendable {
    enum Content: Sendable {
        /// A directory.
        case none
        /// The object as the store has it.
        case clean(ObjectVersion)
        /// Data that is (or may be) not in the store yet.
        case staged(StagedFile)
    }

    struct State: Sendable {
        var content: Content
        var attributes: FileAttributes
        /// The object's full properties; nil while only a listing told of it.
        var properties: ObjectProperties?
        /// When content and attributes were last known to be the store's; monotonic nanoseconds.
        var validatedAt: UInt64
        /// When this mount last changed the object; a listing begun before says nothing about it.
        var changedAt: UInt64 = 0
        /// The store's LastModified of the object (of a directory: its marker) that the attributes are of; nil when it
        /// is not known, as after a write.
        var storeTime: Timestamp?
        /// Of a directory: when its marker was last asked for or written (monotonic nanoseconds); 0 for never.
        var markerKnownAt: UInt64 = 0
        /// Of a directory: its marker is acknowledged, and not in the store yet.
        var hasPendingMarker = false
        /// Of a directory: when this mount wrote its marker, by our clock. `storeTime` is about that then.
        var markerWrittenAt: Timestamp?
        var symlinkTarget: String?
        /// Handles of any kind, and those that may write.
        var openCount = 0
        var writerCount = 0
        /// Its object is being moved or removed: data of it that begins to be staged is not sent before that is over, and
        /// what the store says of its key meanwhile is no answer. Set at the end.
        var keyChange: OneShot<Void>?
        var isUnlinked = false
        var isSuperseded = false
        /// Whether the kernel may hold pages of this node.
        var hasServedBytes = false
    }

    public let number: UInt64
    public let kind: FileKind
    /// What `stat` shows: see `InodeNumber`.
    let inode: UInt64
    // A leaf lock but for StagedFile's, which may be taken inside it.
    let state: Lock<State>

    init(number: UInt64, kind: FileKind, inode: UInt64, state: State) {
        self.number = number
        self.kind = kind
        self.inode = inode
        self.state = Lock(state)
    }

    var status: FileStatus {
        state.withLock { state in
            let byteCount: Int
            switch state.content {
            case .none: byteCount = 4096
            case .clean(let version):
                // The target of some symlinks is the body, unread so far.
                let target = state.symlinkTarget ?? ""
                byteCount = target.isEmpty ? version.byteCount : KernelName.bytes(of: target).count
            case .staged(let file):
                byteCount = state.symlinkTarget.map { KernelName.bytes(of: $0).count } ?? file.byteCount
            }
            let linkCount: UInt32 = state.isUnlinked ? 0 : kind == .directory ? 2 : 1
            return FileStatus(
                number: number, inode: inode, kind: kind, attributes: state.attributes, byteCount: byteCount,
                linkCount: linkCount)
        }
    }

    var stagedFile: StagedFile? {
        state.withLock { if case .staged(let file) = $0.content { file } else { nil } }
    }

    /// Whether a truncate to this length cuts bytes that are in an unfinished upload only.
    func isCutInTransit(at byteCount: Int) -> Bool {
        byteCount > 0 && stagedFile?.isInTransit(ByteRange(byteCount - 1, byteCount)) == true
    }

    /// Whether this mount has changed the node's object since an answer of the store was asked for, or is just doing it.
    func isKnownBetter(since startedAt: UInt64) -> Bool {
        state.withLock { $0.isChanged(since: startedAt) || $0.isKeyChanging }
    }

    /// Whether local changes wait for their upload: such a node is known better here than in the store.
    var isPending: Bool { state.withLock { $0.isPending } }
}

extension Node.State {
    var isKeyChanging: Bool { keyChange != nil }

    /// Whether an answer that was asked for then does not know what this mount has changed of the object.
    func isChanged(since startedAt: UInt64) -> Bool { changedAt >= startedAt || hasPendingMarker }

    var isPending: Bool {
        if case .staged = content { true } else { hasPendingMarker }
    }

    /// Returns what is to be set, outside of all locks.
    mutating func takeKeyChange() -> OneShot<Void>? {
        defer { keyChange = nil }
        return keyChange
    }
}

/// Of directories: their marker object.
extension Node.State {
    /// How far the store's clock and ours may be apart, with a PUT between them; seconds.
    private static let clockDifferenceMax: Int64 = 5

    /// Takes what a HEAD of the marker tells.
    mutating func take(_ fresh: Node.State) {
        attributes = fresh.attributes
        properties = fresh.properties
        storeTime = fresh.storeTime
        markerWrittenAt = nil
    }

    mutating func noteMarkerWritten(at time: Timestamp, _ now: UInt64) {
        storeTime = nil
        markerWrittenAt = time
        markerKnownAt = now
    }

    /// Whether a marker that a listing shows is another one than that of which the attributes are known.
    func isOfOtherMarker(_ marker: ListedObject?) -> Bool {
        if let storeTime { return storeTime.seconds != marker?.lastModified.seconds }
        guard let markerWrittenAt else { return false }
        guard let marker else { return true }
        return abs(marker.lastModified.seconds - markerWrittenAt.seconds) > Self.clockDifferenceMax
    }
}
