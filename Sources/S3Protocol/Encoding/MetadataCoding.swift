// User metadata travels in header fields, which carry ASCII. Other text goes as encoded words of RFC 2047: S3 itself
// gives non-ASCII metadata back in that form
// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingMetadata.html>).

internal import Base
internal import ObjectModel

/// The form of a metadata value in a header field. `decode(encode(x)) == x` for every text.
public enum MetadataCoding {
    /// The value as it is, where a header field keeps it; else one base-64 encoded word of UTF-8.
    public static func encode(_ value: String) -> String {
        ObjectProperties.isHeaderText(value) ? value : "=?UTF-8?B?\(Base64.encode(Array(value.utf8)))?="
    }

    /// The text of a received value: encoded words are decoded, everything else stays as it is.
    public static func decode(_ value: String) -> String {
        guard value.utf8.contains(UInt8(ascii: "=")) else { return value }
        var result: [UInt8] = []
        var rest = Array(value.utf8)[...]
        var gap: ArraySlice<UInt8> = []
        var isAfterWord = false
        while let first = rest.first {
            if let (text, length) = encodedWord(at: rest) {
                // White space between two encoded words is not part of the text (RFC 2047, 6.2).
                if !isAfterWord { result.append(contentsOf: gap) }
                gap = []
                result.append(contentsOf: text)
                rest = rest.dropFirst(length)
                isAfterWord = true
            } else if first == 0x20 || first == 0x09 {
                let space = rest.prefix { $0 == 0x20 || $0 == 0x09 }
                gap = space
                rest = rest.dropFirst(space.count)
                if rest.isEmpty { result.append(contentsOf: gap) }
            } else {
                result.append(contentsOf: gap)
                gap = []
                result.append(first)
                rest = rest.dropFirst()
                isAfterWord = false
            }
        }
        // Latin-1 words are re-encoded below, so only a word of broken UTF-8 can fail: then it stays as it came.
        return String(validating: result, as: UTF8.self) ?? value
    }

    /// The UTF-8 of an encoded word at the start, and its length: `=?charset?B|Q?text?=`.
    private static func encodedWord(at bytes: ArraySlice<UInt8>) -> (text: [UInt8], length: Int)? {
        let question = UInt8(ascii: "?")
        let equals = UInt8(ascii: "=")
        guard bytes.count >= 8, bytes.first == equals, bytes.dropFirst().first == question else { return nil }
        let fields = bytes.dropFirst(2).split(separator: question, maxSplits: 3, omittingEmptySubsequences: false)
        guard fields.count == 4, fields[3].first == equals, fields[1].count == 1 else { return nil }
        // A language tag may follow the charset (RFC 2231).
        let charset = String(decoding: fields[0].prefix { $0 != UInt8(ascii: "*") }, as: UTF8.self).lowercased()
        let raw: [UInt8]?
        switch fields[1].first {
        case UInt8(ascii: "B"), UInt8(ascii: "b"): raw = Base64.decode(String(decoding: fields[2], as: UTF8.self))
        case UInt8(ascii: "Q"), UInt8(ascii: "q"): raw = decodeQ(fields[2])
        default: raw = nil
        }
        guard let raw else { return nil }
        let text: [UInt8]
        switch charset {
        case "utf-8", "utf8", "us-ascii": text = raw
        case "iso-8859-1", "latin1":
            text = raw.flatMap { Array(String(Character(Unicode.Scalar($0))).utf8) }
        default: return nil
        }
        return (text, 2 + fields[0].count + 1 + 1 + 1 + fields[2].count + 2)
    }

    /// The "Q" encoding: `_` is a space, `=XX` a byte.
    private static func decodeQ(_ bytes: ArraySlice<UInt8>) -> [UInt8]? {
        var result: [UInt8] = []
        var rest = bytes
        while let byte = rest.popFirst() {
            switch byte {
            case UInt8(ascii: "_"): result.append(0x20)
            case UInt8(ascii: "="):
                guard let high = rest.popFirst().flatMap(Hex.value), let low = rest.popFirst().flatMap(Hex.value)
                else { return nil }
                result.append(high << 4 | low)
            default: result.append(byte)
            }
        }
        return result
    }
}
