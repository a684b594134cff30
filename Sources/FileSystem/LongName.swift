// Names that are longer than a path may have them.

internal import Base
internal import CCrypto

/// What stands for a name of more than 255 bytes: `%pail-long-`, the SHA-256 of the name, its beginning and its end.
///
/// The name does not follow from that, but it is one of those that the directory has: so it is looked for there. The same
/// on every mount, and different for different names, since nobody finds two texts of one SHA-256.
enum LongName {
    private static let mark = "%pail-long-"
    private static let digestCount = 64
    /// Bytes of the name's beginning, for people, and of its end, for programs that go by a suffix.
    private static let headCount = 96
    private static let tailCount = 32

    /// - Parameter text: of any length.
    static func shortened(_ text: String) -> String {
        let bytes = Array(text.utf8)
        var digest = [UInt8](repeating: 0, count: 32)
        SHA256(bytes, bytes.count, &digest)
        var head = bytes.prefix(headCount)
        while isContinued(bytes, at: head.endIndex) { head.removeLast() }
        var tail = bytes.suffix(tailCount)
        while isContinued(bytes, at: tail.startIndex) { tail.removeFirst() }
        let name = Array(mark.utf8) + Array(Hex.encode(digest).utf8) + Array("-".utf8) + head + Array("~".utf8) + tail
        return String(decoding: name, as: UTF8.self)
    }

    /// Whether a text has the form of such a name. No name of that form stands for itself.
    static func isShortened(_ text: String) -> Bool {
        guard text.utf8.starts(with: mark.utf8) else { return false }
        let rest = text.utf8.dropFirst(mark.utf8.count)
        return rest.count > digestCount && rest.prefix(digestCount).allSatisfy { Hex.lowerDigits.contains($0) }
            && rest.dropFirst(digestCount).first == UInt8(ascii: "-")
    }

    /// Whether the byte at an index goes on with a character that began before.
    private static func isContinued(_ bytes: [UInt8], at index: Int) -> Bool {
        index < bytes.count && bytes[index] & 0xc0 == 0x80
    }
}
