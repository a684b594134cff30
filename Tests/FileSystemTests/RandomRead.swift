// The alphabet of the random tests of reading: opens, reads in patterns, and changes by other clients.

import MemoryStore

/// What another client does to an object.
enum RemoteChange: Sendable, CustomStringConvertible {
    case overwrite(String, count: Int)
    case remove(String)

    var description: String {
        switch self {
        case .overwrite(let path, let count): ".overwrite(\"\(path)\", count: \(count))"
        case .remove(let path): ".remove(\"\(path)\")"
        }
    }
}

struct SlotRead: Sendable, CustomStringConvertible {
    var slot: Int
    var offset: Int
    var count: Int

    var description: String { ".init(slot: \(slot), offset: \(offset), count: \(count))" }
}

/// One step. What refers to a slot that is not open, or to one that is, does nothing.
enum RandomRead: Sendable, CustomStringConvertible {
    case open(slot: Int, String)
    case close(slot: Int)
    /// One after the other.
    case read([SlotRead])
    /// At once; the change happens while their requests are on the way.
    case readTogether([SlotRead], RemoteChange?)
    /// Begins a read, and gives it up while its request is on the way.
    case abandon(SlotRead)
    case change(RemoteChange)
    case list
    case expire
    case refresh
    /// Drops what is in memory of a file.
    case evict(String)
    /// Ends the mount and begins another one on the same directories.
    case restart(Restart)
    /// Spoils files of the disk cache, or removes all of them.
    case damage(seed: UInt64)
    case clearDisk

    enum Restart: Sendable, CaseIterable {
        /// What was read is on disk by then.
        case drained
        case inGoodOrder
        case killed
    }

    var description: String {
        switch self {
        case .open(let slot, let path): ".open(slot: \(slot), \"\(path)\")"
        case .close(let slot): ".close(slot: \(slot))"
        case .read(let reads): ".read(\(reads))"
        case .readTogether(let reads, let change): ".readTogether(\(reads), \(change.map { "\($0)" } ?? "nil"))"
        case .abandon(let read): ".abandon(\(read))"
        case .change(let change): ".change(\(change))"
        case .list: ".list"
        case .expire: ".expire"
        case .refresh: ".refresh"
        case .evict(let path): ".evict(\"\(path)\")"
        case .restart(let how): ".restart(.\(how))"
        case .damage(let seed): ".damage(seed: \(seed))"
        case .clearDisk: ".clearDisk"
        }
    }

    static let slotCount = 4
    static let paths = ["a", "b", "dir/c"]
    private static let block = Mount.blockBytes

    /// Nothing, both sides of the border of a block, a few blocks, and more than any small budget holds.
    private static func byteCount(_ random: inout SplitMix64) -> Int {
        switch Int.random(in: 0..<8, using: &random) {
        case 0: 0
        case 1: Int.random(in: 1...10, using: &random)
        case 2: block * Int.random(in: 1...3, using: &random) + Int.random(in: -2...2, using: &random)
        case 3, 4: Int.random(in: 1...10 * block, using: &random)
        default: Int.random(in: 20 * block...120 * block, using: &random)
        }
    }

    private static func path(_ random: inout SplitMix64) -> String { paths.randomElement(using: &random)! }

    private static func change(_ random: inout SplitMix64) -> RemoteChange {
        Int.random(in: 0..<5, using: &random) == 0
            ? .remove(path(&random)) : .overwrite(path(&random), count: byteCount(&random))
    }

    /// A walk through a file: in order, backward, by strides, at random, or around the end, of any size.
    private static func walk(_ slot: Int, _ random: inout SplitMix64) -> [SlotRead] {
        let count = [1, 100, 4095, 4096, 4097, 16_384, 40_000].randomElement(using: &random)!
        let start = Int.random(in: 0...60 * block, using: &random) * (Bool.random(using: &random) ? 1 : 0)
        let number = Int.random(in: 1...16, using: &random)
        let step =
            switch Int.random(in: 0..<6, using: &random) {
            case 0, 1: count
            case 2: -count
            case 3: count + Int.random(in: 1...10 * block, using: &random)
            case 4: -(count + Int.random(in: 1...5 * block, using: &random))
            default: 0
            }
        return (0..<number).map { index in
            let offset =
                step == 0 ? Int.random(in: 0...130 * block, using: &random) : max(0, start + index * step)
            return SlotRead(slot: slot, offset: offset, count: count)
        }
    }

    /// The walks of several streams, taken in turns.
    private static func interleaved(_ walks: [[SlotRead]]) -> [SlotRead] {
        (0..<(walks.map(\.count).max() ?? 0)).flatMap { index in walks.compactMap { $0.dropFirst(index).first } }
    }

    static func random(_ random: inout SplitMix64) -> RandomRead {
        let slot = Int.random(in: 0..<slotCount, using: &random)
        switch Int.random(in: 0..<100, using: &random) {
        case 0..<22: return .open(slot: slot, path(&random))
        case 22..<29: return .close(slot: slot)
        case 29..<47: return .read(walk(slot, &random))
        case 47..<55: return .read(interleaved([walk(slot, &random), walk(slot, &random)]))
        case 55..<60:
            let other = Int.random(in: 0..<slotCount, using: &random)
            return .read(interleaved([walk(slot, &random), walk(other, &random)]))
        case 60..<75:
            let walks = (0..<3).map { _ in walk(Int.random(in: 0..<slotCount, using: &random), &random) }
            let isChanged = Bool.random(using: &random)
            return .readTogether(interleaved(walks), isChanged ? change(&random) : nil)
        case 75..<78: return .abandon(walk(slot, &random)[0])
        case 78..<88: return .change(change(&random))
        case 88..<92: return .list
        case 92..<97: return .expire
        default: return .refresh
        }
    }

    /// Of a mount with a disk cache.
    static func randomWithDisk(_ random: inout SplitMix64) -> RandomRead {
        switch Int.random(in: 0..<100, using: &random) {
        case 0..<8: .evict(path(&random))
        case 8..<15: .restart(Restart.allCases.randomElement(using: &random)!)
        case 15..<21: .damage(seed: random.next())
        case 21..<22: .clearDisk
        default: self.random(&random)
        }
    }
}
