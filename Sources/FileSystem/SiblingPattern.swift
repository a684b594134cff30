// Which files of a directory will be opened next: a pure state machine over the positions of what is opened.
//
// It knows nothing of names, requests or time. It follows a few readers at once, each of which opens neighbour after
// neighbour, forward or backward; several threads may share one run, a little out of order. Random opens get nothing.

/// The order in which the files of one directory are opened. A value; the owner guards it.
///
/// A run goes: proven (so many neighbours were opened) → running (its depth grows with what was used) → over (opens went
/// elsewhere for a while). A run that was mostly in vain makes the next proof longer.
struct SiblingPattern: Sendable {
    struct Parameters: Sendable, Equatable {
        /// Neighbours opened that prove a run.
        var proofCount = 3
        /// The last opens that a proof is made of: in any order, and one after the other (readers of other places may
        /// come between). A proof that would have to be longer is not believed any more.
        var unorderedCount = 16
        var recentCount = 64
        /// How many files are wanted ahead: at first, at most, and for each that has been used.
        var depthMin = 8
        var depthMax = 64
        var depthGrowth = 4
        var runCountMax = 16
        /// How far from its run an open may be: threads that share a run are not in order.
        var slack = 16
        /// Opens that went elsewhere in a row, for all runs together, that end a run.
        var missCountMax = 48
    }

    /// What an open tells.
    struct Advice: Equatable, Sendable {
        /// Files to fetch, in the order of their expected use.
        var fetch: [Int] = []
        /// Whether this open was foretold.
        var isUse = false
        /// Files that were foretold in vain, newly known.
        var wastedCount = 0
    }

    private struct Run {
        /// 1 or -1.
        let step: Int
        /// The furthest position opened, and the next to be foretold.
        var head: Int
        var end: Int
        var usedCount = 0
        /// Foretold and not opened yet.
        var ahead: Set<Int> = []
        /// Opens elsewhere since the last of its own.
        var missCount = 0

        func covers(_ position: Int, slack: Int) -> Bool {
            let distance = (position - head) * step
            return -slack <= distance && distance <= (end - head) * step + slack
        }
    }

    private let parameters: Parameters
    private var runs: [Run] = []
    /// Different positions, the last one opened at the end.
    private var recent: [Int] = []
    private var proofCount: Int

    init(_ parameters: Parameters = Parameters()) {
        self.parameters = parameters
        proofCount = parameters.proofCount
    }

    /// Files foretold and not opened yet.
    var aheadCount: Int { runs.reduce(0) { $0 + $1.ahead.count } }

    /// Follows an open of the file at `position` of `count`.
    mutating func opened(_ position: Int, of count: Int) -> Advice {
        var advice = Advice()
        if recent.last == position { return advice }
        recent.removeAll { $0 == position }
        if recent.count == parameters.recentCount { recent.removeFirst() }
        recent.append(position)
        // The run that foretold it, rather than one that is merely near.
        let own =
            runs.firstIndex { $0.ahead.contains(position) }
            ?? runs.firstIndex { $0.covers(position, slack: parameters.slack) }
        if let own {
            follow(own, position, &advice)
            advise(own, count, &advice)
            endMissedRuns(except: own, &advice)
        } else if let step = provenStep(position) {
            makeRoom(&advice)
            runs.append(Run(step: step, head: position, end: position + step))
            advise(runs.count - 1, count, &advice)
            endMissedRuns(except: runs.count - 1, &advice)
        } else {
            endMissedRuns(except: nil, &advice)
        }
        return advice
    }

    /// The advised files from `position` on could not be had now: they will be advised again.
    mutating func retreat(to position: Int) {
        guard let index = runs.firstIndex(where: { $0.ahead.contains(position) }) else { return }
        let step = runs[index].step
        runs[index].ahead = runs[index].ahead.filter { ($0 - position) * step < 0 }
        runs[index].end = position
    }

    /// An advised file is none to be fetched.
    mutating func skip(_ position: Int) {
        for index in runs.indices { runs[index].ahead.remove(position) }
    }

    private mutating func follow(_ index: Int, _ position: Int, _ advice: inout Advice) {
        let step = runs[index].step
        if runs[index].ahead.remove(position) != nil {
            runs[index].usedCount += 1
            advice.isUse = true
        }
        if (position - runs[index].head) * step > 0 { runs[index].head = position }
        if (position - runs[index].end) * step >= 0 { runs[index].end = position + step }
        runs[index].missCount = 0
    }

    /// The direction of the neighbours opened lately, when this one is at their end; nil when they are too few.
    private func provenStep(_ position: Int) -> Int? {
        let latest = recent.suffix(parameters.unorderedCount)
        var low = position
        var high = position
        while latest.contains(low - 1) { low -= 1 }
        while latest.contains(high + 1) { high += 1 }
        if high - low + 1 >= proofCount {
            if position == high { return 1 }
            if position == low { return -1 }
        }
        return [1, -1].first { isOrdered(position, step: $0) }
    }

    /// Whether the neighbours before this one were opened one after the other.
    private func isOrdered(_ position: Int, step: Int) -> Bool {
        var end = recent.endIndex
        for distance in 0..<proofCount {
            guard let index = recent[..<end].lastIndex(of: position - distance * step) else { return false }
            end = index
        }
        return true
    }

    private mutating func advise(_ index: Int, _ count: Int, _ advice: inout Advice) {
        let run = runs[index]
        let depth = min(max(run.usedCount * parameters.depthGrowth, parameters.depthMin), parameters.depthMax)
        var end = run.end
        while (0..<count).contains(end), (end - run.head) * run.step <= depth {
            if !recent.contains(end), runs[index].ahead.insert(end).inserted { advice.fetch.append(end) }
            end += run.step
        }
        runs[index].end = end
    }

    // MARK: The end of a run

    private mutating func endMissedRuns(except own: Int?, _ advice: inout Advice) {
        for index in runs.indices.reversed() where index != own {
            runs[index].missCount += 1
            if runs[index].missCount >= parameters.missCountMax { end(index, &advice) }
        }
    }

    private mutating func makeRoom(_ advice: inout Advice) {
        guard runs.count == parameters.runCountMax else { return }
        end(runs.indices.max { runs[$0].missCount < runs[$1].missCount }!, &advice)
    }

    private mutating func end(_ index: Int, _ advice: inout Advice) {
        let run = runs.remove(at: index)
        advice.wastedCount += run.ahead.count
        proofCount = run.ahead.count > run.usedCount ? proofCount * 2 : parameters.proofCount
    }
}
