// Percent-encoding as S3 signs and spells it
// (<https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html>, "UriEncode()").

internal import Base

/// URI encoding of keys and query values, byte by byte.
public enum PercentEncoding {
    /// Encodes every byte except the unreserved ones and `/`. Nothing is normalised: dots and double slashes stay.
    public static func encodePath(_ text: String) -> String { encode(text, isSlashKept: true) }

    /// Encodes every byte except the unreserved ones: for names and values of a query.
    public static func encodeQuery(_ text: String) -> String { encode(text, isSlashKept: false) }

    /// Encodes every byte, the unreserved ones too, and the result again: a server that decodes it once arrives at a
    /// name of nothing but escapes, which no object has.
    public static func encodeTwice(_ text: String) -> String {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(text.utf8.count * 5)
        for byte in text.utf8 {
            bytes += "%25".utf8
            bytes.append(Hex.upperDigits[Int(byte >> 4)])
            bytes.append(Hex.upperDigits[Int(byte & 15)])
        }
        return String(decoding: bytes, as: UTF8.self)
    }

    private static func encode(_ text: String, isSlashKept: Bool) -> String {
        if text.utf8.allSatisfy({ isUnreserved($0) || isSlashKept && $0 == slash }) { return text }
        var bytes: [UInt8] = []
        bytes.reserveCapacity(text.utf8.count * 3 / 2)
        for byte in text.utf8 {
            if isUnreserved(byte) || isSlashKept && byte == slash {
                bytes.append(byte)
            } else {
                bytes.append(UInt8(ascii: "%"))
                bytes.append(Hex.upperDigits[Int(byte >> 4)])
                bytes.append(Hex.upperDigits[Int(byte & 15)])
            }
        }
        return String(decoding: bytes, as: UTF8.self)
    }

    /// Undoes the encoding of a listing with `encoding-type=url`, where a space may also be a `+`. A percent sign that
    /// no two digits follow stands for itself. Nil when the bytes are not UTF-8.
    public static func decodeListed(_ text: String) -> String? { decode(text, isPlusSpace: true) }

    /// Undoes the encoding of a URL's path. Nil when the bytes are not UTF-8.
    public static func decodePath(_ text: String) -> String? { decode(text, isPlusSpace: false) }

    private static func decode(_ text: String, isPlusSpace: Bool) -> String? {
        let percent = UInt8(ascii: "%")
        let plus = UInt8(ascii: "+")
        if text.utf8.allSatisfy({ $0 != percent && !(isPlusSpace && $0 == plus) }) { return text }
        let input = Array(text.utf8)
        var bytes: [UInt8] = []
        bytes.reserveCapacity(input.count)
        var index = 0
        while index < input.count {
            if input[index] == percent, index + 2 < input.count, let high = Hex.value(of: input[index + 1]),
                let low = Hex.value(of: input[index + 2])
            {
                bytes.append(high << 4 | low)
                index += 3
            } else {
                bytes.append(isPlusSpace && input[index] == plus ? 0x20 : input[index])
                index += 1
            }
        }
        return String(validating: bytes, as: UTF8.self)
    }

    private static func isUnreserved(_ byte: UInt8) -> Bool {
        switch byte {
        case 0x30...0x39, 0x41...0x5A, 0x61...0x7A, UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "_"),
            UInt8(ascii: "~"):
            true
        default: false
        }
    }

    private static let slash = UInt8(ascii: "/")
}
