// Text whose identity is its bytes. Swift's `String` compares by canonical equivalence, so an NFC and an NFD spelling
// of one name would be equal; S3 keys and file names are equal only when their bytes are.

internal import Glibc

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
        left.string.hasSameBytes(as: right.string)
    }

    public func hash(into hasher: inout Hasher) {
        var copy = string
        copy.withUTF8 { hasher.combine(bytes: UnsafeRawBufferPointer($0)) }
    }

    public static func < (left: ByteString, right: ByteString) -> Bool {
        left.string.withBytes(and: right.string) { left, right in
            let order = memcmp(left.baseAddress!, right.baseAddress!, min(left.count, right.count))
            return order < 0 || order == 0 && left.count < right.count
        } ?? left.string.utf8.lexicographicallyPrecedes(right.string.utf8)
    }

    /// Whether the bytes begin with those of `prefix`.
    public func hasPrefix(_ prefix: ByteString) -> Bool {
        string.utf8.starts(with: prefix.string.utf8)
    }

    /// Whether the bytes end with those of `suffix`. `String` goes by characters, and some of them (U+0600) swallow a slash.
    public func hasSuffix(_ suffix: ByteString) -> Bool {
        count >= suffix.count && string.utf8.suffix(suffix.count).elementsEqual(suffix.utf8)
    }

    /// The bytes after the first `count`; the cut must fall between two characters.
    public func dropFirst(_ count: Int) -> ByteString {
        ByteString(String(Substring(string.utf8.dropFirst(count))))
    }

    /// The bytes before the last `count`; as above.
    public func dropLast(_ count: Int) -> ByteString {
        ByteString(String(Substring(string.utf8.dropLast(count))))
    }

    public static func + (left: ByteString, right: ByteString) -> ByteString {
        ByteString(left.string + right.string)
    }
}

extension String {
    /// Equality by bytes. By one call where both are in native form, as nearly all are: keys and tags are compared often.
    public func hasSameBytes(as other: String) -> Bool {
        guard utf8.count == other.utf8.count else { return false }
        return withBytes(and: other) { memcmp($0.baseAddress!, $1.baseAddress!, $0.count) == 0 }
            ?? utf8.elementsEqual(other.utf8)
    }

    /// The bytes of two strings; nil when one of them is not contiguous, or empty.
    fileprivate func withBytes(
        and other: String, _ body: (UnsafeBufferPointer<UInt8>, UnsafeBufferPointer<UInt8>) -> Bool
    ) -> Bool? {
        guard !isEmpty, !other.isEmpty else { return nil }
        let answer = utf8.withContiguousStorageIfAvailable { left in
            other.utf8.withContiguousStorageIfAvailable { right in body(left, right) }
        }
        return answer.flatMap { $0 }
    }
}
