// How much user metadata an object may carry, and how it is counted.

extension ObjectProperties {
    /// The most user metadata that S3 keeps with an object, in bytes
    /// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingMetadata.html>).
    public static let metadataByteCountMax = 2048

    /// What S3 counts against `metadataByteCountMax`: the bytes of all names, and of all values as they are sent.
    public var metadataByteCount: Int {
        metadata.reduce(0) { $0 + Self.metadataByteCount(name: $1.key, value: $1.value) }
    }

    /// What one entry counts.
    public static func metadataByteCount(name: String, value: String) -> Int {
        // An encoded word of RFC 2047: `=?UTF-8?B?`, base 64, `?=`.
        let valueBytes = isHeaderText(value) ? value.utf8.count : 12 + (value.utf8.count + 2) / 3 * 4
        return name.utf8.count + valueBytes
    }

    /// Whether every hop keeps a header field's value as it is: printable ASCII, no outer or repeated blanks, nothing
    /// that reads as an encoded word. Other values are sent as encoded words.
    public static func isHeaderText(_ value: String) -> Bool {
        var previous = UInt8(ascii: " ")
        for byte in value.utf8 {
            guard (0x20...0x7E).contains(byte) else { return false }
            if byte == 0x20 && previous == 0x20 { return false }
            if byte == UInt8(ascii: "?") && previous == UInt8(ascii: "=") { return false }
            previous = byte
        }
        return value.isEmpty || previous != 0x20
    }
}
