// A local disk that has no room now and then.

import Base
import MemoryStore

/// Grants room by dice while a test wants it to be short. Thread-safe.
final class FullDisk: Sendable {
    private let dice = Lock<SplitMix64?>(nil)

    /// From now on every fifth call or so finds no room, or room for a part; nil: there is room again.
    func setShort(seed: UInt64?) {
        dice.withLock { $0 = seed.map { SplitMix64(seed: $0) } }
    }

    /// How many of so many bytes are granted.
    func room(_ count: Int) -> Int {
        dice.withLock { dice in
            guard dice != nil else { return count }
            return switch Int.random(in: 0..<12, using: &dice!) {
            case 0, 1: 0
            case 2: Int.random(in: 0...count, using: &dice!)
            default: count
            }
        }
    }
}
