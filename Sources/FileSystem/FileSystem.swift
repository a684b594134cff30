// POSIX over objects: what a mount is, without FUSE.

public import Base
public import BlockCache
public import Logging
internal import ObjectModel
public import ObjectStore
public import Staging
internal import Synchronization

/// A mounted bucket (or a prefix of it). Thread-safe.
///
/// Operations answer as `Answer`s: at once where no network is needed, so that the adapter replies on the thread that
/// asked, else later. Names come as the kernel has them; numbers are inode numbers, 1 is the root.
///
/// Lock order: `tree` → `Node.state` → `StagedFile`'s. No lock is held over a call of the store, the cache, or a reply.
public final class FileSystem: Sendable {
    public let configuration: FileSystemConfiguration
    let store: any ObjectStore
    let cache: BlockCache
    let area: StagingArea
    let queue: UploadQueue
    /// Removals that are acknowledged early; nil has each wait for its answer.
    let removals: RemovalQueue?
    let markers: MarkerQueue
    /// What was learnt of names and attributes, over mounts; nil keeps nothing.
    public let attributes: AttributeStore?
    let time: any TimeSource
    let log: Logger
    let codec: AttributeCodec
    /// What directories without times of their own show.
    let startedAt: Timestamp
    let tree: Lock<Tree>
    /// Which node a staged file belongs to, by the file's identity. A leaf lock. Set before the file can be found by others.
    let owners = Lock<[ObjectIdentifier: Node]>([:])
    /// Renames of directories run alone; everything else that changes names or begins staging runs shared.
    let changes = ChangeGate<DirectoryMove>()
    /// The directory whose old keys are being removed.
    let moving = MovingPrefix()
    /// Bounds the requests that a burst of lookups, or the copies of a rename, have under way.
    let background = AsyncLimiter(limit: 32)
    let outage = Lock(StoreOutage())
    /// Renames of an earlier mount that are being ended.
    let resumedRenames = Lock<[Task<Void, Never>]>([])
    let renames = RenameProgresses()
    let prefetches = Lock(PrefetchStatistics())
    /// Whether a listing has shown a directory as tools of the Hadoop family do it: then names are looked up in that form too.
    let hasFolderMarkers = Lock(false)
    /// Whether a symlink has shown that has its target as content. A leaf lock, taken inside the tree's.
    let hasSymlinkBodies = Lock(false)
    private let invalidation = Listener<[KernelInvalidation]>()
    private let openFilesChanged = Listener<Void>()

    /// - Parameter store: with `removals`, a `SettledStore` over what those remove from.
    public init(
        store: any ObjectStore, cache: BlockCache, area: StagingArea, queue: UploadQueue, markers: MarkerQueue,
        removals: RemovalQueue? = nil, attributes: AttributeStore? = nil, configuration: FileSystemConfiguration,
        time: any TimeSource, log: Logger
    ) {
        self.store = store
        self.cache = cache
        self.area = area
        self.queue = queue
        self.markers = markers
        self.removals = removals
        self.attributes = attributes
        self.configuration = configuration
        self.time = time
        self.log = log
        startedAt = time.now
        codec = AttributeCodec(
            filePermissions: configuration.filePermissions, directoryPermissions: configuration.directoryPermissions,
            uid: configuration.uid, gid: configuration.gid)
        let root = Node(
            number: Tree.rootNumber, kind: .directory, inode: InodeNumber.root,
            state: Node.State(
                content: .none, attributes: codec.defaults(for: .directory, time: startedAt), validatedAt: .max))
        tree = Lock(
            Tree(
                root: root, firstNumber: configuration.firstNodeNumber,
                budget: NameBudget(
                    nodeCountMax: configuration.nodeCountMax, listedNameCountMax: configuration.listedNameCountMax)))
        queue.observe(
            prepared: { [weak self] file in self?.uploadWillBegin(file) },
            published: { [weak self] file, version in self?.uploadWasPublished(file, version) },
            conflicted: { [weak self] file, lost, saved in self?.uploadConflicted(file, lost: lost, savedAs: saved) })
        removals?.onRefused { [weak self] in self?.removalsWereRefused($0) }
    }

