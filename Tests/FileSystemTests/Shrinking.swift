// Makes a failing sequence of calls short enough to be read.

/// Drops steps, in ever smaller runs, as long as it still fails. Few tries: a failure may depend on timing.
func shrink<Call>(_ calls: [Call], fails: ([Call]) async -> Difference?) async -> ([Call], Difference?) {
    var best = calls
    var difference: Difference?
    var size = max(1, calls.count / 2)
    var triesLeft = 300
    while triesLeft > 0 {
        var start = 0
        var hasShrunk = false
        while start < best.count, triesLeft > 0 {
            var candidate = best
            candidate.removeSubrange(start..<min(start + size, candidate.count))
            triesLeft -= 1
            if let found = await fails(candidate) {
                best = candidate
                difference = found
                hasShrunk = true
            } else {
                start += size
            }
        }
        if size == 1, !hasShrunk { break }
        size = max(1, size / 2)
    }
    return (best, difference)
}

/// A failure as a test that can be pasted.
func script(_ calls: [some CustomStringConvertible]) -> String {
    "[\n" + calls.map { "    \($0),\n" }.joined() + "]"
}
