// What a mount tells of itself: the answer to `status`, and the document that `pail status --json` prints.
//
// The JSON keys are a promise to scripts: keys are added, never renamed or given another meaning. Sizes are bytes,
// durations seconds, times RFC 3339 in UTC.

internal import Base
internal import FoundationEssentials

/// The state of one mount at one moment.
public struct MountStatus: Sendable, Codable, Equatable {
    /// The version of pail that serves the mount.
    public var version: String
    public var pid: Int32
    /// The file that the process executes, with ` (deleted)` behind it when it was replaced since; nil from daemons that do not tell.
    public var program: String?
    /// Whether another process can go on in its place; nil from daemons that do not tell.
    public var isSupervised: Bool?
    /// Absolute and canonical.
    public var mountpoint: String
    /// `s3://bucket/prefix`
    public var source: String
    /// The base URL of the store.
    public var endpoint: String
    public var region: String
    /// For how long the store has not answered though asked; nil while it answers.
    public var unreachableSeconds: Int?
    public var startedAt: String
    public var uptimeSeconds: Int
    public var state: State
    public var isReadOnly: Bool

    /// Files with data that is not in the bucket yet.
    public var dirtyFiles: Int
    public var dirtyBytes: Int
    /// Files waiting for their upload or being uploaded, the longest waiting first; at most `uploadsMax`.
    public var uploads: [Upload]
    /// Uploads left out of `uploads`.
    public var uploadsOmitted: Int
    /// Uploads whose last try failed; their data stays staged and is tried again.
    public var failedUploads: Int
    /// What other mounts, gone by now, left in the state directory.
    public var leftovers: [Leftover]
    /// Paths of staged data that is damaged and was left where it is; nil from daemons that do not tell.
    public var damaged: [String]?

    public var cache: Cache
    /// Nil from daemons that do not tell.
    public var prefetch: Prefetch?
    /// Nil from daemons that do not tell.
    public var connections: Connections?
    /// How long the file has waited that waits longest for its upload; nil when nothing does.
    public var oldestDirtySeconds: Int?
    /// File operations by kind: `read`, `lookup`, …; nil from daemons that do not tell.
    public var operations: [String: Operation]?
    /// File operations under way, the longest waiting first; at most `waitingMax`.
    public var waiting: [Waiting]?
    /// S3 requests on the wire, the oldest first; at most `requestsUnderWayMax`; nil from daemons that do not tell.
    public var requestsUnderWay: [RequestUnderWay]?
    /// Renames of directories under way; nil from daemons that do not tell.
    public var renames: [Rename]?
    /// The processes that asked most since the mount began; at most `processesMax`.
    public var processes: [Process]?
    /// By operation: `GetObject`, `PutObject`, `ListObjectsV2`, …
    public var requests: [String: Requests]
    /// The last errors as sentences, the newest first.
    public var lastErrors: [String]

    /// More uploads than this are not listed.
    public static let uploadsMax = 1_000

    public static let waitingMax = 20
    public static let requestsUnderWayMax = 20
    public static let processesMax = 20

    /// File operations of one kind since the mount began.
    public struct Operation: Sendable, Codable, Equatable {
        public var count: Int
        public var errors: Int
        /// Half, and 99 of 100, took no longer (a power of two of 16 µs); nil when none was made.
        public var p50Seconds: Double?
        public var p99Seconds: Double?

        public init(count: Int, errors: Int, p50Seconds: Double?, p99Seconds: Double?) {
            self.count = count
            self.errors = errors
            self.p50Seconds = p50Seconds
            self.p99Seconds = p99Seconds
        }

        enum CodingKeys: String, CodingKey {
            case count, errors
            case p50Seconds = "p50_seconds"
            case p99Seconds = "p99_seconds"
        }
    }

    /// A file operation under way.
    public struct Waiting: Sendable, Codable, Equatable {
        public var operation: String
        /// Relative to the mountpoint.
        public var path: String
        public var pid: Int32
        public var seconds: Double

        public init(operation: String, path: String, pid: Int32, seconds: Double) {
            self.operation = operation
            self.path = path
            self.pid = pid
            self.seconds = seconds
        }
    }

