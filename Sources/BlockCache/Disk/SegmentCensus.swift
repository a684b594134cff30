// Everything that is in a cache directory: for the scan at the start, and for `pail cache`.

internal import Base
internal import Glibc

/// What a walk through all segments found. The walk blocks: a few microseconds for each file that the kernel knows.
struct SegmentCensus {
    struct Segment {
        let name: SegmentName
        let storedBytes: Int
        let bornSeconds: UInt32
        /// Whether anything of it was found again.
        let isFound: Bool
    }

    /// Of the objects of one bucket.
    struct Bucket {
        var versions: Set<VersionKey> = []
        var bytes = 0
    }

    /// A version, by its part of the names.
    struct VersionKey: Hashable {
        let high: UInt64
        let low: UInt64
    }

    private(set) var segments: [Segment] = []
    private(set) var buckets: [String: Bucket] = [:]
    private(set) var storedBytes = 0
    /// Files of segment names that are none.
    private(set) var foreignCount = 0

    /// - Parameters:
    ///   - isCleaning: removes what is not of this format, and what dead processes left.
    ///   - countsObjects: fills `buckets`.
    init(_ directory: BlockDirectory, isCleaning: Bool, countsObjects: Bool = false) throws(DiskError) {
        var segments: [Segment] = []
        var buckets: [String: Bucket] = [:]
        var foreign: [SegmentName] = []
        try directory.forEachSegment(isCleaning: isCleaning) { name in
            let header: SegmentHeader
            switch Self.look(at: name, in: directory) {
            case .unreadable: return true
            case .foreign:
                foreign.append(name)
                return true
            case .sound(let found): header = found
            }
            segments.append(
                Segment(
                    name: name, storedBytes: header.storedBytes, bornSeconds: header.bornSeconds,
                    isFound: header.useCount > 0))
            if countsObjects {
                var bucket = buckets.removeValue(forKey: header.identity.bucket) ?? Bucket()
                bucket.versions.insert(VersionKey(high: name.high, low: name.low))
                bucket.bytes += header.storedBytes
                buckets[header.identity.bucket] = bucket
            }
            return true
        }
        if isCleaning {
            for name in foreign {
                // A reader may have found it too, and its block may have been written again since.
                if case .sound = Self.look(at: name, in: directory) { continue }
                _ = try? directory.remove(name)
            }
        }
        self.segments = segments
        self.buckets = buckets
        storedBytes = segments.reduce(0) { $0 + $1.storedBytes }
        foreignCount = foreign.count
    }

    private enum Finding {
        case sound(SegmentHeader)
        case foreign
        /// Gone meanwhile, or the disk fails.
        case unreadable
    }

    private static func look(at name: SegmentName, in directory: BlockDirectory) -> Finding {
        guard let file = (try? directory.open(name, forWriting: false)) ?? nil,
            let page = try? directory.calls.readBytes(file, count: SegmentHeader.byteCount, at: 0)
        else { return .unreadable }
        guard let header = SegmentHeader.parse(page), SegmentName(header.identity) == name else { return .foreign }
        return .sound(header)
    }
}

/// What is kept below a cache directory, and its removal; for `pail cache`. Blocks; needs no mount.
public enum DiskCacheContents {
    /// The share of one bucket.
    public struct Bucket: Sendable, Equatable {
        /// Endpoint and bucket name.
        public let name: String
        public let objects: Int
        public let bytes: Int
    }

    /// One line that says why.
    public struct Failure: Error, Sendable {
        public let text: String
    }

    /// The buckets by name; none when there is no cache yet.
    public static func buckets(directory path: String) throws(Failure) -> [Bucket] {
        do throws(DiskError) {
            let directory = try BlockDirectory(path: path, isMade: false, calls: DiskCalls())
            let census = try SegmentCensus(directory, isCleaning: false, countsObjects: true)
            return census.buckets.map { Bucket(name: $0, objects: $1.versions.count, bytes: $1.bytes) }
                .sorted { $0.name < $1.name }
        } catch {
            if error.isMissing { return [] }
            throw Failure(text: error.text)
        }
    }

    /// Removes all blocks. Mounts that use them go on, and read from the store.
    public static func clear(directory path: String) throws(Failure) {
        do throws(DiskError) {
            _ = try BlockDirectory(path: path, isMade: false, calls: DiskCalls()).clear()
        } catch {
            if error.isMissing { return }
            throw Failure(text: error.text)
        }
    }
}
