// What to fetch before it is asked for: a pure state machine over the ranges that one handle reads.
//
// It knows nothing of memory, requests or time. It follows a few sequential streams at once (several threads, or a
// format that reads columns side by side), and one stride, forward or backward. Random reads get nothing, unless they
// come back to a neighbourhood: that is fetched whole.

internal import ObjectModel

/// The access pattern of one handle. A value; the owner guards it.
///
/// Each head of a sequential stream goes: new → proven (from the start of the object at once, elsewhere at the third
/// read in a row) → idle (not read for a while: its window is dropped) → proven again, or forgotten for a newer head.
struct ReadAhead {
    struct Parameters: Sendable, Equatable {
        var blockBytes: Int
        var objectBytes: Int
        /// The largest window of a stream, in bytes.
        var windowBytesMax: Int
        /// The longest single range, in bytes.
        var requestBytesMax: Int

        /// Sequential streams followed at once.
        var headCountMax = 8
        /// Reads in a row that prove a stream which does not begin at the start of the object.
        var proofCount = 3
        /// The window as a multiple of what was read in a row: from the start of the object; from elsewhere; and once
        /// `earnestBytes` were read in a row. It bounds the waste of a stream that ends early.
        var eagerGrowth = 4
        var cautiousGrowth = 2
        var earnestGrowth = 4
        var earnestBytes = 8 << 20
        /// The shortest window and range worth a request, in bytes; and the window that a stream from the start of the
        /// object begins with.
        var windowBytesMin = 256 << 10
        var eagerWindowBytesMin = 2 << 20
        var requestBytesMin = 512 << 10
        /// How many runs that ended are remembered, and how many of them tell how long the next will be.
        var endedRunCountMax = 3
        var endedRunCountMin = 1
        /// How many reads of a run may arrive after the first of another.
        var lateReadCountMax = 2
        /// How many ranges a window is cut in, so that they arrive side by side: the few while they are shorter than
        /// `wideWindowPieceBytes`, for fewer requests; then up to the many.
        var parallelCountMin = 16
        var parallelCountMax = 32
        var wideWindowPieceBytes = 4 << 20
        /// How far a read may be from where its stream stands, as a multiple of its length, and at most in bytes: the
        /// kernel's own read-ahead arrives from several threads, a little out of order.
        var reorderFactor = 4
        var reorderBytesMax = 2 << 20
        /// Reads of the handle after which a head that had none of them is idle.
        var idleReadCount = 64
        /// Equal distances in a row that prove a stride, and the most accesses it is predicted for.
        var strideProofCount = 3
        var strideDepthMax = 32
        /// The aligned stretch that is fetched whole at the second random read in it, in blocks and at most in
        /// bytes, and how many of the stretches read last are remembered.
        var neighbourhoodBlockCount = 4
        var neighbourhoodBytesMax = 128 << 10
        var neighbourhoodCountMax = 16

        /// For an object of which pieces are read more often than all: its start says nothing, and the first run is trusted
        /// no further than it has come.
        mutating func expectPieces() {
            eagerGrowth = 1
            cautiousGrowth = 1
            eagerWindowBytesMin = windowBytesMin
        }
    }

    /// How much memory there is for what is fetched ahead.
    struct Room: Equatable {
        /// All that this handle may have ahead, in bytes.
        var shareBytes: Int
        /// What may newly be advised now, in bytes.
        var freeBytes: Int
    }

    /// What to do after a read.
    struct Advice: Equatable {
        /// Ranges to fetch, each for one GET, in the order of their use. They begin and end at block boundaries or at
        /// the end of the object, except strided ones.
        var fetch: [ByteRange] = []
        /// What was advised before and is not expected to be read any more.
        var drop: [ByteRange] = []
    }

    private struct Head {
        /// Where the next read is expected.
        var next: Int
        /// Bytes and reads in a row.
        var runBytes: Int
        var runCount: Int
        var isEager: Bool
        /// The end of what was advised; at most `next` when nothing is ahead.
        var aheadEnd: Int
        /// The number of the last read that belonged to it.
        var lastRead: Int
        /// Set when its run has counted as ended: its reads since then. A few may still arrive, out of order; if it goes on,
        /// it had not ended.
        var lateReadCount: Int?
    }

