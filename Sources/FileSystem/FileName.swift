// One component of a path, and how it is spelled in keys.

public import Base

/// A name in a directory: 1 to 255 bytes without `/` and NUL, and neither `.` nor `..`. Compared by bytes.
public struct FileName: Sendable, Hashable, Comparable, CustomStringConvertible {
    public static let byteCountMax = 255

    public let bytes: ByteString

    /// Nil when the text cannot be a name.
    public init?(_ text: String) {
        let bytes = ByteString(text)
        guard !bytes.isEmpty, bytes.count <= Self.byteCountMax, text != ".", text != "..",
            !bytes.utf8.contains(where: { $0 == 0x2f || $0 == 0 })
        else { return nil }
        self.bytes = bytes
    }

    public var string: String { bytes.string }
    public var description: String { bytes.string }

    public static func < (left: FileName, right: FileName) -> Bool { left.bytes < right.bytes }
}

/// The two spellings of a component: the segment between two `/` of a key, and the name in a directory. They are equal
/// but for segments that no path can spell, which get a stable name that begins with `%pail-`.
public enum NameCodec {
    private static let mark = "%pail-"
    private static let fileMark = "%pail-file-"

    /// The name that shows a segment; nil for one over 255 bytes.
    public static func name(forSegment segment: ByteString) -> FileName? {
        switch segment.string {
        case "": return FileName(mark + "empty")
        case ".": return FileName(mark + "dot")
        case "..": return FileName(mark + "dotdot")
        default:
            return segment.string.hasPrefix(mark) ? FileName(mark + segment.string) : FileName(segment.string)
        }
    }

    /// The name of an object that stands beside a directory of the same name.
    public static func nameBesideDirectory(_ segment: ByteString) -> FileName? {
        FileName(fileMark + segment.string)
    }

    /// The segment that a name stands for. Inverse of both functions above.
    public static func segment(for name: FileName) -> ByteString {
        guard name.string.hasPrefix(mark) else { return name.bytes }
        switch name.string {
        case mark + "empty": return ""
        case mark + "dot": return "."
        case mark + "dotdot": return ".."
        default:
            let rest = String(name.string.dropFirst(mark.count))
            if rest.hasPrefix("file-"), !rest.hasPrefix(mark) {
                return ByteString(String(rest.dropFirst("file-".count)))
            }
            return rest.hasPrefix(mark) ? ByteString(rest) : name.bytes
        }
    }
}
