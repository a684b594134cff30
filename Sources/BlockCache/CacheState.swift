// What the lock of the cache guards, and the steps taken while it is held. No I/O, no callback and no release of a
// block happens here: steps return what is to be done, or let go of, after unlock.

internal import DequeModule
internal import ObjectModel

/// Read-ahead that was asked for and has not begun: it has no buffers yet.
struct QueuedAhead {
    let file: CachedFile
    let blocks: Range<Int>
    let window: AheadWindow
}

/// The state of a `BlockCache`. A value inside its lock.
struct CacheState {
    /// Reads of all streams after which one that had none of them has paused.
    static let idleReadCount = 4096

    /// The smallest share of memory, in blocks, that a stream reads ahead with.
    static let shareCountMin = 4

    let configuration: BlockCacheConfiguration
    let blockBytes: Int
    /// How many blocks all windows together may reserve.
    let aheadCountMax: Int
    /// How many GETs may be in flight, by what they have carried so far.
    var tuner: RequestTuner
    /// How many of them read-ahead may have, so that demand finds a free one.
    var aheadRequestCountMax: Int { max(1, tuner.count - tuner.count / 8) }

    /// Versions by key; seldom more than one for each.
    var files: [ObjectKey: [CachedFile]] = [:]
    var queue: EvictionQueue
    /// Fetches that somebody waits for, and that have their buffers.
    var demand: Deque<Fetch> = []
    var ahead: Deque<QueuedAhead> = []
    var aheadRequestsInFlight = 0
    /// The sum of the reservations of all open windows, and the windows that have one.
    var reservedCount = 0
    var activeWindows: [AheadWindow] = []
    /// What was fetched for no stream, in that order, and how many blocks of it there may be unread.
    let prefetched = AheadWindow(isShared: true)
    var prefetchOrder: Deque<(entry: BlockEntry, nanoseconds: UInt64)> = []
    let prefetchCountMax: Int
    var statistics = BlockCacheStatistics()

    init(configuration: BlockCacheConfiguration, blockBytes: Int, blockCountMax: Int) {
        self.configuration = configuration
        self.blockBytes = blockBytes
        aheadCountMax = Int(Double(blockCountMax) * configuration.readAheadShare)
        prefetchCountMax = blockCountMax / BlockCache.prefetchShareDivisor
        tuner = RequestTuner(countMax: configuration.requestCountMax)
        queue = EvictionQueue(
            blockCountMax: blockCountMax,
            spentCountMax: min(
                Int(Double(blockCountMax) * min(max(configuration.spentShare, 0), 1)),
                configuration.spentBytesMax / blockBytes))
    }

    // MARK: Hits

    /// The blocks of the range, when all are in memory.
    mutating func hit(_ file: CachedFile, _ range: ByteRange) -> ReadSlices? {
        var slices = ReadSlices()
        guard !range.isEmpty else { return slices }
        let first = range.lowerBound / blockBytes
        let last = (range.upperBound - 1) / blockBytes
        // Nothing is marked as used unless all of it is there.
        if first < last {
            for index in first...last where file.entries[index]?.block == nil { return nil }
        }
        for index in first...last {
            guard let entry = file.entries[index], let block = entry.block else { return nil }
            let part = self.part(of: range, inBlock: index)
            slices.append(BlockSlice(block: block, start: part.offset, count: part.count))
            use(entry, part)
        }
        return slices
    }

    /// What the range has of a block, as positions inside the block.
    func part(of range: ByteRange, inBlock index: Int) -> ByteRange {
        let start = index * blockBytes
        return ByteRange(max(range.lowerBound - start, 0), min(range.upperBound - start, blockBytes))
    }

    /// Notes that bytes of a block were read.
    mutating func use(_ entry: BlockEntry, _ part: ByteRange) {
        if part.lowerBound < entry.servedEnd { entry.isReused = true }
        entry.servedEnd = max(entry.servedEnd, part.upperBound)
        if part.lowerBound == entry.passBytes {
            entry.passBytes = part.upperBound
            if let block = entry.block { noteIfSpent(entry, block) }
        }
        if entry.window != nil { release(entry) }
    }

    // MARK: Reservations of read-ahead

