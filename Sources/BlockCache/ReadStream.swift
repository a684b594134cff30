// What the cache knows of one open file: which version it reads, and in which pattern.

internal import Base
public import ObjectModel
internal import Synchronization

/// The reading side of one open handle. Thread-safe; several reads of a stream may be under way at once.
///
/// When the last reference dies, read-ahead of the stream that has not begun is dropped, what is under way is given
/// up, and what was fetched in vain becomes the first to be evicted.
public final class ReadStream: Sendable {
    /// What the handle is pinned to.
    public let version: ObjectVersion
    /// False for handles that want what they ask for and nothing else.
    let readsAhead: Bool

    private let attachment = AtomicLazyReference<Attachment>()

    /// - Parameter readsAhead: whether patterns are recognised; false fetches exactly the blocks that are read.
    public init(version: ObjectVersion, readsAhead: Bool = true) {
        self.version = version
        self.readsAhead = readsAhead
    }

    /// The stream's place in the cache; made by its first read. A stream belongs to one cache for its life.
    func attachment(in cache: BlockCache) -> Attachment {
        if let attachment = attachment.load() {
            precondition(attachment.cache === cache, "a stream is read through one cache only")
            return attachment
        }
        // Of two first reads at once one attachment is dropped again, and closes itself.
        return attachment.storeIfNil(Attachment(self, cache))
    }

    /// Ties a stream to a cache and to the interned version.
    final class Attachment: Sendable {
        let cache: BlockCache
        let file: CachedFile
        /// Nil when the stream does not read ahead.
        let ahead: Lock<ReadAhead>?
        let window = AheadWindow()

        init(_ stream: ReadStream, _ cache: BlockCache) {
            self.cache = cache
            file = cache.open(stream.version)
            ahead = stream.readsAhead ? Lock(ReadAhead(cache.readAheadParameters(stream.version))) : nil
        }

        deinit {
            cache.close(file, window)
        }
    }
}
