// Servers echo a key in many answers, and keys may have characters that XML 1.0 cannot carry, not even as references
// (<https://www.w3.org/TR/xml/#charsets>). S3 sends them all the same.

internal import Base

enum XMLMending {
    /// The bytes with each such character replaced by a question mark; nil when there is none.
    static func mend(_ bytes: [UInt8]) -> [UInt8]? {
        var result: [UInt8]?
        var index = 0
        while index < bytes.count {
            let length = badLength(bytes, index)
            if length > 0, result == nil { result = Array(bytes[..<index]) }
            if length > 0 { result?.append(UInt8(ascii: "?")) } else { result?.append(bytes[index]) }
            index += max(length, 1)
        }
        return result
    }

    /// How many bytes from here are a character that XML cannot carry, or a reference to one.
    private static func badLength(_ bytes: [UInt8], _ index: Int) -> Int {
        switch bytes[index] {
        case 0x09, 0x0A, 0x0D: 0
        case 0..<0x20: 1
        // U+FFFE and U+FFFF.
        case 0xEF where index + 2 < bytes.count && bytes[index + 1] == 0xBF && bytes[index + 2] >= 0xBE: 3
        case UInt8(ascii: "&"): badReferenceLength(bytes, index)
        default: 0
        }
    }

    private static func badReferenceLength(_ bytes: [UInt8], _ index: Int) -> Int {
        guard index + 2 < bytes.count, bytes[index + 1] == UInt8(ascii: "#") else { return 0 }
        let isHex = bytes[index + 2] | 0x20 == UInt8(ascii: "x")
        var value = 0
        var end = index + (isHex ? 3 : 2)
        let start = end
        while end < bytes.count, end - start < 8, let digit = Hex.value(of: bytes[end]), isHex || digit < 10 {
            value = value * (isHex ? 16 : 10) + Int(digit)
            end += 1
        }
        guard end > start, end < bytes.count, bytes[end] == UInt8(ascii: ";") else { return 0 }
        let isGood = value >= 0x20 && value != 0xFFFE && value != 0xFFFF || [0x09, 0x0A, 0x0D].contains(value)
        return isGood ? 0 : end + 1 - index
    }
}