    private struct Stride {
        var lastStart: Int
        var distance = 0
        var repeatCount = 0
        /// How many accesses were predicted beyond `lastStart`.
        var aheadCount = 0
    }

    private static let alignedBytesMin = 1 << 20

    private let parameters: Parameters
    private var heads: [Head] = []
    private var stride: Stride?
    /// The lengths in bytes of the runs that ended last, the oldest first: a reader of chunks ends each where a chunk ends.
    private var endedRuns: [Int] = []
    /// The neighbourhoods that random reads were in, the oldest first, each with its number and the block that was read.
    private var neighbourhoods: [(number: Int, block: Int)] = []
    private var readCount = 0

    init(_ parameters: Parameters) {
        self.parameters = parameters
        heads.reserveCapacity(parameters.headCountMax)
    }

    /// Follows a read.
    /// - Parameter isHit: whether its bytes are in memory. Then a first look at the start of an object brings nothing else:
    ///   who reads on says so in a moment, and has lost nothing.
    mutating func read(_ range: ByteRange, _ room: Room, isHit: Bool = false) -> Advice {
        readCount += 1
        var advice = Advice()
        if readCount % (parameters.idleReadCount / 2) == 0 { dropIdleHeads(&advice) }
        let isStride = followStride(range)
        let position = follow(range, &advice)
        if heads[position].lateReadCount != nil {
            return advice
        } else if isProven(heads[position]) {
            let isGlance = isHit && heads[position].runCount == 1 && range.count < parameters.blockBytes
            if isGlance { return advice }
            advise(position, room, &advice)
        } else if isStride {
            adviseStride(range, room.freeBytes, &advice)
        } else {
            adviseNeighbourhood(range, room.freeBytes, &advice)
        }
        return advice
    }

    /// Says that a block of a coming read was neither in memory nor under way: what was advised for it is lost.
    mutating func missed(_ range: ByteRange) {
        for position in heads.indices
        where range.lowerBound < heads[position].aheadEnd
            && range.lowerBound >= heads[position].next - tolerance(range)
        {
            heads[position].aheadEnd = heads[position].next
        }
    }

    private func tolerance(_ range: ByteRange) -> Int {
        min(range.count * parameters.reorderFactor, parameters.reorderBytesMax)
    }

    private func isProven(_ head: Head) -> Bool { head.isEager || head.runCount >= parameters.proofCount }

    // MARK: Sequential streams

    /// Moves the head that the read belongs to, or makes one; returns its position.
    private mutating func follow(_ range: ByteRange, _ advice: inout Advice) -> Int {
        guard let position = nearestHead(range) else { return addHead(range, &advice) }
        heads[position].lastRead = readCount
        let gapBytes = range.lowerBound - heads[position].next
        if gapBytes > tolerance(range), gapBytes > heads[position].runBytes / 2 {
            // More is skipped than read: that was the end of a run, and what was fetched behind it was in vain.
            end(position)
            drop(position, &advice)
            heads[position] = head(at: range)
        } else if range.upperBound > heads[position].next {
            let runBytes = heads[position].runBytes
            heads[position].next = range.upperBound
            heads[position].runBytes += range.count
            heads[position].runCount += 1
            if let count = heads[position].lateReadCount { readLate(position, count + 1, runBytes) }
        }
        return position
    }

    /// Counts a read after the end of its run to the run, or takes the end back.
    private mutating func readLate(_ position: Int, _ lateReadCount: Int, _ runBytesBefore: Int) {
        if lateReadCount > parameters.lateReadCountMax {
            heads[position].lateReadCount = nil
            endedRuns = []
        } else {
            heads[position].lateReadCount = lateReadCount
            if let index = endedRuns.lastIndex(of: runBytesBefore) { endedRuns[index] = heads[position].runBytes }
        }
    }

    private func nearestHead(_ range: ByteRange) -> Int? {
        let tolerance = tolerance(range)
        var best: (position: Int, distance: Int)?
        for (position, head) in heads.enumerated() {
            let distance = range.lowerBound - head.next
            // Skipping forward inside what is fetched ahead is still the same stream.
            let isInside = isProven(head) && distance > 0 && range.lowerBound < head.aheadEnd
            guard abs(distance) <= tolerance || isInside else { continue }
            if best == nil || abs(distance) < best!.distance { best = (position, abs(distance)) }
        }
        return best?.position
    }

