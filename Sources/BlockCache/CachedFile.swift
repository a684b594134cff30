// One object version and its blocks: the index of the cache.

internal import ObjectModel

/// The blocks of one object version. Interned: streams hold it, so that the hot path hashes a block number and no text.
///
/// SAFETY: `@unchecked Sendable` because every `var` is touched only under the lock of the cache.
final class CachedFile: @unchecked Sendable {
    let version: ObjectVersion
    /// Names the version in the memory of evicted blocks; the same for each interning of a version.
    let hash: Int

    /// By block number: what is in memory or under way.
    var entries: [Int: BlockEntry] = [:]
    /// Streams and parked reads.
    var userCount = 0
    /// Forgotten: not found by new streams, and nothing of it outlives the open ones.
    var isRetired = false

    init(version: ObjectVersion) {
        self.version = version
        hash = version.hashValue
    }
}

/// One block that is in memory (`block`) or under way (`fetch`); exactly one of the two is set while it is indexed.
///
/// under way → in memory (published) → gone (evicted or forgotten); under way → gone (the fetch failed).
///
/// SAFETY: as for `CachedFile`.
final class BlockEntry: @unchecked Sendable {
    let index: Int
    /// Nil once the entry is gone; queues may still hold it for a while.
    private(set) var file: CachedFile?
    var block: Block?
    var fetch: Fetch?
    /// The reads that wait for the bytes, each with the position of the block in its answer.
    var waiters: [(read: ParkedRead, position: Int)] = []

    /// Fetched ahead for this window, and not read yet.
    var window: AheadWindow?
    /// The end of what was read of it in the present pass; a read that begins before is a second use. So the pieces of
    /// one sequential pass do not look like reuse.
    var servedEnd = 0
    /// How much of it was read in a row from its first byte on.
    var passBytes = 0
    /// Used again since eviction last looked.
    var isReused = false
    /// Whether it stands in the long queue of eviction.
    var isProven = false
    /// Whether its bytes came from disk, where they can be had again.
    var isOnDisk = false

    init(file: CachedFile, index: Int, fetch: Fetch, window: AheadWindow? = nil) {
        self.file = file
        self.index = index
        self.fetch = fetch
        self.window = window
        file.entries[index] = self
    }

    /// A block that came by other ways than a fetch.
    init(file: CachedFile, index: Int, block: Block) {
        self.file = file
        self.index = index
        self.block = block
        file.entries[index] = self
    }

    /// Takes the entry out of the index and returns its bytes, to be released outside of the lock.
    func remove() -> Block? {
        file?.entries[index] = nil
        file = nil
        fetch = nil
        defer { block = nil }
        return block
    }
}

/// What one stream has fetched ahead, or is about to: its share of the memory budget.
///
/// SAFETY: as for `CachedFile`.
final class AheadWindow: @unchecked Sendable {
    /// False once the stream is gone: nothing more is fetched for it.
    var isOpen = true
    /// Blocks asked for and not read yet, that the window has a right to.
    var reservedCount = 0
    /// The number of the cache's last read that was of this stream.
    var lastRead = 0
    /// Read-ahead GETs in flight.
    var fetches: [Fetch] = []
    /// Whether it is no stream's: it takes no share from those that read.
    let isShared: Bool

    init(isShared: Bool = false) {
        self.isShared = isShared
    }
}
