// Bytes fetched before a program asks for them, for no stream: the beginning of a file that is being looked up or
// opened, and small files that are likely to be opened next.

internal import Base
public import ObjectModel
public import ObjectStore

/// What became of a wish to have bytes in memory.
public enum PrefetchOutcome: Sendable, Equatable {
    /// A GET for them begins; the completion is called at its end.
    case started
    /// A GET of somebody else's brings them.
    case underWay
    case inMemory
    /// No buffer, no place among the requests, or too much was fetched in advance already.
    case noRoom
}

extension BlockCache {
    /// How long what nobody reads may keep others from being fetched in advance.
    static let prefetchNanosecondsMax: UInt64 = 10_000_000_000
    /// Which part of the memory may hold what was prefetched and not read.
    static let prefetchShareDivisor = 8

    /// Begins to fetch the first `byteCount` bytes of a version with one GET, if its first block is not there. Never
    /// waits. Readers that come meanwhile share the GET. Bytes that nobody reads for a while lose their protection
    /// against eviction.
    /// - Parameters:
    ///   - isUrgent: somebody waits for the answer: not bound by what read-ahead may have under way.
    ///   - completion: called once if the outcome is `.started`, on any thread, without a lock: what the store said of the
    ///     object (nil when the bytes came from below the memory without asking it), or the error.
    public func prefetch(
        _ version: ObjectVersion, byteCount: Int, isUrgent: Bool,
        completion: @escaping @Sendable (Result<ObjectInfo?, StoreError>) -> Void = { _ in }
    ) -> PrefetchOutcome {
        let wanted = min(byteCount, version.byteCount, max(blockBytes, configuration.requestBytesMax))
        let blocks = blocks(of: ByteRange(0, wanted))
        guard !blocks.isEmpty else { return .noRoom }
        let refusal = state.withLock { $0.refusal(version, blocks.count, isUrgent, now: time.monotonicNanoseconds) }
        if let refusal { return refusal }
        guard let leased = pool.lease(count: blocks.count) else { return .noRoom }
        var leases: BufferLeases? = consume leased
        let fetch: Fetch? = state.withLock { state in
            let file = state.intern(version)
            // Somebody may have been faster.
            guard let run = runs(state.missing(file, blocks)).first, run.lowerBound == 0 else { return nil }
            var granted = leases.take()!
            let fetch = Fetch(
                cache: self, file: file, blocks: run, leases: granted.take(count: run.count),
                window: state.prefetched, completion: completion)
            let now = time.monotonicNanoseconds
            for index in run {
                let entry = BlockEntry(file: file, index: index, fetch: fetch, window: state.prefetched)
                state.prefetchOrder.append((entry, now))
            }
            leases = consume granted
            state.reserve(run.count, for: state.prefetched)
            state.limitPrefetched(now: now)
            state.prefetched.fetches.append(fetch)
            state.statistics.blocksFetchedAhead += run.count
            state.statistics.requestsInFlight += 1
            state.aheadRequestsInFlight += 1
            return fetch
        }
        leases = nil
        guard let fetch else { return .underWay }
        launch(fetch)
        return .started
    }

    /// Whether the first block of a version is in memory or under way.
    public func holdsBeginning(of version: ObjectVersion) -> Bool {
        state.withLock { $0.file(version)?.entries[0] != nil }
    }

    /// How much of a version is fetched when it is looked up or opened, in bytes: all of a small one, else the first block.
    public func beginningBytes(of version: ObjectVersion) -> Int {
        isSmall(version) ? version.byteCount : blockBytes
    }

    /// Whether a version comes whole with its first request.
    public func isSmall(_ version: ObjectVersion) -> Bool {
        version.byteCount <= configuration.beginningBlockCount * blockBytes
    }

    /// Asks for an object of which only the key is known, and keeps its first blocks. Nil when there are no buffers for them
    /// now: a HEAD tells as much.
    ///
    /// An empty object has no range to ask for: `.invalidRange`.
    public func beginning(of key: ObjectKey) async throws(StoreError) -> ObjectInfo? {
        guard let leases = pool.lease(count: configuration.beginningBlockCount) else { return nil }
        let byteCountMax = leases.count * blockBytes
        let sink = FirstBlocks(leases, blockBytes: blockBytes)
        state.withLock { $0.statistics.requests += 1 }
        let info = try await store.get(
            GetRequest(key: key, etag: nil, range: ByteRange(0, byteCountMax)), into: sink)
        guard let blocks = sink.take(of: info.version) else {
            throw StoreError(
                .malformedResponse, operation: "GetObject", key: key, message: "the body is not what its head announced"
            )
        }
        var released: [Block] = []
        state.withLock { state in
            let file = state.intern(info.version)
            for (index, block) in blocks.enumerated() {
                state.statistics.bytesFetched += block.byteCount
                guard file.entries[index] == nil else {
                    released.append(block)
                    continue
                }
                let entry = BlockEntry(file: file, index: index, block: block)
                state.statistics.blocks += 1
                state.queue.insert(entry)
            }
        }
        for (index, block) in blocks.enumerated() { disk?.offer(info.version, index, block) }
        let shortage = pool.shortage
        if shortage > 0 { evict(shortage) }
        return info
    }
}