    /// An S3 request that was sent, or is being sent, and has not been answered completely.
    public struct RequestUnderWay: Sendable, Codable, Equatable {
        /// `GetObject`, `UploadPart`, …
        public var operation: String
        /// Nil where it is about no one object.
        public var key: String?
        /// 1 for the first try of a call, then 2, 3…
        public var attempt: Int
        /// Whether it races another request of the same call that is late.
        public var isHedge: Bool
        public var seconds: Double

        public init(operation: String, key: String?, attempt: Int, isHedge: Bool, seconds: Double) {
            self.operation = operation
            self.key = key
            self.attempt = attempt
            self.isHedge = isHedge
            self.seconds = seconds
        }

        enum CodingKeys: String, CodingKey {
            case operation, key, attempt, seconds
            case isHedge = "hedge"
        }
    }

    /// A process that uses the mount.
    public struct Process: Sendable, Codable, Equatable {
        public var pid: Int32
        public var command: String
        public var requests: Int

        public init(pid: Int32, command: String, requests: Int) {
            self.pid = pid
            self.command = command
            self.requests = requests
        }
    }

    public enum State: String, Sendable, Codable {
        case mounted
        /// Everything is being uploaded before an unmount.
        case draining
    }

    /// One file on its way to the bucket.
    public struct Upload: Sendable, Codable, Equatable {
        /// Relative to the mountpoint.
        public var path: String
        public var bytesDone: Int
        public var bytesTotal: Int
        /// How often it was started.
        public var tries: Int
        public var lastError: String?
        /// Since when its data waits.
        public var since: String
        /// The same in seconds; nil from daemons that do not tell.
        public var ageSeconds: Int?
        /// On average since it began to be sent; nil while nothing has been acknowledged.
        public var bytesPerSecond: Int?

        public init(
            path: String, bytesDone: Int, bytesTotal: Int, tries: Int = 0, lastError: String? = nil, since: String
        ) {
            self.path = path
            self.bytesDone = bytesDone
            self.bytesTotal = bytesTotal
            self.tries = tries
            self.lastError = lastError
            self.since = since
        }

        enum CodingKeys: String, CodingKey {
            case path, tries, since
            case bytesDone = "bytes_done"
            case bytesTotal = "bytes_total"
            case lastError = "last_error"
            case ageSeconds = "age_seconds"
            case bytesPerSecond = "bytes_per_second"
        }
    }

    /// A directory that is being renamed: copied object by object, then removed at its old place.
    public struct Rename: Sendable, Codable, Equatable {
        /// Relative to the mountpoint.
        public var from: String
        public var to: String
        public var objectsCopied: Int
        public var objectsTotal: Int
        /// An earlier mount began it.
        public var isResumed: Bool

        public init(from: String, to: String, objectsCopied: Int, objectsTotal: Int, isResumed: Bool) {
            self.from = from
            self.to = to
            self.objectsCopied = objectsCopied
            self.objectsTotal = objectsTotal
            self.isResumed = isResumed
        }

        enum CodingKeys: String, CodingKey {
            case from, to
            case objectsCopied = "objects_copied"
            case objectsTotal = "objects_total"
            case isResumed = "resumed"
        }
    }

    /// Staged data of mounts that are gone; mounting its source again uploads it.
    public struct Leftover: Sendable, Codable, Equatable {
        /// `s3://BUCKET`.
        public var source: String
        /// Nil for AWS.
        public var endpoint: String?
        /// Where that was mounted; empty when it is not known.
        public var mountpoint: String
        /// Where the data is.
        public var directory: String?
        public var files: Int
        public var bytes: Int
        /// It is to be encrypted by a customer's key: only a mount with the same one uploads it. Nil: not so.
        public var needsCustomerKey: Bool?

        enum CodingKeys: String, CodingKey {
            case source, endpoint, mountpoint, directory, files, bytes
            case needsCustomerKey = "needs_customer_key"
        }

        public init(
            source: String, endpoint: String? = nil, mountpoint: String, directory: String? = nil, files: Int,
            bytes: Int
        ) {
            self.source = source
            self.endpoint = endpoint
            self.mountpoint = mountpoint
            self.directory = directory
            self.files = files
            self.bytes = bytes
        }
    }

