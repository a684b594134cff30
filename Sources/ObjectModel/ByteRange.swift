// Positions inside an object or file.

/// A half-open range of byte positions, `lowerBound ..< upperBound`, never negative; may be empty.
public struct ByteRange: Sendable, Hashable, CustomStringConvertible {
    public let lowerBound: Int
    public let upperBound: Int

    public init(_ lowerBound: Int, _ upperBound: Int) {
        precondition(0 <= lowerBound && lowerBound <= upperBound, "byte range out of order")
        self.lowerBound = lowerBound
        self.upperBound = upperBound
    }

    public init(offset: Int, count: Int) {
        self.init(offset, offset + count)
    }

    public var offset: Int { lowerBound }
    public var count: Int { upperBound - lowerBound }
    public var isEmpty: Bool { lowerBound == upperBound }
    public var description: String { "\(lowerBound)..<\(upperBound)" }

    public func contains(_ position: Int) -> Bool { lowerBound <= position && position < upperBound }

    public func contains(_ other: ByteRange) -> Bool {
        other.isEmpty || (lowerBound <= other.lowerBound && other.upperBound <= upperBound)
    }

    public func overlaps(_ other: ByteRange) -> Bool {
        lowerBound < other.upperBound && other.lowerBound < upperBound && !isEmpty && !other.isEmpty
    }

    /// The part common to both; nil when there is none.
    public func intersection(_ other: ByteRange) -> ByteRange? {
        let lower = max(lowerBound, other.lowerBound)
        let upper = min(upperBound, other.upperBound)
        return lower < upper ? ByteRange(lower, upper) : nil
    }
}
