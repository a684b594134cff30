// The name of an object.

public import Base

/// A key that S3 accepts: 1 to 1,024 bytes of UTF-8
/// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html>).
/// Equal only when the bytes are equal; ordered as ListObjectsV2 orders.
public struct ObjectKey: Sendable, Hashable, Comparable, CustomStringConvertible {
    public static let byteCountMax = 1024

    public let bytes: ByteString

    /// Nil when the text is empty or too long to be a key.
    public init?(_ text: ByteString) {
        guard !text.isEmpty, text.count <= Self.byteCountMax else { return nil }
        bytes = text
    }

    public init?(_ text: String) {
        self.init(ByteString(text))
    }

    public var string: String { bytes.string }
    public var description: String { bytes.string }

    public static func < (left: ObjectKey, right: ObjectKey) -> Bool { left.bytes < right.bytes }
}
