// One ranged GET for a run of missing blocks: where its bytes go.

internal import Base
internal import ObjectModel
internal import ObjectStore

/// A run of neighbouring blocks being fetched, from disk or by one GET. Owns the buffers until they are full; each block is published
/// the moment its last byte arrives.
///
/// queued → in flight → over. Blocks of a fetch that ends early are failed, or fetched again if somebody waits for
/// them and the fetch ended only because nobody did.
final class Fetch: BodySink {
    let file: CachedFile
    /// The numbers of the blocks.
    let blocks: Range<Int>
    let range: ByteRange
    /// Nil for demand.
    let window: AheadWindow?
    /// Told at the end what the store said of the object; nil when it was not asked.
    let completion: (@Sendable (Result<ObjectInfo?, StoreError>) -> Void)?
    private let cache: BlockCache
    private let body: Lock<Body>

    // SAFETY: touched only under the lock of the cache.
    /// Set once in flight.
    nonisolated(unsafe) var task: Task<Void, Never>?
    /// Nobody wants the rest: the stream that it was fetched ahead for has gone elsewhere.
    nonisolated(unsafe) var isGivenUp = false

    /// What the transport fills. Under `body`'s lock, which is held over the copying of bytes and nothing else; it is
    /// contended only when a store calls the sink after its GET is over, which then finds it closed.
    private final class Body {
        /// The next block is filled in the next of them.
        var leases: BufferLeases
        /// Bytes in the block being filled, and blocks published.
        var currentBytes = 0
        var publishedCount = 0
        var isClosed = false
        var fault: String?
        var firstByteTime: UInt64?
        var info: ObjectInfo?

        init(_ leases: consuming BufferLeases) {
            self.leases = leases
        }
    }

    init(
        cache: BlockCache, file: CachedFile, blocks: Range<Int>, leases: consuming BufferLeases, window: AheadWindow?,
        completion: (@Sendable (Result<ObjectInfo?, StoreError>) -> Void)? = nil
    ) {
        precondition(leases.count == blocks.count, "a fetch has a buffer for each block")
        self.cache = cache
        self.file = file
        self.blocks = blocks
        self.window = window
        self.completion = completion
        range = ByteRange(
            blocks.lowerBound * cache.blockBytes, min(blocks.upperBound * cache.blockBytes, file.version.byteCount))
        body = Lock(Body(leases))
    }

    var request: GetRequest { GetRequest(key: file.version.key, etag: file.version.etag, range: range) }

    func begin(_ info: ObjectInfo, range: ByteRange) {
        let firstByteTime = cache.time.monotonicNanoseconds
        body.withLock { body in
            body.firstByteTime = firstByteTime
            body.info = info
            if info.version.etag != file.version.etag {
                body.fault = "body of another version (\(info.version.etag)) than asked for"
            } else if info.version.byteCount != file.version.byteCount {
                body.fault = "body of an object of \(info.version.byteCount) bytes, not \(file.version.byteCount)"
            } else if range != self.range {
                body.fault = "body of range \(range) where \(self.range) was asked for"
            }
        }
    }

    func receive(_ bytes: UnsafeRawBufferPointer) {
        var rest = bytes
        while !rest.isEmpty {
            let (count, full): (Int, (index: Int, block: Block)?) = body.withLock { body in
                guard !body.isClosed, body.fault == nil, body.firstByteTime != nil else { return (rest.count, nil) }
                guard body.publishedCount < blocks.count else {
                    body.fault = "body longer than its range"
                    return (rest.count, nil)
                }
                return fill(body, rest)
            }
            rest = UnsafeRawBufferPointer(rebasing: rest[count...])
            if let full {
                // The thread that writes to disk would have to fetch every byte from memory for it.
                if cache.disk != nil { _ = full.block.mark }
                cache.publish(CollectionOfOne(full.block), from: full.index, of: self)
            }
        }
    }

    /// Copies into the current block; returns how much it took, and the block when that made it full.
    private func fill(_ body: Body, _ bytes: UnsafeRawBufferPointer) -> (Int, (index: Int, block: Block)?) {
        let index = blocks.lowerBound + body.publishedCount
        let blockBytes = min(cache.blockBytes, range.upperBound - index * cache.blockBytes)
        let count = min(bytes.count, blockBytes - body.currentBytes)
        // SAFETY: the buffer has room for `blockBytes`, and belongs to this fetch until it is published.
        body.leases.nextPointer.advanced(by: body.currentBytes).copyMemory(from: bytes.baseAddress!, byteCount: count)
        body.currentBytes += count
        guard body.currentBytes == blockBytes else { return (count, nil) }
        body.currentBytes = 0
        body.publishedCount += 1
        return (count, (index, Block(body.leases.take(), byteCount: blockBytes)))
    }

    /// How a fetch ended: what is wrong with its body (nil when every block was filled), the time of its first byte,
    /// and the buffers that were not filled.
    struct Outcome: ~Copyable {
        var fault: String?
        var firstByteTime: UInt64?
        /// What the store said of the object.
        var info: ObjectInfo?
        var leases: BufferLeases
        /// The blocks that were not filled.
        var rest: Range<Int>
    }

    // MARK: From disk

    /// Where the bytes of all blocks not filled yet go, one buffer for each; nobody else writes there until the fetch is
    /// closed or sent to the store.
    var destinations: [UnsafeMutableRawPointer] {
        body.withLock { $0.leases.nextPointers(count: $0.leases.count) }
    }

    /// Publishes the next blocks, whose bytes are in their buffers.
    func completeNext(count: Int) {
        let (first, full) = body.withLock { body in
            let first = blocks.lowerBound + body.publishedCount
            body.publishedCount += count
            let full = (first..<first + count).map { index in
                Block(
                    body.leases.take(), byteCount: min(cache.blockBytes, range.upperBound - index * cache.blockBytes))
            }
            return (first, full)
        }
        cache.publish(full, from: first, of: self, isFromDisk: true)
    }

    /// Ends the writing into buffers: bytes that come later are ignored.
    func close() -> Outcome {
        var outcome = Outcome(leases: BufferLeases(), rest: blocks.upperBound..<blocks.upperBound)
        body.withLock { body in
            body.isClosed = true
            outcome.rest = blocks.lowerBound + body.publishedCount..<blocks.upperBound
            if body.fault == nil, !outcome.rest.isEmpty { body.fault = "body ended before its range" }
            outcome.fault = body.fault
            outcome.firstByteTime = body.firstByteTime
            outcome.info = body.info
            outcome.leases = body.leases.take(count: body.leases.count)
        }
        return outcome
    }
}