    /// What a window may reserve, as it is read: an equal share for each active window, within what is left for all.
    mutating func room(_ window: AheadWindow) -> ReadAhead.Room {
        window.lastRead = statistics.hits + statistics.misses
        if reservedCount >= aheadCountMax { revokeIdleWindows() }
        let activeCount = activeWindows.count + (window.reservedCount == 0 ? 1 : 0)
        let share = min(aheadCountMax / activeCount, configuration.windowBytesMax / blockBytes + 1)
        // So little memory is better left to what is asked for.
        guard share >= Self.shareCountMin else { return ReadAhead.Room(shareBytes: 0, freeBytes: 0) }
        let freeCount = max(0, min(share - window.reservedCount, aheadCountMax - reservedCount))
        return ReadAhead.Room(shareBytes: share * blockBytes, freeBytes: freeCount * blockBytes)
    }

    mutating func reserve(_ count: Int, for window: AheadWindow) {
        guard window.isOpen, count > 0 else { return }
        if window.reservedCount == 0, !window.isShared { activeWindows.append(window) }
        window.reservedCount += count
        reservedCount += count
    }

    /// Ends reservations. A window that was revoked has none any more, though its blocks may still be there.
    mutating func unreserve(_ count: Int, of window: AheadWindow) {
        let count = min(count, window.reservedCount)
        guard count > 0 else { return }
        window.reservedCount -= count
        reservedCount -= count
        if window.reservedCount == 0 { activeWindows.removeAll { $0 === window } }
    }

    /// Readers that pause must not keep others from reading ahead: takes the right from those that were not read for
    /// a while. Their blocks stay until somebody needs the room.
    private mutating func revokeIdleWindows() {
        let now = statistics.hits + statistics.misses
        for window in activeWindows where now - window.lastRead > Self.idleReadCount {
            unreserve(window.reservedCount, of: window)
        }
    }

    /// Ends the reservation of a block: it was read, or is gone.
    mutating func release(_ entry: BlockEntry) {
        guard let window = entry.window else { return }
        entry.window = nil
        unreserve(1, of: window)
    }

    // MARK: Files

    /// The record of a version, made when there is none.
    mutating func intern(_ version: ObjectVersion) -> CachedFile {
        if let file = files[version.key]?.first(where: { $0.version == version }) { return file }
        let file = CachedFile(version: version)
        files[version.key, default: []].append(file)
        return file
    }

    /// Ends a use of the file by a stream or a parked read.
    mutating func leave(_ file: CachedFile, _ released: inout [Block]) {
        file.userCount -= 1
        dropIfRetired(file, &released)
        forgetIfUnused(file)
    }

    /// Nothing of a forgotten version stays when its last user has gone.
    mutating func dropIfRetired(_ file: CachedFile, _ released: inout [Block]) {
        if file.isRetired, file.userCount == 0 { dropBlocks(of: file, &released) }
    }

    /// Lets go of the record when nothing refers to it.
    mutating func forgetIfUnused(_ file: CachedFile) {
        guard file.userCount == 0, file.entries.isEmpty, !file.isRetired else { return }
        unlink(file)
    }

    private mutating func unlink(_ file: CachedFile) {
        let key = file.version.key
        files[key]?.removeAll { $0 === file }
        if files[key]?.isEmpty == true { files[key] = nil }
    }

    /// Makes new streams start afresh, and drops what is in memory. Fetches under way go on for their readers.
    mutating func retire(_ file: CachedFile, _ released: inout [Block]) {
        unlink(file)
        file.isRetired = true
        dropBlocks(of: file, &released)
    }

    mutating func dropBlocks(of file: CachedFile, _ released: inout [Block]) {
        for entry in Array(file.entries.values) where entry.block != nil { remove(entry, &released) }
    }

    // MARK: Blocks

    /// Takes a block out of memory.
    mutating func remove(_ entry: BlockEntry, _ released: inout [Block]) {
        release(entry)
        if let block = entry.remove() {
            if entry.servedEnd == 0 { statistics.blocksFetchedInVain += 1 }
            released.append(block)
            statistics.blocks -= 1
        }
    }

    /// Gives up blocks to make room for others.
    mutating func evict(_ count: Int, _ released: inout [Block]) {
        for _ in 0..<count {
            guard let entry = queue.next() else { return }
            evict(entry, &released)
        }
    }

    private mutating func evict(_ entry: BlockEntry, _ released: inout [Block]) {
        let file = entry.file!
        remove(entry, &released)
        statistics.evictions += 1
        forgetIfUnused(file)
    }