    /// The block cache since the mount began.
    public struct Cache: Sendable, Codable, Equatable {
        public var memoryBytes: Int
        public var memoryLimit: Int
        /// Blocks found, and blocks that had to be fetched.
        public var hits: Int
        public var misses: Int
        /// Received from the store.
        public var bytesFetched: Int
        /// Nil without a disk cache.
        public var disk: Disk?

        public init(
            memoryBytes: Int = 0, memoryLimit: Int = 0, hits: Int = 0, misses: Int = 0, bytesFetched: Int = 0,
            disk: Disk? = nil
        ) {
            self.disk = disk
            self.memoryBytes = memoryBytes
            self.memoryLimit = memoryLimit
            self.hits = hits
            self.misses = misses
            self.bytesFetched = bytesFetched
        }

        enum CodingKeys: String, CodingKey {
            case memoryBytes = "memory_bytes"
            case memoryLimit = "memory_limit"
            case hits, misses, disk
            case bytesFetched = "bytes_fetched"
        }
    }

    /// The disk tier of the block cache since the mount began.
    public struct Disk: Sendable, Codable, Equatable {
        public var directory: String
        /// On disk now, of all buckets and mounts that share the directory, and the most there may be.
        public var bytes: Int
        public var limit: Int
        /// Blocks answered from disk, and their bytes.
        public var hits: Int
        public var bytesRead: Int
        public var bytesWritten: Int
        /// Blocks that were not written: the disk was too slow, full, or failing.
        public var writesSkipped: Int
        /// Blocks that were damaged on disk, and fetched again.
        public var corruptBlocks: Int
        /// Files removed to make room.
        public var evictions: Int

        public init(
            directory: String, bytes: Int = 0, limit: Int = 0, hits: Int = 0, bytesRead: Int = 0,
            bytesWritten: Int = 0, writesSkipped: Int = 0, corruptBlocks: Int = 0, evictions: Int = 0
        ) {
            self.directory = directory
            self.bytes = bytes
            self.limit = limit
            self.hits = hits
            self.bytesRead = bytesRead
            self.bytesWritten = bytesWritten
            self.writesSkipped = writesSkipped
            self.corruptBlocks = corruptBlocks
            self.evictions = evictions
        }

        enum CodingKeys: String, CodingKey {
            case directory, bytes, limit, hits, evictions
            case bytesRead = "bytes_read"
            case bytesWritten = "bytes_written"
            case writesSkipped = "writes_skipped"
            case corruptBlocks = "corrupt_blocks"
        }
    }

    /// Small files fetched because their neighbours were opened one after another, since the mount began.
    public struct Prefetch: Sendable, Codable, Equatable {
        public var files: Int
        /// Of these, opened afterwards; and not opened before their reader went elsewhere.
        public var used: Int
        public var wasted: Int

        public init(files: Int, used: Int, wasted: Int) {
            self.files = files
            self.used = used
            self.wasted = wasted
        }
    }

    /// How many connections there may be, each with one request at a time.
    public struct Connections: Sendable, Codable, Equatable {
        /// Of all kinds: `--connections`.
        public var max: Int
        /// GETs of file content under way now, and how many there may be on this link.
        public var reading: Int
        public var readingMax: Int

        public init(max: Int, reading: Int, readingMax: Int) {
            self.max = max
            self.reading = reading
            self.readingMax = readingMax
        }

        enum CodingKeys: String, CodingKey {
            case max, reading
            case readingMax = "reading_max"
        }
    }

    /// Requests of one operation since the mount began.
    public struct Requests: Sendable, Codable, Equatable {
        public var count: Int
        public var errors: Int
        /// Body bytes, of requests and answers together.
        public var bytes: Int
        /// Sent beside a late one of the same call, and how many of them came first.
        public var hedged: Int
        public var hedgesWon: Int
        /// Given up for another because nothing, or far too little, came.
        public var stalled: Int
        /// Those that were not the first of their call.
        public var retries = 0
        /// Half, and 99 of 100, took no longer (a power of two of 16 µs); nil when none ended.
        public var p50Seconds: Double?
        public var p99Seconds: Double?

