// The figures that the cache is tuned by; doc/design/reading.md says where the defaults come from.

/// The limits of a `BlockCache`. The block size is the buffer size of its pool.
public struct BlockCacheConfiguration: Sendable, Equatable {
    /// GETs in flight at once at most, demand and read-ahead together; on thin links there are fewer (`RequestTuner`).
    public var requestCountMax = 32
    /// The longest range of one GET, in bytes.
    public var requestBytesMax = 8 << 20
    /// The largest read-ahead window of one stream, in bytes.
    public var windowBytesMax = 128 << 20
    /// The share of the memory budget that may hold what was fetched ahead and not read yet, of all streams together.
    public var readAheadShare = 0.5
    /// The share of the memory budget that may hold blocks which one pass has read from end to end. What is beyond is
    /// given up at once, the oldest first: the kernel's page cache holds those bytes too, and fetching into memory that
    /// was just used costs less than into fresh pages. 1 keeps all.
    public var spentShare = 0.125
    /// And at most this much, in bytes.
    public var spentBytesMax = 32 << 20

    /// How many blocks at the start of an object come with the question what it is: an object that fits is there whole when
    /// it is opened.
    public var beginningBlockCount = 1

    public init() {}
}
