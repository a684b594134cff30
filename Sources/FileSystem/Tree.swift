// The names of a mount: which node stands where.

internal import Base
internal import ObjectModel

/// A name in the tree. Guarded by the tree's lock, like everything it refers to.
final class Dentry {
    let node: Node
    /// Nil for the root, and for what has no name any more (unlinked, superseded).
    var parent: Dentry?
    var name: FileName?
    /// How many references the kernel holds.
    var lookupCount: UInt64 = 0
    /// Only for directories.
    var directory: DirectoryState?

    init(node: Node, parent: Dentry?, name: FileName?) {
        self.node = node
        self.parent = parent
        self.name = name
        directory = node.kind == .directory ? DirectoryState() : nil
    }

    /// The key prefix of a directory: empty, or ending with `/`. Nil when it has no name any more.
    func prefix(root: ByteString) -> ByteString? {
        guard let parent, let name else { return node.number == Tree.rootNumber ? root : nil }
        guard let above = parent.prefix(root: root) else { return nil }
        return ByteString(above.string + NameCodec.segment(for: name).string + "/")
    }

    /// The path below the mount, for people; `/` for the root.
    var path: String {
        guard let parent, let name else { return node.number == Tree.rootNumber ? "/" : "(removed)" }
        let above = parent.path
        return above == "/" ? "/\(name)" : "\(above)/\(name)"
    }
}

/// What a HEAD told of a listed entry.
enum Known: Sendable {
    case object(ObjectInfo)
    /// A directory without a marker object.
    case nothing
}

/// What is known of a directory's entries.
struct DirectoryState {
    /// Entries that have a node.
    var children: [FileName: Dentry] = [:]
    var listing: Listing?
    /// Names known to be absent, until when (monotonic nanoseconds).
    var absent: [FileName: UInt64] = [:]
    /// Names of which the kernel was told that they are absent.
    var toldAbsent: Set<FileName> = []
    /// Whether the directory's own marker object exists; nil when that is not known.
    var hasMarker: Bool?
    /// One listing at a time; who comes later shares it.
    var listingInFlight: OneShot<FileSystemError?>?
    /// What this mount made of names while a listing was under way (nil: removed them): newer than that listing.
    var changedDuringListing: [FileName: Listing.Entry?] = [:]
    /// What HEADs told of listed entries that have no node yet.
    var known: [FileName: Known] = [:]
    var knownInFlight: [FileName: OneShot<FileSystemError?>] = [:]
    /// Whether the names asked for are opened, and in which order.
    var lookups = LookupPattern()
    var siblings = SiblingPattern()
    var recentlyOpened: [FileName] = []
    /// When the listing began whose positions `siblings` speaks of.
    var followedListing: UInt64?
    /// Names asked for one by one, since the last listing.
    var askCount = 0
    /// It has more entries than are listed only to save lookups.
    var isTooLargeToListEarly = false
    /// What HEADs of this directory's objects have shown.
    var sampledCount = 0
    var posixCount = 0

    /// The names that are asked for one by one before the whole directory is: a HEAD and a LIST each cost more than a
    /// listing soon, and who looks for three names usually looks for more.
    static let askCountMax = 2
    /// Pages of such a listing, of 1,000 entries each.
    static let earlyPageCountMax = 4
    /// How many names a directory remembers as absent.
    static let absentCountMax = 10_000
    /// How many objects without POSIX metadata settle the question for a directory.
    static let sampleCount = 64

    /// Whether the objects here are another tool's, without POSIX metadata, as far as one can tell.
    var isForeign: Bool { sampledCount >= Self.sampleCount && posixCount == 0 }

    mutating func noteAbsent(_ name: FileName, until: UInt64) {
        if absent.count >= Self.absentCountMax { absent.removeAll() }
        absent[name] = until
    }

    /// This mount made an entry.
    mutating func noteCreated(_ name: FileName, _ entry: Listing.Entry?) {
        absent[name] = nil
        if let entry { notePublished(name, entry) } else { known[name] = nil }
    }

    /// An entry has another object than before.
    mutating func notePublished(_ name: FileName, _ entry: Listing.Entry) {
        known[name] = nil
        listing?.set(name, entry)
        if listingInFlight != nil { changedDuringListing[name] = .some(entry) }
    }

    /// This mount removed an entry.
    mutating func noteRemoved(_ name: FileName) {
        children[name] = nil
        known[name] = nil
        listing?.remove(name)
        if listingInFlight != nil { changedDuringListing[name] = .some(nil) }
    }
}

/// All dentries of a mount.
struct Tree {
    static let rootNumber: UInt64 = 1

    private(set) var dentries: [UInt64: Dentry] = [:]
    private var nextNumber: UInt64 = 2

    init(root: Node) {
        precondition(root.number == Self.rootNumber)
        let dentry = Dentry(node: root, parent: nil, name: nil)
        dentry.lookupCount = 1
        dentries[root.number] = dentry
    }

    subscript(number: UInt64) -> Dentry? { dentries[number] }

    var all: Dictionary<UInt64, Dentry>.Values { dentries.values }

    /// Adds a node under a name that is free.
    mutating func add(_ kind: FileKind, _ state: Node.State, parent: Dentry, name: FileName) -> Dentry {
        let node = Node(number: nextNumber, kind: kind, state: state)
        nextNumber += 1
        let dentry = Dentry(node: node, parent: parent, name: name)
        dentries[node.number] = dentry
        parent.directory!.children[name] = dentry
        parent.directory!.absent[name] = nil
        return dentry
    }

    /// Takes the name away from a node; it lives on while the kernel or a handle knows it.
    mutating func detach(_ dentry: Dentry) {
        if let parent = dentry.parent, let name = dentry.name, parent.directory!.children[name] === dentry {
            parent.directory!.children[name] = nil
        }
        let parent = dentry.parent
        dentry.parent = nil
        dentry.name = nil
        prune(dentry)
        if let parent { prune(parent) }
    }

    /// Moves a node to another name, which must be free.
    mutating func move(_ dentry: Dentry, to parent: Dentry, name: FileName) {
        let old = dentry.parent
        if let old, let oldName = dentry.name { old.directory!.children[oldName] = nil }
        dentry.parent = parent
        dentry.name = name
        parent.directory!.children[name] = dentry
        if let old, old !== parent { prune(old) }
    }

    /// The kernel dropped `count` references.
    mutating func forget(_ number: UInt64, count: UInt64) {
        guard let dentry = dentries[number] else { return }
        dentry.lookupCount -= min(count, dentry.lookupCount)
        prune(dentry)
    }

    /// Drops a dentry that nobody needs, and its parents that are then not needed either.
    mutating func prune(_ dentry: Dentry) {
        var next: Dentry? = dentry
        while let candidate = next, candidate.node.number != Self.rootNumber, candidate.lookupCount == 0,
            candidate.directory?.children.isEmpty ?? true, candidate.directory?.listingInFlight == nil,
            candidate.node.state.withLock({ state in
                if case .staged = state.content, !state.isUnlinked { return false }
                return state.openCount == 0
            })
        {
            dentries[candidate.node.number] = nil
            next = candidate.parent
            if let parent = candidate.parent, let name = candidate.name, parent.directory!.children[name] === candidate
            {
                parent.directory!.children[name] = nil
            }
        }
    }
}
