// Fetches that the disk answers, all or in part. On the reading threads of the disk tier.

internal import Base
public import ObjectModel

extension BlockCache {
    /// Fewer present blocks than this between missing ones are fetched with them: one GET is dearer than their bytes.
    private static let presentCountMin = 4

    /// Reads what the disk has of a fetch; the rest becomes GETs, which start first.
    func readFromDisk(_ fetch: Fetch, _ disk: DiskTier) {
        guard !state.withLock({ _ in fetch.isGivenUp }) else {
            return finish(fetch, nil, wasInFlight: true)
        }
        let version = fetch.file.version
        let finding = disk.find(version, fetch.blocks)
        let pieces = Self.pieces(of: fetch.blocks, present: finding.present)
        guard pieces.contains(where: \.isPresent) else { return launchRequest(fetch) }

        // Who waits for the end of a fetch as a whole has a short one: it is not cut.
        if fetch.completion != nil, pieces.count > 1 { return launchRequest(fetch) }
        let fetches = pieces.count == 1 ? [fetch] : divide(fetch, pieces.map(\.blocks))
        for (piece, fetch) in zip(pieces, fetches) where !piece.isPresent { launchRequest(fetch) }
        for (piece, fetch) in zip(pieces, fetches) where piece.isPresent {
            let count = disk.read(finding, fetch.blocks, into: fetch.destinations) { fetch.completeNext(count: $0) }
            if count == fetch.blocks.count {
                finish(fetch, nil, wasInFlight: true)
            } else {
                launchRequest(divide(fetch, [fetch.blocks.lowerBound + count..<fetch.blocks.upperBound])[0])
            }
        }
        disk.noteUse(finding)
    }

    /// Cuts a run into what comes from disk and what comes from the store, in order.
    static func pieces(of blocks: Range<Int>, present: [Range<Int>]) -> [(blocks: Range<Int>, isPresent: Bool)] {
        var pieces: [(blocks: Range<Int>, isPresent: Bool)] = []
        var end = blocks.lowerBound
        for run in present
        where run.count >= presentCountMin || run.lowerBound == blocks.lowerBound
            || run.upperBound == blocks.upperBound
        {
            if end < run.lowerBound { pieces.append((end..<run.lowerBound, false)) }
            pieces.append((run, true))
            end = run.upperBound
        }
        if end < blocks.upperBound { pieces.append((end..<blocks.upperBound, false)) }
        return pieces
    }

    /// Replaces a fetch in flight, on this thread, by one for each piece of the blocks that it has not filled. They hold
    /// a place among the requests each, even when that is more than there are: the excess is short and bounded.
    private func divide(_ fetch: Fetch, _ pieces: [Range<Int>]) -> [Fetch] {
        var outcome = fetch.close()
        precondition(
            outcome.rest.lowerBound == pieces.first?.lowerBound && outcome.rest.upperBound == pieces.last?.upperBound,
            "the pieces are what is left of the fetch")
        let fetches = pieces.map { blocks in
            Fetch(
                cache: self, file: fetch.file, blocks: blocks, leases: outcome.leases.take(count: blocks.count),
                window: fetch.window, completion: pieces.count == 1 ? fetch.completion : nil)
        }
        state.withLock { state in
            for next in fetches {
                next.isGivenUp = fetch.isGivenUp
                for index in next.blocks {
                    if let entry = fetch.file.entries[index], entry.fetch === fetch { entry.fetch = next }
                }
            }
            state.statistics.requestsInFlight += pieces.count - 1
            if let window = fetch.window {
                state.aheadRequestsInFlight += pieces.count - 1
                window.fetches.removeAll { $0 === fetch }
                window.fetches += fetches
            }
        }
        return fetches
    }

    /// Whether a range of a version is on disk, as far as the headers say: no byte is read. Without a disk tier: false.
    public func isOnDisk(_ version: ObjectVersion, range: ByteRange) async -> Bool {
        guard let disk else { return false }
        if range.isEmpty { return true }
        let blocks = blocks(of: range)
        let answer = OneShot<Bool>()
        let isAsked = disk.submitRead { answer.set(disk.find(version, blocks).present == [blocks]) }
        return isAsked ? await answer.wait() : false
    }

    /// How many bytes of a version are in memory or on disk, as far as the headers say.
    public func cachedByteCount(of version: ObjectVersion) async -> Int {
        let inMemory = state.withLock { state in
            Set(state.file(version)?.entries.filter { $0.value.block != nil }.map(\.key) ?? [])
        }
        let byteCount = inMemory.reduce(0) { $0 + min(blockBytes, version.byteCount - $1 * blockBytes) }
        guard let disk, version.byteCount > 0 else { return byteCount }
        let answer = OneShot<Int>()
        let isAsked = disk.submitRead { answer.set(disk.byteCount(of: version, besides: inMemory)) }
        return isAsked ? byteCount + (await answer.wait()) : byteCount
    }
}
