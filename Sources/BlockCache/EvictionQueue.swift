// Which block makes room for another. A scan-resistant policy of two queues: new blocks stand in a short one, and
// only those that are used a second time, there or soon after they left it, reach the long one. One pass over a file
// larger than memory so drives out other one-pass data and leaves what is used again alone.
//
// The idea is S3-FIFO (Yang et al., "FIFO queues are all you need for cache eviction", SOSP 2023). No lists are
// reordered on a hit; a hit only marks its entry.

internal import DequeModule

/// The blocks in memory in the order of their eviction. A value inside the cache's lock.
struct EvictionQueue {
    /// Names a block that has left.
    private struct Ghost: Hashable {
        let file: Int
        let index: Int
    }

    /// Entries that were removed from the index stay in the queues until they come to the front.
    private var probation: Deque<BlockEntry> = []
    private var main: Deque<BlockEntry> = []
    /// Entries of both that one pass has read from end to end, in that order.
    private var spent: Deque<BlockEntry> = []
    private var ghostOrder: Deque<Ghost> = []
    private var ghosts: Set<Ghost> = []
    private let blockCountMax: Int
    private let spentCountMax: Int

    /// - Parameters:
    ///   - blockCountMax: how many blocks the memory can hold.
    ///   - spentCountMax: how many of them may be spent ones.
    init(blockCountMax: Int, spentCountMax: Int) {
        self.blockCountMax = blockCountMax
        self.spentCountMax = spentCountMax
    }

    /// Adds a block that has just come to memory.
    mutating func insert(_ entry: BlockEntry) {
        let ghost = Ghost(file: entry.file!.hash, index: entry.index)
        entry.isProven = ghosts.remove(ghost) != nil
        putBack(entry)
        if probation.count + main.count > 2 * blockCountMax + 64 { dropDeadEntries() }
    }

    private mutating func putBack(_ entry: BlockEntry) {
        if entry.isProven { main.append(entry) } else { probation.append(entry) }
    }

    /// Notes that a block in memory was read from end to end, once.
    ///
    /// What was evicted a moment before stays all the same, unless the disk has it: whoever reads long files again and
    /// again is served by the kernel's page cache and by the disk, and memory is for what is read in pieces.
    mutating func noteSpent(_ entry: BlockEntry) {
        if isPassing(entry) { spent.append(entry) }
    }

    private func isPassing(_ entry: BlockEntry) -> Bool {
        !entry.isReused && (!entry.isProven || entry.isOnDisk)
    }

    /// The next of the spent entries beyond their share, to be evicted; nil when there is none. It stays in its
    /// queue, dead. One that was used again since is not spent any more.
    mutating func nextSpent() -> BlockEntry? {
        while spent.count > spentCountMax, let entry = spent.popFirst() {
            guard entry.block != nil, isPassing(entry) else { continue }
            remember(entry)
            return entry
        }
        return nil
    }

    /// Keeps the queues short when blocks leave by other ways than eviction.
    private mutating func dropDeadEntries() {
        probation.removeAll { $0.block == nil }
        main.removeAll { $0.block == nil }
        spent.removeAll { $0.block == nil }
    }

    /// Takes the next entry to evict out of the queues; nil when there is none.
    ///
    /// New blocks go first, until the others hold nine tenths of the memory. Last come blocks that were fetched ahead
    /// for a stream that still reads, and those that a reply is being sent from: they give no memory back yet.
    mutating func next() -> BlockEntry? {
        let isMainFirst = main.count * 10 > blockCountMax * 9
        for sparing in [true, false] {
            for isMain in [isMainFirst, !isMainFirst] {
                if let entry = next(isMain, sparing: sparing) {
                    remember(entry)
                    return entry
                }
            }
        }
        return nil
    }

    /// Looks at each entry of a queue, in the long one twice: once to take its mark.
    private mutating func next(_ isMain: Bool, sparing: Bool) -> BlockEntry? {
        for _ in 0..<(isMain ? 2 * main.count : probation.count) {
            guard let entry = isMain ? main.popFirst() : probation.popFirst() else { return nil }
            guard entry.block != nil else { continue }
            if entry.isReused {
                entry.isReused = false
                entry.isProven = true
            } else if !sparing || !isSpared(entry) {
                return entry
            }
            putBack(entry)
        }
        return nil
    }

    private func isSpared(_ entry: BlockEntry) -> Bool {
        if let window = entry.window, window.reservedCount > 0 { return true }
        return !isKnownUniquelyReferenced(&entry.block)
    }

    private mutating func remember(_ entry: BlockEntry) {
        let ghost = Ghost(file: entry.file!.hash, index: entry.index)
        guard ghosts.insert(ghost).inserted else { return }
        ghostOrder.append(ghost)
        if ghostOrder.count > blockCountMax, let oldest = ghostOrder.popFirst() { ghosts.remove(oldest) }
    }
}
