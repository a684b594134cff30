// Range reads over immutable object versions. Here: reading and what a hit needs.

public import Base
public import ObjectModel
public import ObjectStore

/// Serves range reads of object versions from blocks in memory, and fetches what is missing. Thread-safe.
public final class BlockCache: Sendable {
    /// The unit of caching and fetching in bytes: the buffer size of the pool.
    public let blockBytes: Int

    let store: any ObjectStore
    /// Asked before the store; nil without a disk cache.
    public let disk: DiskTier?
    let pool: BufferPool
    let configuration: BlockCacheConfiguration
    let time: any TimeSource
    /// One read too long for the pool at a time.
    let longReads = AsyncLimiter(limit: 1)

    // Lock order: this one, then nothing. The pool, the store, completions and the release of blocks are all outside.
    let state: Lock<CacheState>

    /// - Parameters:
    ///   - disk: started by the caller; its blocks are as large as the pool's buffers.
    ///   - pool: where every block lives. The cache becomes its reclaimer: it gives up blocks when memory is short.
    public init(
        store: any ObjectStore, pool: BufferPool, disk: DiskTier? = nil,
        configuration: BlockCacheConfiguration = .init(), time: any TimeSource = SystemTime()
    ) {
        precondition(disk.map { $0.blockBytes == pool.bufferBytes } ?? true, "one block size in memory and on disk")
        precondition(configuration.requestCountMax > 0, "at least one request at a time")
        blockBytes = pool.bufferBytes
        self.store = store
        self.disk = disk
        self.pool = pool
        self.configuration = configuration
        self.time = time
        state = Lock(
            CacheState(configuration: configuration, blockBytes: pool.bufferBytes, blockCountMax: pool.bufferCountMax))
        pool.setReclaimer { [weak self] count in self?.evict(count) }
    }

    deinit {
        // Entries and files refer to each other.
        state.withLock { state in
            for file in state.files.values.joined() {
                for entry in Array(file.entries.values) { _ = entry.remove() }
            }
        }
    }

    public var statistics: BlockCacheStatistics {
        state.withLock { state in
            var statistics = state.statistics
            statistics.requestsInFlightMax = state.tuner.count
            return statistics
        }
    }

    /// Reads a range, which must lie inside the version.
    ///
    /// A hit is answered at once, with no task, no wait and no network (it may start read-ahead, which has tasks of its
    /// own). Otherwise `completion` is called exactly once, on any thread, it may be before this call returns, and never
    /// under a lock. Hold the slices only as long as it takes to send them.
    ///
    /// An error is the store's, after all its retries; `.preconditionFailed` when the object has another version now.
    public func read(
        _ stream: ReadStream, range: ByteRange,
        completion: @escaping @Sendable (Result<ReadSlices, StoreError>) -> Void
    ) -> ReadAnswer {
        precondition(range.upperBound <= stream.version.byteCount, "a read lies inside the object")
        let attachment = stream.attachment(in: self)
        var released: [Block] = []
        let (hit, isMissing, room): (ReadSlices?, Bool, ReadAhead.Room) = state.withLock { state in
            let room = state.room(attachment.window)
            if let slices = state.hit(attachment.file, range) {
                state.evictSpent(&released)
                state.statistics.hits += 1
                state.statistics.bytesServed += slices.byteCount
                return (slices, false, room)
            }
            state.statistics.misses += 1
            // The parked read's use of the file.
            attachment.file.userCount += 1
            return (nil, !state.missing(attachment.file, blocks(of: range)).isEmpty, room)
        }
        if let ahead = attachment.ahead {
            let advice = ahead.withLock { ahead in
                if isMissing { ahead.missed(range) }
                return ahead.read(range, room, isHit: hit != nil)
            }
            if !advice.fetch.isEmpty || !advice.drop.isEmpty {
                follow(advice, attachment, reading: blocks(of: range))
                if hit != nil { startFetches() }
            }
        }
        if let hit { return .hit(hit) }

        let read = ParkedRead(cache: self, file: attachment.file, range: range, completion: completion)
        if blocks(of: range).count > longReadBlockCount {
            readInParts(read)
        } else {
            begin(read)
        }
        return .parked(read)
    }

    /// Reads a range of a handle. Cancelling the task gives the read up with `.cancelled`.
    public func read(_ stream: ReadStream, range: ByteRange) async throws(StoreError) -> ReadSlices {
        let outcome = OneShot<Result<ReadSlices, StoreError>>()
        switch read(stream, range: range, completion: { outcome.set($0) }) {
        case .hit(let slices):
            return slices
        case .parked(let read):
            let result = await withTaskCancellationHandler {
                await outcome.wait()
            } onCancel: {
                read.abandon()
            }
            return try result.get()
        }
    }

    /// Reads a range outside of any handle, without read-ahead. Cancelling the task gives the read up with `.cancelled`.
    public func read(_ version: ObjectVersion, range: ByteRange) async throws(StoreError) -> ReadSlices {
        try await read(ReadStream(version: version, readsAhead: false), range: range)
    }

    /// Drops the blocks of one version. Streams that are open on it go on reading, and fetch again.
    public func forget(_ version: ObjectVersion) {
        forget(version.key) { $0 == version }
    }

    /// Drops the blocks of every version of a key.
    public func forget(_ key: ObjectKey) {
        forget(key) { _ in true }
    }

    private func forget(_ key: ObjectKey, where isMeant: (ObjectVersion) -> Bool) {
        var released: [Block] = []
        state.withLock { state in
            for file in state.files[key] ?? [] where isMeant(file.version) { state.retire(file, &released) }
        }
    }

    /// The numbers of the blocks that a range touches.
    func blocks(of range: ByteRange) -> Range<Int> {
        range.isEmpty ? 0..<0 : range.lowerBound / blockBytes..<(range.upperBound - 1) / blockBytes + 1
    }

    /// Reads of more blocks than this would need too much of the pool at once.
    var longReadBlockCount: Int { max(1, pool.bufferCountMax / 2) }

    /// The pool is short of buffers: gives some up.
    func evict(_ count: Int) {
        var released: [Block] = []
        state.withLock { $0.evict(count, &released) }
    }
}
