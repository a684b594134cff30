// Fetches: which one starts, how it runs, what its blocks and its end mean for those who wait. Bytes come from the store
// in `run`, from disk in `readFromDisk`.

internal import Base
internal import DequeModule
internal import ObjectModel
internal import ObjectStore

extension BlockCache {
    // MARK: Read-ahead

    func readAheadParameters(_ version: ObjectVersion) -> ReadAhead.Parameters {
        var parameters = ReadAhead.Parameters(
            blockBytes: blockBytes, objectBytes: version.byteCount, windowBytesMax: configuration.windowBytesMax,
            requestBytesMax: max(blockBytes, configuration.requestBytesMax / blockBytes * blockBytes))
        if isReadInPieces(version) { parameters.expectPieces() }
        return parameters
    }

    /// Queues and drops read-ahead as the pattern says.
    /// - Parameter wanted: the blocks of the read that gave the advice. It does not wait for them yet, but what fetches
    ///   them is spared.
    func follow(_ advice: ReadAhead.Advice, _ attachment: ReadStream.Attachment, reading wanted: Range<Int>) {
        let tasks = state.withLock { state in
            var tasks: [Task<Void, Never>] = []
            for range in advice.drop {
                tasks += drop(blocks(of: range), of: attachment.file, attachment.window, sparing: wanted, &state)
            }
            state.enqueueAhead(attachment.file, advice.fetch, attachment.window)
            return tasks
        }
        for task in tasks { task.cancel() }
    }

    /// Gives up what was fetched ahead and is not expected to be read; returns the tasks to cancel after unlock.
    private func drop(
        _ blocks: Range<Int>, of file: CachedFile, _ window: AheadWindow, sparing wanted: Range<Int>,
        _ state: inout CacheState
    ) -> [Task<Void, Never>] {
        state.dropQueued(window, in: blocks)
        for index in blocks {
            if let entry = file.entries[index], entry.window === window { state.release(entry) }
        }
        return giveUp(window.fetches.filter { blocks.overlaps($0.blocks) && !wanted.overlaps($0.blocks) }, state)
    }

    private func giveUp(_ fetches: [Fetch], _ state: CacheState) -> [Task<Void, Never>] {
        fetches.filter { !$0.isGivenUp && !state.isAwaited($0) }.compactMap { fetch in
            fetch.isGivenUp = true
            return fetch.task
        }
    }

    // MARK: Streams

    func open(_ version: ObjectVersion) -> CachedFile {
        state.withLock { state in
            let file = state.intern(version)
            file.userCount += 1
            return file
        }
    }

    func close(_ file: CachedFile, _ window: AheadWindow) {
        var released: [Block] = []
        let tasks = state.withLock { state in
            state.dropQueued(window)
            state.unreserve(window.reservedCount, of: window)
            window.isOpen = false
            state.leave(file, &released)
            return giveUp(window.fetches, state)
        }
        for task in tasks { task.cancel() }
    }

    // MARK: Starting

    private enum Start {
        case fetch(Fetch)
        /// Nobody waits for it any more.
        case discard(Fetch)
        /// Read-ahead that has its place among the requests, and needs buffers.
        case ahead(QueuedAhead)
        case nothing
    }

    /// Starts what there is room for, demand first.
    func startFetches() {
        while true {
            switch state.withLock({ nextStart(&$0) }) {
            case .fetch(let fetch): launch(fetch)
            case .discard(let fetch): finish(fetch, nil, wasInFlight: false)
            case .ahead(let item): launchAhead(item)
            case .nothing: return
            }
        }
    }

    private func nextStart(_ state: inout CacheState) -> Start {
        guard state.statistics.requestsInFlight < state.tuner.count else { return .nothing }
        if let fetch = state.demand.popFirst() {
            guard state.isAwaited(fetch) else {
                fetch.isGivenUp = true
                return .discard(fetch)
            }
            state.statistics.requestsInFlight += 1
            return .fetch(fetch)
        }
        while state.aheadRequestsInFlight < state.aheadRequestCountMax, let item = state.ahead.popFirst() {
            state.unreserve(item.blocks.count, of: item.window)
            let missing = runs(state.missing(item.file, item.blocks))
            guard let first = missing.first else { continue }
            for rest in missing.dropFirst().reversed() {
                state.ahead.prepend(QueuedAhead(file: item.file, blocks: rest, window: item.window))
                state.reserve(rest.count, for: item.window)
            }
            state.statistics.requestsInFlight += 1
            state.aheadRequestsInFlight += 1
            return .ahead(QueuedAhead(file: item.file, blocks: first, window: item.window))
        }
        return .nothing
    }

    /// Starts read-ahead if there are buffers now, for a part of it if need be; else it is not done at all: its reader
    /// will ask.
    private func launchAhead(_ item: QueuedAhead) {
        var leases: BufferLeases?
        var count = item.blocks.count
        while count > 0 {
            leases = pool.lease(count: count)
            if leases != nil { break }
            count /= 4
        }
        var granted = leases.take() ?? BufferLeases()
        let fetch: Fetch? = state.withLock { state in
            let run = runs(state.missing(item.file, item.blocks.prefix(granted.count))).first
            guard let run, item.window.isOpen else {
                state.statistics.requestsInFlight -= 1
                state.aheadRequestsInFlight -= 1
                return nil
            }
            let fetch = Fetch(
                cache: self, file: item.file, blocks: run, leases: granted.take(count: run.count), window: item.window)
            for index in run { _ = BlockEntry(file: item.file, index: index, fetch: fetch, window: item.window) }
            state.reserve(run.count, for: item.window)
            item.window.fetches.append(fetch)
            state.statistics.blocksFetchedAhead += run.count
            return fetch
        }
        _ = consume granted
        if let fetch { launch(fetch) }
    }

