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
        return above == "/" ? "/\(name.shown)" : "\(above)/\(name.shown)"
    }
}

/// All dentries of a mount.
struct Tree {
    static let rootNumber: UInt64 = 1

    private(set) var dentries: [UInt64: Dentry] = [:]
    private var nextNumber: UInt64
    private var budget: NameBudget
    /// What the kernel is to be told once the lock is free.
    var invalidations: [KernelInvalidation] = []

    /// - Parameter firstNumber: of the first node that is added.
    init(root: Node, firstNumber: UInt64, budget: NameBudget) {
        nextNumber = firstNumber
        precondition(root.number == Self.rootNumber)
        self.budget = budget
        let dentry = Dentry(node: root, parent: nil, name: nil)
        dentry.lookupCount = 1
        dentries[root.number] = dentry
    }

    subscript(number: UInt64) -> Dentry? { dentries[number] }

    var all: Dictionary<UInt64, Dentry>.Values { dentries.values }

    /// Adds a node under a name that is free.
    mutating func add(
        _ kind: FileKind, _ state: Node.State, inode: UInt64, parent: Dentry, name: FileName
    ) -> Dentry {
        let node = Node(number: nextNumber, kind: kind, inode: inode, state: state)
        nextNumber += 1
        let dentry = Dentry(node: node, parent: parent, name: name)
        dentries[node.number] = dentry
        parent.directory!.children[name] = dentry
        parent.directory!.absent[name] = nil
        budget.added(node.number)
        var lookCount = 0
        while lookCount < NameBudget.looksPerNode, let oldest = budget.next(of: dentries.count) {
            guard let candidate = dentries[oldest] else { continue }
            takeBack(candidate)
            lookCount += 1
        }
        return dentry
    }

    /// Asks the kernel to forget a node, where there are too many.
    private mutating func takeBack(_ dentry: Dentry) {
        budget.kept(dentry.node.number)
        guard dentries.count > budget.nodeCountMax, let parent = dentry.parent, let name = dentry.name,
            dentry.lookupCount > 0, dentry.directory?.children.isEmpty ?? true,
            dentry.node.state.withLock({ $0.openCount == 0 }), !dentry.node.isPending
        else { return }
        // A directory keeps its place, since somebody may work in it: its name is only expired.
        invalidations.append(
            dentry.directory == nil
                ? .takeBack(parent: parent.node.number, name: name.shown)
                : .entry(parent: parent.node.number, name: name.shown))
    }

    /// A directory has a listing. Drops the oldest ones where there are too many names in them all.
    mutating func noteListed(_ dentry: Dentry) {
        guard let listing = dentry.directory!.listing else { return }
        let mark = NameBudget.ListingMark(
            node: dentry.node.number, startedAt: listing.startedAt, count: listing.entries.count)
        for oldest in budget.listed(mark) {
            guard let other = dentries[oldest.node], other.directory!.listing?.startedAt == oldest.startedAt,
                other.directory!.flight == nil, other.directory!.ahead.inFlight == nil
            else { continue }
            other.directory!.listing = nil
            other.directory!.known = [:]
            other.directory!.inodes = [:]
            other.directory!.absent = [:]
            other.directory!.ahead = ListingsAhead()
        }
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
            candidate.directory?.children.isEmpty ?? true, candidate.directory?.flight == nil,
            candidate.directory?.ahead.inFlight == nil,
            candidate.node.state.withLock({ state in
                if state.isPending, !state.isUnlinked { return false }
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
