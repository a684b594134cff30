// Base 64 of RFC 4648, section 4.

/// Bytes as base-64 text, with padding.
public enum Base64 {
    public static func encode(_ bytes: [UInt8]) -> String {
        var text: [UInt8] = []
        text.reserveCapacity((bytes.count + 2) / 3 * 4)
        var index = 0
        while index < bytes.count {
            let rest = bytes.count - index
            let word =
                UInt32(bytes[index]) << 16 | (rest > 1 ? UInt32(bytes[index + 1]) << 8 : 0)
                | (rest > 2 ? UInt32(bytes[index + 2]) : 0)
            text.append(digits[Int(word >> 18 & 63)])
            text.append(digits[Int(word >> 12 & 63)])
            text.append(rest > 1 ? digits[Int(word >> 6 & 63)] : padding)
            text.append(rest > 2 ? digits[Int(word & 63)] : padding)
            index += 3
        }
        return String(decoding: text, as: UTF8.self)
    }

    /// Nil unless the text is complete groups of four digits, the last one padded where needed.
    public static func decode(_ text: some StringProtocol) -> [UInt8]? {
        let input = Array(text.utf8)
        guard input.count % 4 == 0 else { return nil }
        let paddingCount = input.suffix(2).reversed().prefix { $0 == padding }.count
        var bytes: [UInt8] = []
        bytes.reserveCapacity(input.count / 4 * 3)
        var word: UInt32 = 0
        for (index, digit) in input.enumerated() {
            let isPadding = digit == padding && index >= input.count - paddingCount
            guard let value = isPadding ? 0 : values[Int(digit)] else { return nil }
            word = word << 6 | UInt32(value)
            if index % 4 == 3 {
                bytes.append(UInt8(word >> 16 & 255))
                bytes.append(UInt8(word >> 8 & 255))
                bytes.append(UInt8(word & 255))
                word = 0
            }
        }
        bytes.removeLast(paddingCount)
        return bytes
    }

    private static let padding = UInt8(ascii: "=")
    private static let digits = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)
    private static let values: [UInt8?] = {
        var values = [UInt8?](repeating: nil, count: 256)
        for (index, digit) in digits.enumerated() { values[Int(digit)] = UInt8(index) }
        return values
    }()
}
