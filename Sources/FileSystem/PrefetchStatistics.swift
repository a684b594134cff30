// What prefetching of neighbouring files did, for `status`, metrics and tests.

/// Counters since the filesystem was made, in files.
public struct PrefetchStatistics: Sendable, Equatable {
    /// Fetched because their neighbours were opened one after another.
    public var prefetched = 0
    /// Of these, opened afterwards.
    public var used = 0
    /// Of these, not opened before their reader went elsewhere.
    public var wasted = 0

    public init() {}
}