extension CacheState {
    /// The record of a version, if there is one.
    func file(_ version: ObjectVersion) -> CachedFile? { files[version.key]?.first { $0.version == version } }

    /// Why `count` blocks from the start of a version are not to be prefetched now.
    fileprivate mutating func refusal(
        _ version: ObjectVersion, _ count: Int, _ isUrgent: Bool, now: UInt64
    ) -> PrefetchOutcome? {
        if let first = file(version)?.entries[0] { return first.block == nil ? .underWay : .inMemory }
        // Refused, who waits would ask by a HEAD, and then for the bytes.
        if isUrgent { return nil }
        guard statistics.requestsInFlight < tuner.count, aheadRequestsInFlight < aheadRequestCountMax
        else { return .noRoom }
        limitPrefetched(now: now)
        return prefetched.reservedCount + count <= max(1, prefetchCountMax) ? nil : .noRoom
    }

    /// Ends the protection of what was prefetched long ago, and of the oldest where there is too much: what somebody waited
    /// for is fetched whatever there is already.
    fileprivate mutating func limitPrefetched(now: UInt64) {
        while let oldest = prefetchOrder.first {
            let isStale = now >= oldest.nanoseconds &+ BlockCache.prefetchNanosecondsMax
            // What was read, or lost its place, is at the front only until somebody looks.
            guard oldest.entry.window !== prefetched || isStale || prefetched.reservedCount > max(1, prefetchCountMax)
            else { return }
            if oldest.entry.window === prefetched { release(oldest.entry) }
            prefetchOrder.removeFirst()
        }
    }
}

/// Receives the first blocks of an object. Called by the store's threads, one at a time.
private final class FirstBlocks: BodySink {
    private final class Body {
        /// The next block is filled in the next of them.
        var leases: BufferLeases
        var blocks: [Block] = []
        /// Bytes in the block being filled.
        var currentBytes = 0
        var info: ObjectInfo?
        var isOver = false

        init(_ leases: consuming BufferLeases) {
            self.leases = leases
        }
    }

    private let body: Lock<Body>
    private let blockBytes: Int
    private let byteCountMax: Int

    init(_ leases: consuming BufferLeases, blockBytes: Int) {
        self.blockBytes = blockBytes
        byteCountMax = leases.count * blockBytes
        body = Lock(Body(leases))
    }

    func begin(_ info: ObjectInfo, range: ByteRange) {
        body.withLock { body in
            body.info = info
            if range.lowerBound != 0 { body.isOver = true }
        }
    }

    func receive(_ bytes: UnsafeRawBufferPointer) {
        body.withLock { body in
            var rest = bytes
            while !body.isOver, let start = rest.baseAddress, !rest.isEmpty {
                guard body.leases.count > 0 else {
                    body.isOver = true
                    return
                }
                let count = min(rest.count, blockBytes - body.currentBytes)
                // SAFETY: the buffer has room for `blockBytes` and belongs to this sink until it is a block.
                body.leases.nextPointer.advanced(by: body.currentBytes).copyMemory(from: start, byteCount: count)
                body.currentBytes += count
                if body.currentBytes == blockBytes { finishBlock(body) }
                rest = UnsafeRawBufferPointer(rebasing: rest[count...])
            }
        }
    }

    private func finishBlock(_ body: Body) {
        body.blocks.append(Block(body.leases.take(), byteCount: body.currentBytes))
        body.currentBytes = 0
    }

    /// The blocks, when the body was exactly what was asked for. Bytes that come later are ignored.
    func take(of version: ObjectVersion) -> [Block]? {
        body.withLock { body in
            guard !body.isOver, body.info?.version == version else { return nil }
            body.isOver = true
            let byteCount = body.blocks.count * blockBytes + body.currentBytes
            guard byteCount > 0, byteCount == min(byteCountMax, version.byteCount) else { return nil }
            if body.currentBytes > 0 { finishBlock(body) }
            defer { body.blocks = [] }
            return body.blocks
        }
    }
}