    /// The renames of directories that are under way.
    public var renameProgress: [RenameProgress] { renames.all }

    /// Sets who tells the kernel what to forget. Called outside all locks; must not block.
    public func onInvalidation(_ action: @escaping @Sendable ([KernelInvalidation]) -> Void) {
        invalidation.set(action)
    }

    /// Sets who is told when an open file may have got another name or version. Called outside of all locks.
    public func onOpenFilesChanged(_ action: @escaping @Sendable () -> Void) {
        openFilesChanged.set(action)
    }

    func tellOpenFilesChanged() {
        openFilesChanged.tell(())
    }

    func invalidateKernel(_ node: Node) {
        invalidateKernel([.node(node.number)])
    }

    func invalidateKernel(_ changes: [KernelInvalidation]) {
        guard !changes.isEmpty else { return }
        invalidation.tell(changes)
    }

    /// Tells the kernel what changes of the tree have gathered. Not under its lock.
    func tellInvalidations() {
        let changes = tree.withLock { tree in
            defer { tree.invalidations = [] }
            return tree.invalidations
        }
        invalidateKernel(changes)
    }

    // MARK: Shared by the operations

    var nowNanoseconds: UInt64 { time.monotonicNanoseconds }

    func isFresh(_ validatedAt: UInt64) -> Bool {
        validatedAt == .max
            || (validatedAt > Self.recalledAt && nowNanoseconds < validatedAt &+ configuration.ttlNanoseconds)
    }

    /// Whether a listing is still the whole of its directory.
    func isFresh(_ listing: Listing) -> Bool {
        isFresh(listing.startedAt) && listing.aheadUntil.map { nowNanoseconds < $0 } ?? true
    }

    /// Whether something that was known at a time may serve: while it is fresh, or, with `acceptsStale`, ever after.
    func isUsable(_ validatedAt: UInt64, acceptsStale: Bool) -> Bool {
        isFresh(validatedAt) || (acceptsStale && validatedAt > 0)
    }

    func node(_ number: UInt64) -> Node? { tree.withLock { $0[number]?.node } }

    /// The key under which a name of a directory stands as a file; nil when the directory is gone or the key too long.
    func key(parent: Dentry, name: FileName) throws(FileSystemError) -> ObjectKey {
        guard let prefix = parent.prefix(root: configuration.prefix) else { throw FileSystemError(.stale) }
        guard let key = ObjectKey(prefix + NameCodec.segment(for: name)) else { throw FileSystemError(.nameTooLong) }
        return key
    }

    /// Refuses names that would be listed as another one.
    static func refuseIfNotCreatable(_ name: FileName) throws(FileSystemError) {
        if !NameCodec.isCreatable(name) { throw FileSystemError(.invalidArgument) }
    }

    /// The key of a directory's marker.
    func markerKey(of key: ObjectKey) throws(FileSystemError) -> ObjectKey {
        guard let marker = ObjectKey(key.bytes + "/") else { throw FileSystemError(.nameTooLong) }
        return marker
    }

    /// The path of a node, for messages.
    public func path(_ number: UInt64) -> String {
        tree.withLock { $0[number]?.path ?? "(inode \(number))" }
    }

    /// The name that a kernel's name stands for by itself.
    static func name(_ text: String) throws(FileSystemError) -> FileName {
        guard let name = FileName(text) else { throw FileSystemError(.invalidArgument) }
        if name.isLong { throw FileSystemError(.nameTooLong) }
        return name
    }

    static func kind(_ error: StoreError) -> FileSystemError { FileSystemError(error) }

    // MARK: References

    /// The kernel dropped `count` references to a node.
    public func forget(_ number: UInt64, count: UInt64) {
        tree.withLock { $0.forget(number, count: count) }
    }

    /// What df shows: plausible constants, since a bucket has no size and df must not cost a request.
    public var capacityBytes: Int { 1 << 50 }
}
