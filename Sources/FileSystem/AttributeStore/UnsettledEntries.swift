// What this mount wrote a moment ago: kept in memory until nothing that it writes next can be mistaken for it.

internal import Base
internal import DequeModule

/// Entries that are not on disk yet. A pure value.
///
/// A row says by our clock when an object was written, and is taken for an object that the store dates within some seconds
/// of that. Were it on disk at once, and the next row of that name lost in a power cut, the object of that next row would
/// be taken for it, with attributes that it has no more. So a row is written when everything that may follow it is dated
/// too late to be taken for it.
struct UnsettledEntries {
    /// Twice what clocks may differ by.
    static let settlingNanoseconds = 2 * UInt64(RememberedEntry.clockSkewSecondsMax) * 1_000_000_000
    /// Beyond it the oldest are written early.
    static let countMax = 16_384

    struct Place: Hashable {
        /// The directory's key prefix.
        let prefix: ByteString
        let name: ByteString
    }

    private struct Held {
        var entry: RememberedEntry
        /// Monotonic nanoseconds.
        var since: UInt64
    }

    private var held: [Place: Held] = [:]
    /// In the order in which they came; what is not held since that time is held anew, or no more.
    private var order: Deque<(place: Place, since: UInt64)> = []

    subscript(place: Place) -> RememberedEntry? { held[place]?.entry }

    mutating func add(_ entry: RememberedEntry, at place: Place, now: UInt64) {
        held[place] = Held(entry: entry, since: now)
        order.append((place, now))
    }

    mutating func forget(_ place: Place) {
        held[place] = nil
    }

    /// Forgets everything of a directory and of those below it.
    mutating func forget(below prefix: ByteString) {
        held = held.filter { !$0.key.prefix.hasPrefix(prefix) }
    }

    /// The entries that are settled, and those beyond the limit, are no longer held: they are to be written.
    mutating func takeSettled(now: UInt64) -> [(place: Place, entry: RememberedEntry)] {
        take { $0.since &+ Self.settlingNanoseconds <= now || $1 > Self.countMax }
    }

    mutating func takeAll() -> [(place: Place, entry: RememberedEntry)] { take { _, _ in true } }

    private mutating func take(
        while isDue: (_ first: (place: Place, since: UInt64), _ count: Int) -> Bool
    ) -> [(place: Place, entry: RememberedEntry)] {
        var result: [(place: Place, entry: RememberedEntry)] = []
        while let first = order.first, isDue(first, order.count) {
            order.removeFirst()
            guard let known = held[first.place], known.since == first.since else { continue }
            held[first.place] = nil
            result.append((first.place, known.entry))
        }
        return result
    }
}
