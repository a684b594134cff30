// The tags of an object (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-tagging.html>).

/// A key and a value that the account's rules and bills may speak of.
public struct ObjectTag: Sendable, Hashable {
    public let key: String
    public let value: String

    public init(key: String, value: String) {
        self.key = key
        self.value = value
    }

    /// The most tags of an object.
    public static let countMax = 10

    /// The form of the header `x-amz-tagging`: `key=value&key=value`, both percent-encoded, sorted by key.
    public static func text(of tags: [ObjectTag]) -> String {
        tags.sorted { $0.key < $1.key }.map { "\(encoded($0.key))=\(encoded($0.value))" }.joined(separator: "&")
    }

    /// The inverse of `text(of:)`; a line end behind it is allowed. Nil for what is not in that form, for a key twice, or
    /// for more tags than an object has.
    public static func parse(_ text: String) -> [ObjectTag]? {
        let line = text.utf8.last == UInt8(ascii: "\n") ? String(text.dropLast()) : text
        if line.isEmpty { return [] }
        var tags: [ObjectTag] = []
        for pair in line.split(separator: "&", omittingEmptySubsequences: false) {
            let halves = pair.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            guard let first = halves.first, let key = decoded(first), !key.isEmpty,
                let value = halves.count == 2 ? decoded(halves[1]) : "", !tags.contains(where: { $0.key == key })
            else { return nil }
            tags.append(ObjectTag(key: key, value: value))
        }
        return tags.count <= countMax ? tags : nil
    }

    private static func encoded(_ text: String) -> String {
        var result = ""
        for byte in text.utf8 {
            switch byte {
            case 0x30...0x39, 0x41...0x5a, 0x61...0x7a, 0x2d, 0x2e, 0x5f, 0x7e:
                result.unicodeScalars.append(Unicode.Scalar(byte))
            default:
                let hex = String(byte, radix: 16, uppercase: true)
                result += hex.utf8.count == 1 ? "%0\(hex)" : "%\(hex)"
            }
        }
        return result
    }

    private static func decoded(_ text: Substring) -> String? {
        var bytes: [UInt8] = []
        var rest = text.utf8
        while let byte = rest.popFirst() {
            switch byte {
            case UInt8(ascii: "+"): bytes.append(UInt8(ascii: " "))
            case UInt8(ascii: "%"):
                let digits = rest.prefix(2)
                guard digits.count == 2, let code = UInt8(String(decoding: digits, as: UTF8.self), radix: 16) else {
                    return nil
                }
                bytes.append(code)
                rest = rest.dropFirst(2)
            default: bytes.append(byte)
            }
        }
        return String(validating: bytes, as: UTF8.self)
    }
}
