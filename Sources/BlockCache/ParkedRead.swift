// A read that waits for the store.

internal import ObjectModel
internal import ObjectStore

/// A read whose answer comes later, to its completion. Thread-safe.
///
/// waiting → answered (all its blocks came) | failed (one of them could not be had) | abandoned.
public final class ParkedRead: Sendable {
    typealias Completion = @Sendable (Result<ReadSlices, StoreError>) -> Void

    let range: ByteRange
    let file: CachedFile
    private let cache: BlockCache
    // SAFETY: touched by `init`, and by the one caller of `report`.
    /// Given away by `report`: entries keep a read that is over for a while, and let go of it under the lock of the
    /// cache, where the last reference to a stream must not die (its end takes that lock).
    nonisolated(unsafe) private var completion: Completion?

    // SAFETY: touched only under the lock of the cache.
    /// The blocks that came, by position in the answer; emptied when the read is over.
    nonisolated(unsafe) private var blocks: [Block?]
    nonisolated(unsafe) private var lackingCount: Int
    /// Answered, failed or abandoned.
    nonisolated(unsafe) private(set) var isOver = false

    init(cache: BlockCache, file: CachedFile, range: ByteRange, completion: @escaping Completion) {
        self.cache = cache
        self.file = file
        self.range = range
        self.completion = completion
        let span = cache.blocks(of: range)
        blocks = Array(repeating: nil, count: span.count)
        lackingCount = span.count
    }

    /// Gives the read up: its completion gets `.cancelled`, on this thread, unless it was answered before.
    /// What was asked from the store on its behalf is kept for others, or not started at all.
    public func abandon() {
        let cancelled = StoreError(.cancelled, operation: "GetObject", key: file.version.key, message: "read given up")
        cache.end(self, .failure(cancelled))
    }

    /// Takes a block; under the lock. True when it was the last one: the caller then answers, after unlock.
    func take(_ block: Block, at position: Int) -> Bool {
        guard !isOver, blocks[position] == nil else { return false }
        blocks[position] = block
        lackingCount -= 1
        isOver = lackingCount == 0
        return isOver
    }

    /// Ends the read without its blocks; under the lock. Nil when it was over before. The caller reports after
    /// unlock, and releases the blocks that had come there too.
    func end() -> [Block?]? {
        guard !isOver else { return nil }
        isOver = true
        defer { blocks = [] }
        return blocks
    }

    /// Calls the completion with the blocks; once, after `take` gave true, without a lock.
    func answer() {
        let taken = blocks
        blocks = []
        report(.success(cache.slices(range, taken)))
    }

    /// Calls the completion; once, after `end` gave the blocks, without a lock.
    func report(_ result: Result<ReadSlices, StoreError>) {
        completion.take()!(result)
    }
}

/// The outcome of asking the cache for bytes.
public enum ReadAnswer: Sendable {
    /// A hit: here they are. The completion is not called.
    case hit(ReadSlices)
    /// The completion is, or was already, called with them.
    case parked(ParkedRead)
}
