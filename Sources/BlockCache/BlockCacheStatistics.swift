// What the cache counted, for `status`, metrics and tests.

/// Counters since the cache was made, and the present state. Counts of blocks unless said otherwise.
public struct BlockCacheStatistics: Sendable, Equatable {
    /// Reads answered from memory at once.
    public var hits = 0
    /// Reads that had to wait, for a request of their own or for one under way.
    public var misses = 0
    /// Reads that ended with an error, abandoned ones included.
    public var failures = 0
    /// Bytes that reads were answered with.
    public var bytesServed = 0
    /// Bytes that arrived from the store.
    public var bytesFetched = 0
    /// GETs started, demand and read-ahead together.
    public var requests = 0
    /// Of these, the ones that only read-ahead asked for.
    public var readAheadRequests = 0
    /// GETs in flight now.
    public var requestsInFlight = 0
    /// How many there may be now.
    public var requestsInFlightMax = 0
    /// Blocks in memory now.
    public var blocks = 0
    /// Blocks fetched ahead.
    public var blocksFetchedAhead = 0
    /// Of these, the ones that left memory without having been read.
    public var blocksFetchedInVain = 0
    /// Blocks that made room for others.
    public var evictions = 0
    /// Nanoseconds from the start of a GET to its first byte, summed over the GETs that had one.
    public var firstByteNanoseconds: UInt64 = 0

    public init() {}
}
