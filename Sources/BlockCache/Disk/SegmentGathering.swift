// Which blocks are written to disk together. Pure: the caller brings time.

internal import ObjectModel

/// Blocks that wait to be written, by segment.
///
/// A cold stream arrives by many ranges at once, a few blocks of each at a time. Written as they come they are many short
/// writes, each through the page cache and with its own bookkeeping; whole segments are one write past it.
struct SegmentGathering {
    struct Key: Hashable {
        let version: ObjectVersion
        let segment: Int
    }

    struct Group {
        let key: Key
        /// When the first of its blocks came; monotonic nanoseconds.
        let since: UInt64
        var blocks: [(index: Int, block: Block)] = []
    }

    private let blockBytes: Int
    private let patienceNanoseconds: UInt64
    private var groups: [Key: Group] = [:]
    /// In the order of their first blocks.
    private var order: [Key] = []

    init(blockBytes: Int, patienceNanoseconds: UInt64) {
        self.blockBytes = blockBytes
        self.patienceNanoseconds = patienceNanoseconds
    }

    var isEmpty: Bool { groups.isEmpty }

    mutating func add(_ version: ObjectVersion, _ index: Int, _ block: Block, at now: UInt64) {
        let key = Key(version: version, segment: index / SegmentIdentity.blockCount)
        if groups[key] == nil {
            groups[key] = Group(key: key, since: now)
            order.append(key)
        }
        groups[key]!.blocks.append((index, block))
    }

    /// Why groups go that still lack blocks.
    enum Pressure {
        case none
        /// The queue is filling up: the oldest must make room.
        case room
        /// Somebody waits until everything is written.
        case all
    }

    /// Takes what is to be written now: whole segments, and what has waited long enough.
    mutating func take(at now: UInt64, _ pressure: Pressure) -> [Group] {
        var taken: [Group] = []
        var left: [Key] = []
        for key in order {
            let group = groups[key]!
            let isDue =
                pressure == .all || now >= group.since &+ patienceNanoseconds || isWhole(group)
                || pressure == .room && taken.isEmpty
            if isDue { taken.append(groups.removeValue(forKey: key)!) } else { left.append(key) }
        }
        order = left
        return taken
    }

    private func isWhole(_ group: Group) -> Bool {
        let blockCount = (group.key.version.byteCount + blockBytes - 1) / blockBytes
        let rest = blockCount - group.key.segment * SegmentIdentity.blockCount
        return group.blocks.count >= min(rest, SegmentIdentity.blockCount)
    }
}
