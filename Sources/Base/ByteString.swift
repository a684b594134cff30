// Text whose identity is its bytes. Swift's `String` compares by canonical equivalence, so an NFC and an NFD spelling
// of one name would be equal; S3 keys and file names are equal only when their bytes are.

/// A UTF-8 string compared, hashed and ordered by its bytes, as S3 orders keys.
public struct ByteString: Sendable, Hashable, Comparable, CustomStringConvertible, ExpressibleByStringLiteral {
    public let string: String

    public init(_ string: String) {
        var string = string
        string.makeContiguousUTF8()
        self.string = string
    }

    public init(stringLiteral value: String) {
        self.init(value)
    }

    public var utf8: String.UTF8View { string.utf8 }
    /// The length in bytes.
    public var count: Int { string.utf8.count }
    public var isEmpty: Bool { string.utf8.isEmpty }
    public var description: String { string }

    public static func == (left: ByteString, right: ByteString) -> Bool {
        left.string.utf8.count == right.string.utf8.count && left.string.utf8.elementsEqual(right.string.utf8)
    }

    public func hash(into hasher: inout Hasher) {
        var copy = string
        copy.withUTF8 { hasher.combine(bytes: UnsafeRawBufferPointer($0)) }
    }

    public static func < (left: ByteString, right: ByteString) -> Bool {
        left.string.utf8.lexicographicallyPrecedes(right.string.utf8)
    }

    /// Whether the bytes begin with those of `prefix`.
    public func hasPrefix(_ prefix: ByteString) -> Bool {
        string.utf8.starts(with: prefix.string.utf8)
    }

    /// The bytes after the first `count`; the cut must fall between two characters.
    public func dropFirst(_ count: Int) -> ByteString {
        ByteString(String(Substring(string.utf8.dropFirst(count))))
    }

    public static func + (left: ByteString, right: ByteString) -> ByteString {
        ByteString(left.string + right.string)
    }
}
