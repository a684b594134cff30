// Writing blocks to disk, and making room for them. On the writing thread.

internal import Base
internal import Glibc
internal import ObjectModel

extension DiskTier {
    /// Takes a block to write, when there is room in the queue; called on any thread, and cheap.
    func offer(_ version: ObjectVersion, _ index: Int, _ block: Block) {
        let now = time.monotonicNanoseconds
        let isFirst: Bool = state.withLock { state in
            guard state.directory != nil, state.writing.mayTry(at: now),
                state.pending.isEmpty || state.pendingBytes + block.byteCount <= configuration.writeQueueBytesMax
            else {
                state.statistics.writesSkipped += 1
                return false
            }
            state.pending.append(PendingWrite(version: version, index: index, block: block))
            state.pendingBytes += block.byteCount
            defer { state.isWriting = true }
            return !state.isWriting
        }
        // The queue has room for one, and only the first submits.
        if isFirst { _ = writer.submit { [self] in writePending() } }
    }

    /// Writes until nothing is pending.
    private func writePending() {
        var gathering = SegmentGathering(
            blockBytes: blockBytes, patienceNanoseconds: configuration.gatherNanoseconds)
        while true {
            let (batch, pressure) = state.withLock { state in
                defer { state.pending = [] }
                let isPressed = state.pendingBytes > configuration.writeQueueBytesMax / 2
                let pressure: SegmentGathering.Pressure =
                    !state.idleSignals.isEmpty ? .all : isPressed ? .room : .none
                return (state.pending, pressure)
            }
            let now = time.monotonicNanoseconds
            for next in batch { gathering.add(next.version, next.index, next.block, at: now) }
            let isAsked = !batch.isEmpty
            let ready = gathering.take(at: now, pressure)
            for group in ready { write(group.blocks, group.key) }
            guard ready.isEmpty, !isAsked else { continue }
            if gathering.isEmpty {
                var isIdle = false
                wakeIdle { state in
                    isIdle = state.pending.isEmpty
                    state.isWriting = !isIdle
                }
                if isIdle { return }
            } else {
                usleep(Self.gatherPauseMicroseconds)
            }
        }
    }

    /// How often it is looked whether what is gathered has become whole; nobody waits for it.
    private static let gatherPauseMicroseconds: UInt32 = 5_000

    /// Writes blocks of one segment.
    private func write(_ blocks: [(index: Int, block: Block)], _ key: SegmentGathering.Key) {
        // A block that was evicted and fetched again may come twice.
        var sorted: [(index: Int, block: Block)] = []
        for next in blocks.sorted(by: { $0.index < $1.index }) where sorted.last?.index != next.index {
            sorted.append(next)
        }
        var written: [(index: Int, block: Block)]?
        let isAllowed = state.withLock { $0.writing.mayTry(at: time.monotonicNanoseconds) }
        if isAllowed, let directory = directory(),
            SegmentHeader.canDescribe(key.version, bucket: configuration.bucket)
        {
            do throws(DiskError) {
                written = try write(sorted, identity(key.version, segment: key.segment), directory)
                if written != nil { note(\.writing, nil) }
            } catch {
                note(\.writing, error)
            }
        }
        let bytes = blocks.reduce(0) { $0 + $1.block.byteCount }
        state.withLock { state in
            state.pendingBytes -= bytes
            if let written {
                state.statistics.blocksWritten += written.count
                state.statistics.bytesWritten += written.reduce(0) { $0 + $1.block.byteCount }
            } else {
                state.statistics.writesSkipped += blocks.count
            }
        }
    }

    /// - Returns: the blocks that were written, not those that were there; nil when there is no room.
    private func write(
        _ blocks: [(index: Int, block: Block)], _ identity: SegmentIdentity, _ directory: BlockDirectory
    ) throws(DiskError) -> [(index: Int, block: Block)]? {
        let name = SegmentName(identity)
        let neededBytes = blocks.reduce(SegmentHeader.byteCount) { $0 + ($1.block.byteCount + 4095) & ~4095 }
        guard try makeRoom(neededBytes, in: directory) else { return nil }
        // What was set aside and is not used after all goes back, also when a call fails.
        var addedBytes = 0
        defer { _ = try? changeUsage(of: directory, by: addedBytes - neededBytes) }

        if case .found(let file) = try SegmentFile.open(identity, named: name, in: directory, forWriting: true) {
            let oldBytes = file.header.storedBytes
            let added = try file.add(blocks)
            guard try !file.isRemoved() else { return added }
            let newBytes = file.header.storedBytes
            addedBytes = newBytes - oldBytes
            state.withLock { $0.queue.set(name, bytes: newBytes) }
            return added
        }
        let header = try SegmentFile.make(
            identity, named: name, in: directory, bornSeconds: nowSeconds, blocks)
        addedBytes = header.storedBytes
        state.withLock { $0.queue.set(name, bytes: addedBytes) }
        return blocks
    }

    // MARK: Room

    /// Sets bytes aside within the limits, removing segments until they fit. False when nothing is left to remove.
    private func makeRoom(_ bytes: Int, in directory: BlockDirectory) throws(DiskError) -> Bool {
        var total = try changeUsage(of: directory, by: bytes)
        var isFitting = bytes <= configuration.limitBytes
        do throws(DiskError) {
            while isFitting, total > configuration.limitBytes {
                guard let removed = try removeNext(in: directory) else {
                    isFitting = false
                    break
                }
                total = try changeUsage(of: directory, by: -removed)
            }
            while isFitting {
                let space = try directory.space()
                // Not the product first: file systems of exabytes exist.
                if space.free - bytes >= space.total / 100 * configuration.freePercent { break }
                guard let removed = try removeNext(in: directory) else {
                    isFitting = false
                    break
                }
                total = try changeUsage(of: directory, by: -removed)
            }
        } catch {
            _ = try? changeUsage(of: directory, by: -bytes)
            throw error
        }
        if !isFitting { _ = try changeUsage(of: directory, by: -bytes) }
        noteRoom(isFitting)
        return isFitting
    }

    /// Removes the segment whose turn it is; its bytes, or nil when none is known.
    private func removeNext(in directory: BlockDirectory) throws(DiskError) -> Int? {
        while let next = state.withLock({ $0.queue.next(limitBytes: configuration.limitBytes) }) {
            // The header tells the size that other processes gave it, and whether they found something in it.
            let file = try directory.open(next.name, forWriting: false)
            guard let file else { continue }
            let header = SegmentHeader.parse(
                try directory.calls.readBytes(file, count: SegmentHeader.byteCount, at: 0))
            if let header, header.useCount > 0, !next.isProven {
                state.withLock { $0.queue.set(next.name, bytes: header.storedBytes, isFound: true) }
                continue
            }
            guard try directory.remove(next.name) else { continue }
            state.withLock { $0.statistics.evictions += 1 }
            return header?.storedBytes ?? SegmentHeader.byteCount
        }
        return nil
    }

    private func changeUsage(of directory: BlockDirectory, by bytes: Int) throws(DiskError) -> Int {
        let total = try directory.changeUsage { $0 + bytes }
        state.withLock { $0.statistics.bytesStored = total }
        return total
    }

    /// Says once that there is no room, and looks whether others have filled it.
    private func noteRoom(_ isFitting: Bool) {
        let isNews = state.withLock { state in
            defer { state.isRoomless = !isFitting }
            return state.isRoomless == isFitting
        }
        if !isFitting, isNews {
            say("no room within its limit and the free space to be kept; nothing more is written until there is")
            scan()
        }
    }
}
