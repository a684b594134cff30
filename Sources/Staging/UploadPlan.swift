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
    /// The usual part copied by the server; it costs no transfer of ours, so fewer and larger ones.
    public static let usualCopyBytes = 128 << 20

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
        let stagedPart = max(partBytes ?? usualPartBytes, fitting, partMin)
        let copyPart = max(usualCopyBytes, fitting)
        let segments = alternate(byteCount: byteCount, dirty: dirty, baseByteCount: baseByteCount, partMin: partMin)
        return .multipart(
            segments.flatMap { cut($0, into: $0.source == .base ? copyPart : stagedPart, partMin: partMin) })
    }

    /// Alternating staged and copied segments, each but the last at least `partMin` bytes.
    private static func alternate(byteCount: Int, dirty: ByteRangeSet, baseByteCount: Int, partMin: Int) -> [Part] {
        let clean = dirty.gaps(in: ByteRange(0, min(baseByteCount, byteCount))).filter { $0.count >= partMin }
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
