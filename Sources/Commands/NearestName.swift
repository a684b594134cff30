// "Did you mean": the known name closest to a mistyped one.

/// Finds names that are nearly the given one.
enum NearestName {
    /// The candidate that takes the fewest edits, if they are few enough that it may be what was meant.
    static func of(_ name: String, among candidates: some Sequence<String>) -> String? {
        let most = max(1, name.count / 3)
        let nearest = candidates.map { ($0, distance(name, $0)) }.min { ($0.1, $0.0) < ($1.1, $1.0) }
        guard let nearest, nearest.1 <= most else { return nil }
        return nearest.0
    }

    /// ` (did you mean NAME?)`, or nothing.
    static func hint(_ name: String, among candidates: some Sequence<String>) -> String {
        of(name, among: candidates).map { "; did you mean '\($0)'?" } ?? ""
    }

    /// Edits from one to the other: a character put in, taken out or replaced, or two neighbours swapped
    /// (optimal string alignment).
    static func distance(_ first: String, _ second: String) -> Int {
        let first = Array(first.lowercased().utf8)
        let second = Array(second.lowercased().utf8)
        var beforeLast: [Int] = []
        var last = Array(0...second.count)
        for (row, left) in first.enumerated() {
            var current = [row + 1]
            for (column, right) in second.enumerated() {
                var best = min(
                    last[column] + (left == right ? 0 : 1), min(last[column + 1], current[column]) + 1)
                if row > 0, column > 0, left == second[column - 1], right == first[row - 1] {
                    best = min(best, beforeLast[column - 1] + 1)
                }
                current.append(best)
            }
            beforeLast = last
            last = current
        }
        return last[second.count]
    }
}