    private mutating func addHead(_ range: ByteRange, _ advice: inout Advice) -> Int {
        if let last = heads.indices.max(by: { heads[$0].lastRead < heads[$1].lastRead }) { end(last) }
        let head = head(at: range)
        guard heads.count == parameters.headCountMax else {
            heads.append(head)
            return heads.count - 1
        }
        // An unproven head goes first: random reads do not drive a stream out.
        let oldest = heads.indices.min { left, right in
            let (left, right) = (heads[left], heads[right])
            return (isProven(left) ? 1 : 0, left.lastRead) < (isProven(right) ? 1 : 0, right.lastRead)
        }!
        drop(oldest, &advice)
        heads[oldest] = head
        return oldest
    }

    private func head(at range: ByteRange) -> Head {
        Head(
            next: range.upperBound, runBytes: range.count, runCount: 1, isEager: range.lowerBound == 0,
            aheadEnd: range.upperBound, lastRead: readCount)
    }

    /// Notes that the reader has gone elsewhere.
    private mutating func end(_ position: Int) {
        guard heads[position].lateReadCount == nil else { return }
        heads[position].lateReadCount = 0
        if endedRuns.count == parameters.endedRunCountMax { endedRuns.removeFirst() }
        endedRuns.append(heads[position].runBytes)
    }

    /// How much of a run is left to be read, if it ends like those before; nil when there is no telling.
    private func expectedBytes(_ head: Head) -> Int? {
        guard endedRuns.count >= parameters.endedRunCountMin, let longest = endedRuns.max(),
            longest >= parameters.windowBytesMin, head.runBytes <= longest + longest / 4
        else { return nil }
        // Runs of one reader are not equal to the byte: the kernel reads ahead, and chunks begin anywhere in a page.
        return max(0, longest - head.runBytes)
    }

    private mutating func dropIdleHeads(_ advice: inout Advice) {
        for position in heads.indices where readCount - heads[position].lastRead > parameters.idleReadCount {
            drop(position, &advice)
            heads[position].runBytes = 0
            heads[position].runCount = 0
            heads[position].isEager = false
        }
    }

    private mutating func drop(_ position: Int, _ advice: inout Advice) {
        let head = heads[position]
        if head.aheadEnd > head.next { advice.drop.append(ByteRange(head.next, head.aheadEnd)) }
        heads[position].aheadEnd = head.next
    }

    /// Asks for as much as the window of the head has room for.
    private mutating func advise(_ position: Int, _ room: Room, _ advice: inout Advice) {
        let head = heads[position]
        let isEager = head.isEager && endedRuns.isEmpty
        let growth =
            head.runBytes >= parameters.earnestBytes
            ? parameters.earnestGrowth : isEager ? parameters.eagerGrowth : parameters.cautiousGrowth
        // Who begins with a few bytes looks at a header; it is seen soon whether the rest is wanted.
        let isEagerFirst = isEager && head.runBytes >= parameters.eagerWindowBytesMin / 16
        let windowBytesMin = isEagerFirst ? parameters.eagerWindowBytesMin : parameters.windowBytesMin
        let windowBytesMax = min(parameters.windowBytesMax, room.shareBytes)
        let expectedBytes = expectedBytes(head).map(roundUp) ?? .max
        let windowBytes = min(max(head.runBytes * growth, windowBytesMin), windowBytesMax, expectedBytes)
        guard windowBytes >= parameters.blockBytes else { return }
        // A small share is cut in a few pieces too, so that one can be refilled while another is read.
        let pieceBytesMin = min(parameters.requestBytesMin, windowBytesMax / 4)
        let pieceBytes = roundUp(
            min(max(parallelPieceBytes(windowBytes), pieceBytesMin, 1), parameters.requestBytesMax, windowBytes))
        // A piece that reaches a little beyond the window spares a short one later; not where the run is expected to end.
        let excessBytes = expectedBytes == .max ? pieceBytesMin / 2 : 0
        var freeBytes = room.freeBytes
        var end = max(head.aheadEnd, min(roundUp(head.next), parameters.objectBytes))
        while end < parameters.objectBytes {
            var upper = min(aligned(end + pieceBytes, from: end), parameters.objectBytes)
            // A short rest is not worth a request of its own.
            if parameters.objectBytes - upper <= pieceBytesMin / 2 { upper = parameters.objectBytes }
            guard upper - head.next <= windowBytes + excessBytes, upper - end <= freeBytes else { break }
            advice.fetch.append(ByteRange(end, upper))
            freeBytes -= upper - end
            end = upper
        }
        heads[position].aheadEnd = end
    }

