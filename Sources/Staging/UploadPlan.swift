// How a staged file becomes an object with the fewest bytes sent: a pure decision.

internal import Base
public import ObjectModel
public import ObjectStore

/// The requests that publish a staged file.
public enum UploadPlan: Sendable, Equatable {
    /// One PutObject of the whole body.
    case put
    /// The bytes are the base object's: CopyObject onto the key with new properties.
    case copy
    /// A multipart upload; the parts are contiguous and cover the file.
    case multipart([Part])

    public struct Part: Sendable, Equatable {
        public enum Source: Sendable, Equatable {
            /// From the staging file (missing base bytes are fetched into it first).
            case staged
            /// The same range of the base object, copied by the server.
            case base
        }

        public let range: ByteRange
        public let source: Source

        public init(range: ByteRange, source: Source) {
            self.range = range
            self.source = source
        }
    }

    /// Up to this many bytes a file is sent by one PutObject: below it a multipart upload's three round trips cost more
    /// than its parallel parts save.
    public static let singlePutBytes = 16 << 20
    /// The usual part: large enough that the request's latency is small beside its transfer.
    public static let usualPartBytes = 8 << 20
    /// The largest usual part copied by the server, and the smallest: it costs no transfer of ours, so a few large ones do, but
    /// the server copies them side by side, so that a file of middling size is cut into `usualCopyCount`.
    public static let usualCopyBytes = (16 << 20)...(128 << 20)
    public static let usualCopyCount = 16

    /// - Parameters:
    ///   - byteCount: the file's length.
    ///   - dirty: the ranges that differ from the base.
    ///   - base: the object that the other ranges come from, and how many of its leading bytes still count.
    ///   - isBaseElsewhere: the base stands under another key. Then the parts are copied one by one: CopyObject has no
    ///     condition for what it replaces.
    ///   - partBytes: what the user asked for by `--part-size`; nil chooses.
    ///   - singlePutBytes: the longest file that is one PutObject.
    ///   - isBegun: parts of it are in the store already, of a file without a base.
    public static func make(
        byteCount: Int, dirty: ByteRangeSet, base: (version: ObjectVersion, liveByteCount: Int)?,
        capabilities: StoreCapabilities, isBaseElsewhere: Bool = false, partBytes: Int? = nil,
        singlePutBytes: Int = UploadPlan.singlePutBytes, isBegun: Bool = false
    ) -> UploadPlan {
        let baseByteCount = base?.liveByteCount ?? 0
        if let base, !isBaseElsewhere, dirty.isEmpty, baseByteCount == byteCount, base.version.byteCount == byteCount {
            return .copy
        }
        let layout = PartLayout(partBytes: partBytes, capabilities: capabilities)
        if isBegun, byteCount > 0, baseByteCount == 0 { return .multipart(layout.parts(byteCount: byteCount)) }
        let threshold = max(singlePutBytes, partBytes ?? 0)
        if byteCount <= threshold { return .put }
        let partMin = capabilities.partBytesMin
        guard capabilities.partCopy, baseByteCount >= partMin else {
            return .multipart(layout.parts(byteCount: byteCount))
        }
        // Leave a tenth of the part numbers for the uneven cuts around copied ranges.
        let countMax = capabilities.partCountMax * 9 / 10
        let fitting = roundUp((byteCount + countMax - 1) / countMax, to: 1 << 20)
        var stagedPart = max(partBytes ?? usualPartBytes, fitting, partMin)
        let shared = roundUp(baseByteCount / usualCopyCount, to: 1 << 20)
        var copyPart = max(min(max(shared, usualCopyBytes.lowerBound), usualCopyBytes.upperBound), fitting)
        var clean = dirty.gaps(in: ByteRange(0, min(baseByteCount, byteCount))).filter { $0.count >= partMin }
        var isCoarse = false
        // The last part of a segment may be longer than the others by less than `partMin`.
        let partBytesMax = max(capabilities.partBytesMax - partMin, fitting)
        while true {
            let parts = alternate(byteCount: byteCount, clean: clean, partMin: partMin).flatMap {
                cut($0, into: $0.source == .base ? copyPart : stagedPart, partMin: partMin)
            }
            if parts.count <= capabilities.partCountMax || clean.isEmpty { return .multipart(parts) }
            // Too many changes: parts are larger, and the shortest clean ranges, an eighth of all at a time, are sent with what
            // lies beside them.
            if !isCoarse {
                isCoarse = true
                stagedPart = min(4 * stagedPart, partBytesMax)
                copyPart = min(4 * copyPart, partBytesMax)
            }
            clean.sort { $0.count > $1.count }
            clean.removeLast((clean.count + 7) / 8)
            clean.sort { $0.lowerBound < $1.lowerBound }
        }
    }

    /// Alternating staged and copied segments, each but the last at least `partMin` bytes.
    /// - Parameter clean: what may be copied: ranges in order, of at least `partMin` bytes each.
    private static func alternate(byteCount: Int, clean: [ByteRange], partMin: Int) -> [Part] {
        var segments: [Part] = []
        var position = 0
        for range in clean {
            var lower = range.lowerBound
            if lower > position {
                // A short staged segment grows into the clean range behind it until it is a legal part.
                lower = max(lower, position + partMin)
                // What is left of the clean range must be a legal part itself.
                if range.upperBound - lower < partMin { continue }
                segments.append(Part(range: ByteRange(position, lower), source: .staged))
            }
            segments.append(Part(range: ByteRange(lower, range.upperBound), source: .base))
            position = range.upperBound
        }
        if position < byteCount { segments.append(Part(range: ByteRange(position, byteCount), source: .staged)) }
        return segments
    }

    /// Cuts a segment into parts of `size`, the remainder joined to the last one when it would be too short.
    private static func cut(_ segment: Part, into size: Int, partMin: Int) -> [Part] {
        var parts: [Part] = []
        var position = segment.range.lowerBound
        while position < segment.range.upperBound {
            var end = min(position + size, segment.range.upperBound)
            if segment.range.upperBound - end < partMin { end = segment.range.upperBound }
            parts.append(Part(range: ByteRange(position, end), source: segment.source))
            position = end
        }
        return parts
    }

    private static func roundUp(_ value: Int, to unit: Int) -> Int { (value + unit - 1) / unit * unit }
}
