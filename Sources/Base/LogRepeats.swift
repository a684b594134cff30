// Repeated log records collapse: a server that is down must not fill the disk with one sentence.

/// Decides which records are written. The first of a kind passes; the same text within the window is only counted;
/// the count is told when the window is over. Pure: the caller brings the time and the lock.
struct LogRepeats {
    /// How many of one text were held back.
    struct Summary: Equatable {
        let body: String
        let count: Int
    }

    private struct Entry {
        let body: String
        let windowEnd: UInt64
        var heldBack: Int
    }

    /// Distinct texts watched at once: interleaved failures of several kinds still collapse.
    static let entryCountMax = 16

    private let windowNanoseconds: UInt64
    /// Oldest first.
    private var entries: [Entry] = []

    init(windowNanoseconds: UInt64 = 10_000_000_000) {
        self.windowNanoseconds = windowNanoseconds
    }

    /// Takes a record at a monotonic time. Returns whether to write it, and which summaries to write before it.
    mutating func admit(_ body: String, at now: UInt64) -> (write: Bool, summaries: [Summary]) {
        var summaries = expire(at: now)
        if let index = entries.firstIndex(where: { $0.body == body }) {
            entries[index].heldBack += 1
            return (false, summaries)
        }
        if entries.count == Self.entryCountMax, let summary = Self.summary(of: entries.removeFirst()) {
            summaries.append(summary)
        }
        entries.append(Entry(body: body, windowEnd: now &+ windowNanoseconds, heldBack: 0))
        return (true, summaries)
    }

    /// Everything counted and not yet told.
    mutating func drain() -> [Summary] {
        defer { entries = [] }
        return entries.compactMap(Self.summary)
    }

    private mutating func expire(at now: UInt64) -> [Summary] {
        let expired = entries.filter { $0.windowEnd <= now }
        guard !expired.isEmpty else { return [] }
        entries.removeAll { $0.windowEnd <= now }
        return expired.compactMap(Self.summary)
    }

    private static func summary(of entry: Entry) -> Summary? {
        entry.heldBack == 0 ? nil : Summary(body: entry.body, count: entry.heldBack)
    }
}