    /// From disk, if there is one that can be asked; what it lacks is sent on to the store.
    func launch(_ fetch: Fetch) {
        if let disk, disk.submitRead({ self.readFromDisk(fetch, disk) }) { return }
        launchRequest(fetch)
    }

    /// From the store.
    func launchRequest(_ fetch: Fetch) {
        let task = Task { await self.run(fetch) }
        let isGivenUp = state.withLock { state in
            state.statistics.requests += 1
            if fetch.window != nil { state.statistics.readAheadRequests += 1 }
            fetch.task = task
            return fetch.isGivenUp
        }
        if isGivenUp { task.cancel() }
    }

    // MARK: Running

    /// Fills the blocks of a fetch from the store.
    private func run(_ fetch: Fetch) async {
        let start = time.monotonicNanoseconds
        do throws(StoreError) {
            _ = try await store.get(fetch.request, into: fetch)
            finish(fetch, nil, wasInFlight: true, start: start)
        } catch {
            finish(fetch, error, wasInFlight: true, start: start)
        }
    }

    /// Makes full blocks known, neighbours from block `first` on; called on a transport thread, or on one of the disk
    /// tier.
    func publish(_ blocks: some Collection<Block>, from first: Int, of fetch: Fetch, isFromDisk: Bool = false) {
        var released: [Block] = []
        var isCurrent = false
        var answered: [ParkedRead] = []
        state.withLock { state in
            isCurrent = !fetch.file.isRetired
            for (block, index) in zip(blocks, first...) {
                if !isFromDisk { state.statistics.bytesFetched += block.byteCount }
                guard let entry = fetch.file.entries[index], entry.fetch === fetch else { continue }
                entry.fetch = nil
                entry.block = block
                entry.isOnDisk = isFromDisk
                state.statistics.blocks += 1
                let waiters = entry.waiters
                entry.waiters = []
                state.queue.insert(entry)
                // Who waits for all of it reads it now.
                state.noteIfSpent(entry, block)
                for waiter in waiters where waiter.read.take(block, at: waiter.position) {
                    answered.append(waiter.read)
                }
            }
            state.evictSpent(&released)
            state.dropIfRetired(fetch.file, &released)
            for read in answered { state.leave(read.file, &released) }
        }
        for read in answered { answer(read) }
        if !isFromDisk, isCurrent, let disk {
            for (block, index) in zip(blocks, first...) { disk.offer(fetch.file.version, index, block) }
        }
        let shortage = pool.shortage
        if shortage > 0 { evict(shortage) }
    }

    /// Ends a fetch: fails, fetches again, or just drops the blocks that it did not fill.
    func finish(_ fetch: Fetch, _ error: StoreError?, wasInFlight: Bool, start: UInt64 = 0) {
        var outcome = fetch.close()
        let failure =
            error
            ?? outcome.fault.map {
                StoreError(.malformedResponse, operation: "GetObject", key: fetch.file.version.key, message: $0)
            }
        var failed: [(read: ParkedRead, blocks: [Block?])] = []
        var released: [Block] = []
        let now = time.monotonicNanoseconds
        state.withLock { state in
            if wasInFlight {
                if failure == nil, let time = outcome.firstByteTime {
                    state.tuner.requestEnded(
                        RequestTuner.Ending(
                            nanoseconds: now, tookNanoseconds: now &- start, firstByteNanoseconds: time &- start,
                            bytesReceived: state.statistics.bytesFetched,
                            inFlightCount: state.statistics.requestsInFlight, isPressed: state.isPressed))
                }
                state.statistics.requestsInFlight -= 1
                if let time = outcome.firstByteTime { state.statistics.firstByteNanoseconds += time - start }
            }
            if let window = fetch.window {
                state.aheadRequestsInFlight -= 1
                window.fetches.removeAll { $0 === fetch }
            }
            var again: [Int] = []
            for index in outcome.rest {
                guard let entry = fetch.file.entries[index], entry.fetch === fetch else { continue }
                entry.waiters.removeAll { $0.read.isOver }
                if fetch.isGivenUp, !entry.waiters.isEmpty {
                    again.append(index)
                    continue
                }
                for waiter in entry.waiters {
                    if let blocks = waiter.read.end() { failed.append((waiter.read, blocks)) }
                }
                state.release(entry)
                _ = entry.remove()
            }
            state.statistics.failures += failed.count
            for run in runs(again) {
                let fetch = Fetch(
                    cache: self, file: fetch.file, blocks: run, leases: outcome.leases.take(count: run.count),
                    window: nil)
                for index in run { fetch.file.entries[index]!.fetch = fetch }
                state.demand.prepend(fetch)
            }
            for (read, _) in failed { state.leave(read.file, &released) }
            state.forgetIfUnused(fetch.file)
        }
        let info = outcome.info
        _ = consume outcome
        if let failure {
            for (read, _) in failed { read.report(.failure(failure)) }
        }
        fetch.completion?(failure.map { .failure($0) } ?? .success(info))
        startFetches()
    }
}
