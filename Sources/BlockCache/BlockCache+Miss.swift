// A read that is not all in memory: it gets every buffer it needs in one step, or waits in line holding none. That is
// why reads cannot starve each other however small the budget is: whoever holds buffers has all that it needs, so it
// ends, and the line moves.

internal import Base
internal import ObjectModel
internal import ObjectStore

extension BlockCache {
    /// Registers a miss with what is under way, and fetches the rest as soon as there are buffers for it.
    func begin(_ read: ParkedRead) {
        let (demandCount, tailCount): (Int, Int) = state.withLock { state in
            let missing = runs(state.missing(read.file, blocks(of: read.range)))
            let tail = missing.last.map { state.continuation(of: $0, in: read.file).count }
            return (missing.reduce(0) { $0 + $1.count }, tail ?? 0)
        }
        if demandCount == 0 {
            settle(read, BufferLeases())
        } else if tailCount > 0, let leases = pool.lease(count: demandCount + tailCount) {
            settle(read, leases)
        } else {
            pool.whenFree(count: demandCount) { [self] in settle(read, $0) }
        }
    }

    private enum Settlement {
        case answered, waiting
        /// Blocks left memory in the meantime: this many buffers will do whatever happens.
        case lacking(Int)
    }

    /// Registers a miss, now that it has buffers.
    private func settle(_ read: ParkedRead, _ leases: consuming BufferLeases) {
        var leases = leases
        var released: [Block] = []
        let settlement = state.withLock { state in
            let settlement = settle(read, &leases, &state)
            if case .answered = settlement { state.leave(read.file, &released) }
            return settlement
        }
        _ = consume leases
        switch settlement {
        case .answered:
            answer(read)
            startFetches()
        case .waiting: startFetches()
        case .lacking(let count): pool.whenFree(count: count) { [self] in settle(read, $0) }
        }
    }

    private func settle(_ read: ParkedRead, _ leases: inout BufferLeases, _ state: inout CacheState) -> Settlement {
        guard !read.isOver else { return .waiting }
        let file = read.file
        let span = blocks(of: read.range)
        let missing = state.missing(file, span)
        guard missing.count <= leases.count else { return .lacking(span.count) }

        let missingRuns = runs(missing)
        let tailCountMax = leases.count - missing.count
        for run in missingRuns {
            let tail =
                run == missingRuns.last
                ? state.continuation(of: run, in: file).prefix(tailCountMax) : run.upperBound..<run.upperBound
            let window = tail.isEmpty ? nil : state.dequeueAhead(tail, of: file)
            enqueue(run.lowerBound..<tail.upperBound, ahead: tail, for: window, of: file, &leases, &state)
        }
        var isAnswered = false
        for index in span {
            let entry = file.entries[index]!
            state.use(entry, state.part(of: read.range, inBlock: index))
            let position = index - span.lowerBound
            if let block = entry.block {
                isAnswered = read.take(block, at: position)
            } else {
                entry.waiters.append((read, position))
            }
        }
        return isAnswered ? .answered : .waiting
    }

    /// Puts missing blocks under way by demand fetches, the last of which brings the blocks of `tail` as well.
    private func enqueue(
        _ blocks: Range<Int>, ahead tail: Range<Int>, for window: AheadWindow?, of file: CachedFile,
        _ leases: inout BufferLeases, _ state: inout CacheState
    ) {
        let countMax = max(1, configuration.requestBytesMax / blockBytes)
        var start = blocks.lowerBound
        while start < blocks.upperBound {
            let part = start..<min(start + countMax, blocks.upperBound)
            let fetch = Fetch(
                cache: self, file: file, blocks: part, leases: leases.take(count: part.count), window: nil)
            for index in part {
                let isAhead = tail.contains(index)
                _ = BlockEntry(file: file, index: index, fetch: fetch, window: isAhead ? window : nil)
            }
            state.demand.append(fetch)
            start = part.upperBound
        }
        if let window {
            state.reserve(tail.count, for: window)
            state.statistics.blocksFetchedAhead += tail.count
        }
    }

    /// Reports a read whose blocks have all come; without a lock.
    func answer(_ read: ParkedRead) {
        state.withLock { $0.statistics.bytesServed += read.range.count }
        read.answer()
    }

    /// Ends a read otherwise; nothing happens when it is over.
    func end(_ read: ParkedRead, _ result: Result<ReadSlices, StoreError>) {
        var released: [Block] = []
        let blocks: [Block?]? = state.withLock { state in
            guard let blocks = read.end() else { return nil }
            state.leave(read.file, &released)
            switch result {
            case .success(let slices): state.statistics.bytesServed += slices.byteCount
            case .failure: state.statistics.failures += 1
            }
            return blocks
        }
        guard blocks != nil else { return }
        read.report(result)
    }

    /// The answer of a read made of its blocks.
    func slices(_ range: ByteRange, _ blocks: [Block?]) -> ReadSlices {
        var slices = ReadSlices()
        var offset = range.lowerBound
        for block in blocks {
            let start = offset % blockBytes
            let count = min(range.upperBound - offset, blockBytes - start)
            slices.append(BlockSlice(block: block!, start: start, count: count))
            offset += count
        }
        return slices
    }

    /// Answers a read that needs too much of the pool at once: part after part, gathered in memory of its own.
    func readInParts(_ read: ParkedRead) {
        Task {
            await longReads.run {
                let memory = UnsafeMutableRawPointer.allocate(byteCount: read.range.count, alignment: 4096)
                let block = Block(owning: memory, byteCount: read.range.count)
                var offset = read.range.lowerBound
                while offset < read.range.upperBound {
                    let end = min((offset / blockBytes + longReadBlockCount) * blockBytes, read.range.upperBound)
                    guard !state.withLock({ _ in read.isOver }) else { return }
                    do throws(StoreError) {
                        let part = try await self.read(read.file.version, range: ByteRange(offset, end))
                        // SAFETY: the block is not shared before it is full; `memory` has room for the whole range.
                        part.copy(
                            into: UnsafeMutableRawBufferPointer(
                                start: memory + (offset - read.range.lowerBound), count: end - offset))
                    } catch {
                        return self.end(read, .failure(error))
                    }
                    offset = end
                }
                var slices = ReadSlices()
                slices.append(BlockSlice(block: block, start: 0, count: read.range.count))
                self.end(read, .success(slices))
            }
        }
    }
}