        public init(
            count: Int = 0, errors: Int = 0, bytes: Int = 0, hedged: Int = 0, hedgesWon: Int = 0, stalled: Int = 0
        ) {
            self.count = count
            self.errors = errors
            self.bytes = bytes
            self.hedged = hedged
            self.hedgesWon = hedgesWon
            self.stalled = stalled
        }

        enum CodingKeys: String, CodingKey {
            case count, errors, bytes, hedged, stalled, retries
            case p50Seconds = "p50_seconds"
            case p99Seconds = "p99_seconds"
            case hedgesWon = "hedges_won"
        }

        /// A mount of an older pail does not tell everything.
        public init(from decoder: any Decoder) throws {
            let values = try decoder.container(keyedBy: CodingKeys.self)
            count = try values.decode(Int.self, forKey: .count)
            errors = try values.decode(Int.self, forKey: .errors)
            bytes = try values.decode(Int.self, forKey: .bytes)
            hedged = try values.decodeIfPresent(Int.self, forKey: .hedged) ?? 0
            hedgesWon = try values.decodeIfPresent(Int.self, forKey: .hedgesWon) ?? 0
            stalled = try values.decodeIfPresent(Int.self, forKey: .stalled) ?? 0
            retries = try values.decodeIfPresent(Int.self, forKey: .retries) ?? 0
            p50Seconds = try values.decodeIfPresent(Double.self, forKey: .p50Seconds)
            p99Seconds = try values.decodeIfPresent(Double.self, forKey: .p99Seconds)
        }
    }

    public init(
        version: String, pid: Int32, mountpoint: String, source: String, endpoint: String, region: String,
        startedAt: String, uptimeSeconds: Int, state: State = .mounted, isReadOnly: Bool = false, dirtyFiles: Int = 0,
        dirtyBytes: Int = 0, uploads: [Upload] = [], uploadsOmitted: Int = 0, failedUploads: Int = 0,
        leftovers: [Leftover] = [], cache: Cache = Cache(), requests: [String: Requests] = [:],
        lastErrors: [String] = []
    ) {
        self.version = version
        self.pid = pid
        self.mountpoint = mountpoint
        self.source = source
        self.endpoint = endpoint
        self.region = region
        self.startedAt = startedAt
        self.uptimeSeconds = uptimeSeconds
        self.state = state
        self.isReadOnly = isReadOnly
        self.dirtyFiles = dirtyFiles
        self.dirtyBytes = dirtyBytes
        self.uploads = uploads
        self.uploadsOmitted = uploadsOmitted
        self.failedUploads = failedUploads
        self.leftovers = leftovers
        self.cache = cache
        self.requests = requests
        self.lastErrors = lastErrors
    }

    enum CodingKeys: String, CodingKey {
        case version, pid, mountpoint, source, endpoint, region, state, uploads, leftovers, cache, prefetch, requests
        case operations, waiting, processes, damaged, renames, connections, program
        case isSupervised = "supervised"
        case requestsUnderWay = "requests_under_way"
        case oldestDirtySeconds = "oldest_dirty_seconds"
        case startedAt = "started_at"
        case uptimeSeconds = "uptime_seconds"
        case unreachableSeconds = "unreachable_seconds"
        case isReadOnly = "read_only"
        case dirtyFiles = "dirty_files"
        case dirtyBytes = "dirty_bytes"
        case uploadsOmitted = "uploads_omitted"
        case failedUploads = "failed_uploads"
        case lastErrors = "last_errors"
    }
}

extension MountStatus {
    /// The document, keys sorted: for `--json`.
    /// - Parameter pretty: on several lines, indented.
    public func json(pretty: Bool = false) -> String {
        ControlCoding.text(self, pretty: pretty)
    }

    /// With the list of uploads cut to what a reply carries.
    func bounded() -> MountStatus {
        guard uploads.count > Self.uploadsMax else { return self }
        var copy = self
        copy.uploadsOmitted += uploads.count - Self.uploadsMax
        copy.uploads.removeLast(uploads.count - Self.uploadsMax)
        return copy
    }
}
