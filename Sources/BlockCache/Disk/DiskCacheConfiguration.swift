// The limits of the disk tier; doc/design/disk-cache.md says where the defaults come from.

/// Where and how much the disk tier keeps.
public struct DiskCacheConfiguration: Sendable {
    /// The cache directory, absolute; made when missing. Any number of mounts of one user may share it.
    public var directory: String
    /// What tells this bucket from any other: endpoint and bucket name.
    public var bucket: String
    /// The most bytes on disk, of all buckets and mounts that share the directory.
    public var limitBytes = 10 << 30
    /// Hundredths of the file system that stay free.
    public var freePercent = 10
    /// Reads of the disk at once.
    public var readThreadCount = 8
    /// Lookups and reads that may wait for a thread; further ones go to the store.
    public var readQueueMax = 1024
    /// Bytes of blocks that may wait to be written; they take part of the memory budget. Further ones are not written.
    public var writeQueueBytesMax = 64 << 20
    /// How long blocks wait for others of their segment, so that they are written together.
    public var gatherNanoseconds: UInt64 = 200_000_000
    /// The most bytes read by one call.
    public var readBytesMax = 1 << 20

    public init(directory: String, bucket: String) {
        self.directory = directory
        self.bucket = bucket
    }
}

/// Counters of the disk tier since it was made, and the present state.
public struct DiskCacheStatistics: Sendable, Equatable {
    /// Blocks answered from disk, and their bytes.
    public var hits = 0
    public var bytesRead = 0
    public var blocksWritten = 0
    public var bytesWritten = 0
    /// Blocks that were not written: the disk was too slow, full, or failing.
    public var writesSkipped = 0
    /// Blocks whose bytes were not what was written, and files that were none of the cache's; fetched again.
    public var corruptBlocks = 0
    /// Segments removed to make room.
    public var evictions = 0
    /// On disk now, of all buckets and mounts that share the directory, as far as it is known.
    public var bytesStored = 0

    public init() {}
}
