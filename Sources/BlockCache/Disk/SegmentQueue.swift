// Which segment makes room for others on disk: the policy of the memory tier, for segments. Pure.

internal import DequeModule

/// The segments that this process knows of, in the order of their eviction.
///
/// New ones stand in a short queue; those of which something was found again go to the long one when they come to its
/// front, and new ones that left the short queue not long ago go there at once. So one pass over a huge file drives out
/// other one-pass data and leaves what is used again alone. A value inside the lock of the disk tier.
struct SegmentQueue {
    /// The share of the limit that the short queue has when others want to go, in hundredths.
    static let probationPercent = 10
    /// A segment that was used much stays through so many turns at most.
    private static let useCountMax: UInt8 = 3
    /// How many segments that left are remembered.
    private static let ghostCountMax = 4096

    private struct Record {
        var bytes: Int
        var uses: UInt8
        var isProven: Bool
        /// Tells its place in a queue from stale ones of the same name.
        var ticket: UInt32
    }

    private struct Place {
        let name: SegmentName
        let ticket: UInt32
    }

    private var records: [SegmentName: Record] = [:]
    private var probation: Deque<Place> = []
    private var main: Deque<Place> = []
    private var probationBytes = 0
    private var ghosts: Set<SegmentName> = []
    private var ghostOrder: Deque<SegmentName> = []
    private var lastTicket: UInt32 = 0

    /// Bytes of all segments known.
    private(set) var byteCount = 0
    var count: Int { records.count }

    func contains(_ name: SegmentName) -> Bool { records[name] != nil }

    /// A segment was made, or has another size now.
    /// - Parameter isFound: blocks of it were found again before; it goes to the long queue.
    mutating func set(_ name: SegmentName, bytes: Int, isFound: Bool = false) {
        if var record = records[name] {
            byteCount += bytes - record.bytes
            if !record.isProven { probationBytes += bytes - record.bytes }
            record.bytes = bytes
            if isFound { record.uses = max(record.uses, 1) }
            records[name] = record
        } else {
            insert(name, bytes, isProven: isFound || ghosts.remove(name) != nil, uses: 0)
        }
    }

    private mutating func insert(_ name: SegmentName, _ bytes: Int, isProven: Bool, uses: UInt8) {
        lastTicket &+= 1
        records[name] = Record(bytes: bytes, uses: uses, isProven: isProven, ticket: lastTicket)
        byteCount += bytes
        let place = Place(name: name, ticket: lastTicket)
        if isProven {
            main.append(place)
        } else {
            probation.append(place)
            probationBytes += bytes
        }
    }

    /// Takes in what an earlier process left, the oldest first. It stands before all that came since.
    mutating func adopt(_ found: [(name: SegmentName, bytes: Int, isFound: Bool)]) {
        let (newProbation, newMain) = (probation, main)
        (probation, main) = ([], [])
        for segment in found where !contains(segment.name) {
            insert(segment.name, segment.bytes, isProven: segment.isFound, uses: 0)
        }
        probation += newProbation
        main += newMain
    }

    /// Something of the segment was found again.
    mutating func use(_ name: SegmentName) {
        guard var record = records[name] else { return }
        record.uses = min(record.uses + 1, Self.useCountMax)
        records[name] = record
    }

    /// A segment is gone by other ways than eviction.
    mutating func forget(_ name: SegmentName) {
        guard let record = records.removeValue(forKey: name) else { return }
        byteCount -= record.bytes
        if !record.isProven { probationBytes -= record.bytes }
        if probation.count + main.count > 2 * records.count + 64 { dropStalePlaces() }
    }

    private mutating func dropStalePlaces() {
        let records = records
        probation.removeAll { records[$0.name]?.ticket != $0.ticket }
        main.removeAll { records[$0.name]?.ticket != $0.ticket }
    }

    /// Takes out the segment to remove next, and whether it was in the long queue; nil when none is known.
    /// - Parameter limitBytes: of the whole cache.
    mutating func next(limitBytes: Int) -> (name: SegmentName, isProven: Bool)? {
        while !records.isEmpty {
            let isProbation =
                main.isEmpty || (!probation.isEmpty && probationBytes * 100 > limitBytes * Self.probationPercent)
            guard let place = isProbation ? probation.popFirst() : main.popFirst() else { return nil }
            guard let record = records[place.name], record.ticket == place.ticket else { continue }
            records[place.name] = nil
            byteCount -= record.bytes
            if !record.isProven { probationBytes -= record.bytes }
            if record.uses > 0 {
                // Out of probation it begins afresh; in the long queue it has one turn less.
                insert(place.name, record.bytes, isProven: true, uses: record.isProven ? record.uses - 1 : 0)
                continue
            }
            if !record.isProven { remember(place.name) }
            return (place.name, record.isProven)
        }
        return nil
    }

    private mutating func remember(_ name: SegmentName) {
        guard ghosts.insert(name).inserted else { return }
        ghostOrder.append(name)
        if ghostOrder.count > Self.ghostCountMax, let oldest = ghostOrder.popFirst() { ghosts.remove(oldest) }
    }
}
