// The alphabet of random tests: calls on a handful of names, so that they meet.

import MemoryStore

/// One step. What it refers to may not exist: then it must fail, or (for slots and other clients) does nothing.
enum RandomCall: Sendable, CustomStringConvertible {
    case writeFile(String, count: Int, fill: UInt8)
    case append(String, count: Int, fill: UInt8)
    case create(slot: Int, String, mode: UInt32)
    case open(slot: Int, String, write: Bool)
    case write(slot: Int, offset: Int, count: Int, fill: UInt8)
    case truncateOpen(slot: Int, Int)
    case readOpen(slot: Int)
    case synchronise(slot: Int)
    case close(slot: Int)
    case truncate(String, Int)
    case chmod(String, UInt32)
    case setModified(String, Int64)
    case makeDirectory(String, mode: UInt32)
    case symlink(String, String)
    case unlink(String)
    case removeDirectory(String)
    case rename(String, String, mustBeNew: Bool)
    case drain
    case expire
    case remount
    case kill
    case writeRemotely(String, count: Int, fill: UInt8)
    case removeRemotely(String)
    case setWall(bySeconds: Int64)

    var description: String {
        switch self {
        case .writeFile(let path, let count, let fill): ".writeFile(\"\(path)\", count: \(count), fill: \(fill))"
        case .append(let path, let count, let fill): ".append(\"\(path)\", count: \(count), fill: \(fill))"
        case .create(let slot, let path, let mode): ".create(slot: \(slot), \"\(path)\", mode: \(mode))"
        case .open(let slot, let path, let write): ".open(slot: \(slot), \"\(path)\", write: \(write))"
        case .write(let slot, let offset, let count, let fill):
            ".write(slot: \(slot), offset: \(offset), count: \(count), fill: \(fill))"
        case .truncateOpen(let slot, let count): ".truncateOpen(slot: \(slot), \(count))"
        case .readOpen(let slot): ".readOpen(slot: \(slot))"
        case .synchronise(let slot): ".synchronise(slot: \(slot))"
        case .close(let slot): ".close(slot: \(slot))"
        case .truncate(let path, let count): ".truncate(\"\(path)\", \(count))"
        case .chmod(let path, let mode): ".chmod(\"\(path)\", \(mode))"
        case .setModified(let path, let seconds): ".setModified(\"\(path)\", \(seconds))"
        case .makeDirectory(let path, let mode): ".makeDirectory(\"\(path)\", mode: \(mode))"
        case .symlink(let path, let target): ".symlink(\"\(path)\", \"\(target)\")"
        case .unlink(let path): ".unlink(\"\(path)\")"
        case .removeDirectory(let path): ".removeDirectory(\"\(path)\")"
        case .rename(let old, let new, let mustBeNew): ".rename(\"\(old)\", \"\(new)\", mustBeNew: \(mustBeNew))"
        case .drain: ".drain"
        case .expire: ".expire"
        case .remount: ".remount"
        case .kill: ".kill"
        case .writeRemotely(let path, let count, let fill):
            ".writeRemotely(\"\(path)\", count: \(count), fill: \(fill))"
        case .removeRemotely(let path): ".removeRemotely(\"\(path)\")"
        case .setWall(let seconds): ".setWall(bySeconds: \(seconds))"
        }
    }

    static let slotCount = 3

    /// The bytes that a step writes: no two positions near each other alike, never zero.
    static func bytes(count: Int, fill: UInt8) -> [UInt8] {
        // By periods of 251: a loop over each byte of a large file takes seconds without optimisation.
        let period = (0..<251).map { UInt8(($0 * 7 + Int(fill)) % 251 + 1) }
        var result: [UInt8] = []
        while result.count < count { result += result.count < 65_536 ? period : result }
        result.removeLast(result.count - count)
        return result
    }

    private static func path(_ random: inout SplitMix64) -> String {
        let depth = [1, 1, 1, 2, 2, 3].randomElement(using: &random)!
        return (0..<depth).map { _ in ["a", "b", "c"].randomElement(using: &random)! }.joined(separator: "/")
    }

    /// Sizes around nothing, a few blocks of the cache, and both sides of their borders.
    private static func count(_ random: inout SplitMix64) -> Int {
        switch Int.random(in: 0..<6, using: &random) {
        case 0: 0
        case 1: Int.random(in: 1...10, using: &random)
        case 2: Int.random(in: 4094...4098, using: &random)
        default: Int.random(in: 1...15_000, using: &random)
        }
    }

    /// A sequence of calls; now and then somebody sets the clock.
    /// - Parameter meddles: whether another client changes something before every fourth call.
    static func sequence(seed: UInt64, count: Int, meddles: Bool = false) -> [RandomCall] {
        var (random, clock) = (SplitMix64(seed: seed), SplitMix64(seed: ~seed))
        return (0..<count).flatMap { index in
            if meddles, index % 4 == 3 {
                return [
                    Bool.random(using: &random)
                        ? .removeRemotely(path(&random))
                        : .writeRemotely(path(&random), count: Self.count(&random), fill: UInt8(index)),
                    Self.random(&random),
                ]
            }
            let call = Self.random(&random)
            guard Int.random(in: 0..<10, using: &clock) == 0 else { return [call] }
            let seconds: Int64 = [1, 30, 61, 3600, 86_400, 31_536_000].randomElement(using: &clock)!
            return [.setWall(bySeconds: Bool.random(using: &clock) ? seconds : -seconds), call]
        }
    }

    private static func random(_ random: inout SplitMix64) -> RandomCall {
        let slot = Int.random(in: 0..<slotCount, using: &random)
        let fill = UInt8.random(in: 0...250, using: &random)
        let mode: UInt32 = [0o600, 0o644, 0o755, 0o400].randomElement(using: &random)!
        switch Int.random(in: 0..<100, using: &random) {
        case 0..<14: return .writeFile(path(&random), count: count(&random), fill: fill)
        case 14..<18: return .append(path(&random), count: count(&random), fill: fill)
        case 18..<23: return .create(slot: slot, path(&random), mode: mode)
        case 23..<31: return .open(slot: slot, path(&random), write: Bool.random(using: &random))
        case 31..<39: return .write(slot: slot, offset: count(&random), count: count(&random), fill: fill)
        case 39..<41: return .truncateOpen(slot: slot, count(&random))
        case 41..<43: return .readOpen(slot: slot)
        case 43..<46: return .synchronise(slot: slot)
        case 46..<52: return .close(slot: slot)
        case 52..<55: return .truncate(path(&random), count(&random))
        case 55..<58: return .chmod(path(&random), mode)
        case 58..<60: return .setModified(path(&random), Int64.random(in: 0...2_000_000_000, using: &random))
        case 60..<68: return .makeDirectory(path(&random), mode: mode | 0o100)
        case 68..<70: return .symlink(path(&random), ["a", "b/c", "über"].randomElement(using: &random)!)
        case 70..<75: return .unlink(path(&random))
        case 75..<78: return .removeDirectory(path(&random))
        case 78..<89:
            return .rename(path(&random), path(&random), mustBeNew: Int.random(in: 0..<6, using: &random) == 0)
        case 89..<91: return .drain
        case 91..<93: return .expire
        case 93..<94: return .remount
        case 94..<96: return .kill
        case 96..<98: return .writeRemotely(path(&random), count: count(&random), fill: fill)
        default: return .removeRemotely(path(&random))
        }
    }
}
