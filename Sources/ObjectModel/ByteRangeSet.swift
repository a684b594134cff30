// Sets of byte positions: which parts of a file are dirty, present, or already sent.

/// A set of byte positions kept as sorted, disjoint, non-adjacent ranges.
public struct ByteRangeSet: Sendable, Equatable {
    public private(set) var ranges: [ByteRange] = []

    public init() {}

    public init(_ ranges: some Sequence<ByteRange>) {
        for range in ranges { insert(range) }
    }

    public var isEmpty: Bool { ranges.isEmpty }
    /// How many positions the set holds.
    public var count: Int { ranges.reduce(0) { $0 + $1.count } }

    /// The index of the first range that ends after `position`.
    private func firstIndex(endingAfter position: Int) -> Int {
        var low = 0
        var high = ranges.count
        while low < high {
            let middle = (low + high) / 2
            if ranges[middle].upperBound > position { high = middle } else { low = middle + 1 }
        }
        return low
    }

    public mutating func insert(_ range: ByteRange) {
        guard !range.isEmpty else { return }
        // Ranges that touch the new one (adjacent counts) melt into it.
        let first = range.lowerBound == 0 ? 0 : firstIndex(endingAfter: range.lowerBound - 1)
        var last = first
        var lower = range.lowerBound
        var upper = range.upperBound
        while last < ranges.count, ranges[last].lowerBound <= upper {
            lower = min(lower, ranges[last].lowerBound)
            upper = max(upper, ranges[last].upperBound)
            last += 1
        }
        ranges.replaceSubrange(first..<last, with: CollectionOfOne(ByteRange(lower, upper)))
        assert(invariantsHold)
    }

    public mutating func remove(_ range: ByteRange) {
        guard !range.isEmpty else { return }
        let first = firstIndex(endingAfter: range.lowerBound)
        var last = first
        var rest: [ByteRange] = []
        while last < ranges.count, ranges[last].lowerBound < range.upperBound {
            let old = ranges[last]
            if old.lowerBound < range.lowerBound { rest.append(ByteRange(old.lowerBound, range.lowerBound)) }
            if old.upperBound > range.upperBound { rest.append(ByteRange(range.upperBound, old.upperBound)) }
            last += 1
        }
        ranges.replaceSubrange(first..<last, with: rest)
        assert(invariantsHold)
    }

    public func contains(_ range: ByteRange) -> Bool {
        guard !range.isEmpty else { return true }
        let index = firstIndex(endingAfter: range.lowerBound)
        return index < ranges.count && ranges[index].contains(range)
    }

    /// The parts of `range` that are in the set, in order.
    public func intersection(_ range: ByteRange) -> [ByteRange] {
        var result: [ByteRange] = []
        var index = firstIndex(endingAfter: range.lowerBound)
        while index < ranges.count, let common = ranges[index].intersection(range) {
            result.append(common)
            index += 1
        }
        return result
    }

    /// The parts of `range` that are not in the set, in order.
    public func gaps(in range: ByteRange) -> [ByteRange] {
        var result: [ByteRange] = []
        var position = range.lowerBound
        for common in intersection(range) {
            if common.lowerBound > position { result.append(ByteRange(position, common.lowerBound)) }
            position = common.upperBound
        }
        if position < range.upperBound { result.append(ByteRange(position, range.upperBound)) }
        return result
    }

    private var invariantsHold: Bool {
        ranges.allSatisfy { !$0.isEmpty }
            && zip(ranges, ranges.dropFirst()).allSatisfy { $0.upperBound < $1.lowerBound }
    }
}