    /// Has a block that one pass has read from end to end leave before others.
    mutating func noteIfSpent(_ entry: BlockEntry, _ block: Block) {
        if entry.passBytes == block.byteCount { queue.noteSpent(entry) }
    }

    /// Gives up the spent blocks beyond their share.
    mutating func evictSpent(_ released: inout [Block]) {
        while let entry = queue.nextSpent() { evict(entry, &released) }
    }

    /// The blocks of the range that are neither in memory nor under way.
    func missing(_ file: CachedFile, _ blocks: Range<Int>) -> [Int] {
        blocks.filter { file.entries[$0] == nil }
    }

    // MARK: Read-ahead that has not begun

    /// Queues what is neither there, nor under way, nor queued.
    mutating func enqueueAhead(_ file: CachedFile, _ ranges: [ByteRange], _ window: AheadWindow) {
        guard window.isOpen else { return }
        for range in ranges {
            let all = range.lowerBound / blockBytes..<(range.upperBound + blockBytes - 1) / blockBytes
            let queued = ahead.filter { $0.file === file && $0.blocks.overlaps(all) }.map(\.blocks)
            for run in runs(
                all.filter { index in
                    file.entries[index] == nil && !queued.contains { $0.contains(index) }
                })
            {
                ahead.append(QueuedAhead(file: file, blocks: run, window: window))
                reserve(run.count, for: window)
            }
        }
    }

    /// Drops what was queued for a window, all of it or what lies in the range of blocks.
    mutating func dropQueued(_ window: AheadWindow, in blocks: Range<Int>? = nil) {
        var droppedCount = 0
        ahead.removeAll { item in
            guard item.window === window, blocks.map({ $0.overlaps(item.blocks) }) ?? true else { return false }
            droppedCount += item.blocks.count
            return true
        }
        unreserve(droppedCount, of: window)
    }

    /// The blocks that were queued for read-ahead right behind a run of demanded ones, not there yet: they can come
    /// with the same GET, up to its longest range.
    func continuation(of run: Range<Int>, in file: CachedFile) -> Range<Int> {
        let none = run.upperBound..<run.upperBound
        guard let item = ahead.first(where: { $0.file === file && $0.blocks.contains(run.upperBound) }) else {
            return none
        }
        let limit = min(item.blocks.upperBound, run.lowerBound + max(1, configuration.requestBytesMax / blockBytes))
        guard limit > run.upperBound else { return none }
        let end = (run.upperBound..<limit).first { file.entries[$0] != nil } ?? limit
        return run.upperBound..<end
    }

    /// Takes blocks out of the queue of read-ahead; returns whom they were for.
    mutating func dequeueAhead(_ blocks: Range<Int>, of file: CachedFile) -> AheadWindow? {
        guard let position = ahead.firstIndex(where: { $0.file === file && $0.blocks.overlaps(blocks) }) else {
            return nil
        }
        let item = ahead.remove(at: position)
        let taken = item.blocks.clamped(to: blocks)
        for rest in [taken.upperBound..<item.blocks.upperBound, item.blocks.lowerBound..<taken.lowerBound]
        where !rest.isEmpty {
            ahead.insert(QueuedAhead(file: file, blocks: rest, window: item.window), at: position)
        }
        unreserve(taken.count, of: item.window)
        return item.window
    }

    /// Whether more GETs would be made if more were allowed.
    var isPressed: Bool {
        !demand.isEmpty && statistics.requestsInFlight >= tuner.count
            || !ahead.isEmpty
                && (aheadRequestsInFlight >= aheadRequestCountMax || statistics.requestsInFlight >= tuner.count)
    }

    /// Whether somebody still waits for a block of the fetch.
    func isAwaited(_ fetch: Fetch) -> Bool {
        fetch.blocks.contains { index in
            guard let entry = fetch.file.entries[index], entry.fetch === fetch else { return false }
            return entry.waiters.contains { !$0.read.isOver }
        }
    }
}

/// Cuts ascending numbers into runs of neighbours.
func runs(_ indexes: [Int]) -> [Range<Int>] {
    var runs: [Range<Int>] = []
    for index in indexes {
        if let last = runs.last, last.upperBound == index {
            runs[runs.count - 1] = last.lowerBound..<index + 1
        } else {
            runs.append(index..<index + 1)
        }
    }
    return runs
}
