// The version mark of an object.

internal import Base

/// An entity tag without its surrounding quotes; opaque, compared for equality only.
///
/// It is the MD5 of the body only for some objects (single PUT, no KMS), so nothing derives meaning from its text.
public struct ETag: Sendable, Hashable, CustomStringConvertible {
    /// The tag without quotes, never empty.
    public let value: String

    /// Accepts the header form (`"abc"`, also `W/"abc"`) and the bare form; nil when nothing is left.
    public init?(_ text: String) {
        // By bytes: a quote followed by a combining mark is another `Character` than a quote.
        var bytes = Substring(text).utf8
        if bytes.starts(with: "W/".utf8) { bytes = bytes.dropFirst(2) }
        if bytes.count >= 2, bytes.first == 0x22, bytes.last == 0x22 { bytes = bytes.dropFirst().dropLast() }
        guard !bytes.isEmpty, bytes.allSatisfy({ $0 >= 0x21 && $0 != 0x22 && $0 != 0x7f }) else { return nil }
        value = String(decoding: bytes, as: UTF8.self)
    }

    // Not the equality of `String`, which takes canonically equivalent texts for one.
    public static func == (left: ETag, right: ETag) -> Bool {
        left.value.hasSameBytes(as: right.value)
    }

    public func hash(into hasher: inout Hasher) {
        var copy = value
        copy.withUTF8 { hasher.combine(bytes: UnsafeRawBufferPointer($0)) }
    }

    /// The form that If-Match and If-None-Match carry.
    public var quoted: String { "\"\(value)\"" }
    public var description: String { value }
}
