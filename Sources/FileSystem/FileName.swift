// One component of a path, and how it is spelled in keys and by the kernel.

public import Base

/// A name in a directory: bytes without `/` and NUL, and neither `.` nor `..`. Compared by bytes.
///
/// Its text is that of the kernel's name, with two exceptions. Names that are no UTF-8 have the form that stands in keys
/// (see `NameCodec`), so that everything between the kernel and the store is text. And a name may be longer than one that
/// the kernel takes: then another one is `shown` (see `LongName`).
public struct FileName: Sendable, Hashable, Comparable, CustomStringConvertible {
    /// Of the kernel's form.
    public static let byteCountMax = 255

    public let bytes: ByteString

    /// Nil when the text cannot be a name.
    public init?(_ text: String) {
        let bytes = ByteString(text)
        guard !bytes.isEmpty, text != ".", text != "..", !bytes.utf8.contains(where: { $0 == 0x2f || $0 == 0 }),
            !LongName.isShortened(text)
        else { return nil }
        self.bytes = bytes
    }

    public var string: String { bytes.string }
    /// Whether it is longer than the kernel's names.
    var isLong: Bool { bytes.count > Self.byteCountMax && KernelName.bytes(of: string).count > Self.byteCountMax }
    /// The text of the name that the kernel has for it.
    var shown: String { isLong ? LongName.shortened(string) : string }
    public var description: String { bytes.string }

    public static func < (left: FileName, right: FileName) -> Bool { left.bytes < right.bytes }
}

/// Names and symlink targets as the kernel has them: bytes, of which UTF-8 is only the usual form. Keys of S3 are UTF-8,
/// so other bytes stand in keys as `%pail-bytes-` and the percent-encoded bytes.
public enum KernelName {
    static let mark = "%pail-bytes-"

    /// The text of a kernel's name; empty, which no name is, for a name that spells the escaped form of another.
    public static func text(of bytes: [UInt8]) -> String {
        guard let text = String(validating: bytes, as: UTF8.self) else { return mark + PercentText.encode(bytes) }
        return decoded(text) == nil ? text : ""
    }

    /// The kernel's bytes of a text; the inverse of the above.
    public static func bytes(of text: String) -> [UInt8] { decoded(text) ?? Array(text.utf8) }

    /// The kernel's bytes of a text as a C string, and how many they are, during the call.
    public static func withBytes<Value>(of text: String, _ body: (UnsafePointer<CChar>, Int) -> Value) -> Value {
        guard let bytes = decoded(text) else { return text.withCString { body($0, text.utf8.count) } }
        return (bytes + [0]).withUnsafeBufferPointer { buffer in
            // SAFETY: bytes and a zero behind them, alive during the call; CChar and UInt8 have one layout.
            buffer.withMemoryRebound(to: CChar.self) { body($0.baseAddress!, bytes.count) }
        }
    }

    /// The bytes that a text in the escaped form means; nil when it is not exactly that.
    static func decoded(_ text: String) -> [UInt8]? {
        guard text.utf8.starts(with: mark.utf8) else { return nil }
        let encoded = Array(text.utf8.dropFirst(mark.utf8.count))
        let bytes = PercentText.decode(String(decoding: encoded, as: UTF8.self))
        guard String(validating: bytes, as: UTF8.self) == nil, !bytes.contains(0),
            Array(PercentText.encode(bytes).utf8) == encoded
        else { return nil }
        return bytes
    }
}

/// The two spellings of a component: the segment between two `/` of a key, and the name in a directory. They are equal
/// but for segments that no path can spell, and segments that look like the name of such a one: those get a stable name
/// that begins with `%pail-`.
public enum NameCodec {
    private static let mark = "%pail-"
    private static let fileMark = "%pail-file-"
    private static let specials = [("", "%pail-empty"), (".", "%pail-dot"), ("..", "%pail-dotdot")]

    /// The name that shows a segment; nil for one with a zero byte.
    public static func name(forSegment segment: ByteString) -> FileName? {
        let text = segment.string
        if let special = specials.first(where: { $0.0 == text }) { return FileName(special.1) }
        return FileName(looksEscaped(text) ? mark + text : text)
    }

    /// The name of an object that stands beside a directory of the same name.
    public static func nameBesideDirectory(_ segment: ByteString) -> FileName? {
        FileName(fileMark + segment.string)
    }

    /// The segment that a name stands for. Inverse of both functions above.
    public static func segment(for name: FileName) -> ByteString {
        decoded(name.string).map { ByteString($0) } ?? name.bytes
    }

    /// Whether something new may have this name: it must be listed under the same name later. `%pail-file-a` is listed as
    /// `a`, unless there is a directory `a`.
    public static func isCreatable(_ name: FileName) -> Bool {
        let segment = segment(for: name)
        return !segment.isEmpty && self.name(forSegment: segment) == name
    }

    /// Whether a name is that of an object beside a directory.
    static func isBesideDirectory(_ name: String) -> Bool {
        name.utf8.starts(with: fileMark.utf8) && decoded(name) != nil
    }

    /// Whether the kernel's name, as a text, comes and goes with what else is in its directory: that of an object beside a
    /// directory, and one that stands for a longer one, which may be such an object's.
    public static func isFleeting(_ name: String) -> Bool { isBesideDirectory(name) || LongName.isShortened(name) }

    private static func looksEscaped(_ text: String) -> Bool { decoded(text) != nil || LongName.isShortened(text) }

    /// The segment that a name means which is in one of the escaped forms; nil for all others, which mean themselves.
    /// By bytes: a combining mark behind the prefix would be one `Character` with its end.
    private static func decoded(_ text: String) -> String? {
        guard text.utf8.starts(with: mark.utf8) else { return nil }
        if let special = specials.first(where: { $0.1 == text }) { return special.0 }
        if text.utf8.starts(with: fileMark.utf8) {
            let rest = String(Substring(text.utf8.dropFirst(fileMark.utf8.count)))
            return rest.isEmpty ? nil : rest
        }
        // A segment that looks escaped itself.
        let rest = String(Substring(text.utf8.dropFirst(mark.utf8.count)))
        return looksEscaped(rest) ? rest : nil
    }
}