    private func parallelPieceBytes(_ windowBytes: Int) -> Int {
        min(
            windowBytes / parameters.parallelCountMin,
            max(windowBytes / parameters.parallelCountMax, parameters.wideWindowPieceBytes))
    }

    /// The end of a long range, at the last multiple of a power of two that leaves it at least half: servers keep objects
    /// in stripes and parts of such sizes, and a range that lies in one of them costs less than one across two.
    private func aligned(_ upper: Int, from lower: Int) -> Int {
        let alignment = 1 << (Int.bitWidth - 1 - (upper - lower).leadingZeroBitCount)
        let down = upper / alignment * alignment
        return alignment >= Self.alignedBytesMin && down - lower >= alignment / 2 ? down : upper
    }

    private func roundUp(_ position: Int) -> Int {
        (position + parameters.blockBytes - 1) / parameters.blockBytes * parameters.blockBytes
    }

    // MARK: Neighbourhoods

    /// Asks for all of a stretch when a read comes back to it, as the small reads of a file's index do: a request for
    /// each of them would cost more than the bytes.
    private mutating func adviseNeighbourhood(_ range: ByteRange, _ roomBytes: Int, _ advice: inout Advice) {
        let stretchBytes = min(
            parameters.neighbourhoodBlockCount * parameters.blockBytes, parameters.neighbourhoodBytesMax)
        guard range.count < stretchBytes else { return }
        let number = range.lowerBound / stretchBytes
        let block = range.lowerBound / parameters.blockBytes
        guard let position = neighbourhoods.firstIndex(where: { $0.number == number }) else {
            if neighbourhoods.count == parameters.neighbourhoodCountMax { neighbourhoods.removeFirst() }
            neighbourhoods.append((number, block))
            return
        }
        guard neighbourhoods[position].block != block else { return }
        let start = number * stretchBytes
        let all = ByteRange(start, min(start + stretchBytes, parameters.objectBytes))
        guard all.count <= roomBytes else { return }
        neighbourhoods.remove(at: position)
        advice.fetch.append(all)
    }

    // MARK: Strides

    /// Notes the distance to the read before; true when it is a proven stride.
    private mutating func followStride(_ range: ByteRange) -> Bool {
        guard var stride else {
            stride = Stride(lastStart: range.lowerBound)
            return false
        }
        let distance = range.lowerBound - stride.lastStart
        if distance == stride.distance {
            stride.repeatCount += 1
            stride.aheadCount = max(0, stride.aheadCount - 1)
        } else {
            stride.distance = distance
            stride.repeatCount = 1
            stride.aheadCount = 0
        }
        stride.lastStart = range.lowerBound
        self.stride = stride
        return distance != 0 && stride.repeatCount >= parameters.strideProofCount
    }

    /// Asks for the next accesses of the stride; again when half of them were used. Neighbours become one range.
    private mutating func adviseStride(_ range: ByteRange, _ roomBytes: Int, _ advice: inout Advice) {
        guard var stride else { return }
        let depth = min(1 << min(stride.repeatCount - 1, 16), parameters.strideDepthMax)
        guard stride.aheadCount <= depth / 2 else { return }
        var room = roomBytes
        while stride.aheadCount < depth {
            let start = range.lowerBound + (stride.aheadCount + 1) * stride.distance
            guard start >= 0, start < parameters.objectBytes else { break }
            let next = ByteRange(start, min(start + range.count, parameters.objectBytes))
            guard next.count <= room else { break }
            room -= next.count
            stride.aheadCount += 1
            if let last = advice.fetch.last, last.count + next.count <= parameters.requestBytesMax,
                last.lowerBound == next.upperBound || last.upperBound == next.lowerBound
            {
                advice.fetch[advice.fetch.count - 1] = ByteRange(
                    min(last.lowerBound, next.lowerBound), max(last.upperBound, next.upperBound))
            } else {
                advice.fetch.append(next)
            }
        }
        self.stride = stride
    }
}
