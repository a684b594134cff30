// The text of /proc/PID/maps, parsed. Pure: tested on recorded tables.

internal import Base
internal import CLinux

/// A mapping of a file, as a line of /proc/PID/maps has it.
struct MappedFile: Hashable {
    /// The name of the mapping in /proc/PID/map_files.
    var range: String
    var path: ByteString
    var isDeleted: Bool
}

enum MapsFile {
    /// The files below `directory` that are mapped, each path once, in order of address.
    ///
    /// Only the lines with the directory's name in them are looked at one by one: a process may have many thousands of
    /// mappings, and hardly one has any on the mount in question.
    static func files(in text: [UInt8], below directory: ByteString) -> [MappedFile] {
        let newline = UInt8(ascii: "\n")
        let needle = Array(directory.utf8).flatMap { $0 == newline ? Array(#"\012"#.utf8) : [$0] }
        var found: [MappedFile] = []
        var seen: Set<ByteString> = []
        var position = 0
        while let hit = text.firstOffset(of: needle, from: position) {
            let start = text[..<hit].lastIndex(of: newline).map { $0 + 1 } ?? 0
            let end = text[hit...].firstIndex(of: newline) ?? text.count
            position = end
            guard let file = MappedFile(parsing: text[start..<end], mountpoint: directory),
                directory.isPathPrefix(of: file.path),
                seen.insert(file.path).inserted
            else { continue }
            found.append(file)
        }
        return found
    }
}

extension MappedFile {
    /// Parses one line; nil for one without a file.
    init?(parsing line: ArraySlice<UInt8>, mountpoint: ByteString) {
        // 55d4ac3f3000-55d4ac3f5000 r--p 00000000 fe:00 254163    /usr/bin/head
        guard let slash = line.firstIndex(of: UInt8(ascii: "/")) else { return nil }
        let fields = line[..<slash].split(separator: UInt8(ascii: " "))
        guard fields.count == 5 else { return nil }
        range = String(decoding: fields[0], as: UTF8.self)
        let name = Self.undoNewlineEscapes(line[slash...])
        (path, isDeleted) = ByteString(String(decoding: name, as: UTF8.self))
            .withoutDeletedMark(unless: mountpoint)
    }

    /// Of all characters only the newline is escaped in maps (proc(5)); a backslash stands for itself.
    private static func undoNewlineEscapes(_ field: ArraySlice<UInt8>) -> [UInt8] {
        let escape: [UInt8] = Array(#"\012"#.utf8)
        var bytes: [UInt8] = []
        var rest = field
        while let byte = rest.first {
            if byte == escape[0], rest.starts(with: escape) {
                bytes.append(UInt8(ascii: "\n"))
                rest = rest.dropFirst(escape.count)
            } else {
                bytes.append(byte)
                rest = rest.dropFirst()
            }
        }
        return bytes
    }
}

extension ByteString {
    /// The path without the ` (deleted)` that /proc appends to names of unlinked files. A file really named so cannot be
    /// told apart, and the mark only shows in messages; the mountpoint itself is known to be there.
    func withoutDeletedMark(unless mountpoint: ByteString) -> (path: ByteString, isDeleted: Bool) {
        guard self != mountpoint else { return (self, false) }
        let mark: ByteString = " (deleted)"
        guard string.utf8.reversed().starts(with: mark.string.utf8.reversed()), count > mark.count else {
            return (self, false)
        }
        return (ByteString(String(string.utf8.dropLast(mark.count))!), true)
    }
}

extension [UInt8] {
    /// Where `needle` begins, at `start` or after it.
    fileprivate func firstOffset(of needle: [UInt8], from start: Int) -> Int? {
        guard start <= count, !needle.isEmpty else { return nil }
        return withUnsafeBytes { bytes in
            // SAFETY: both regions are arrays that live through the call, with their true lengths.
            let rest = UnsafeRawBufferPointer(rebasing: bytes[start...])
            let offset = needle.withUnsafeBytes { needle in
                rest.isEmpty
                    ? -1
                    : pail_find_bytes(rest.baseAddress!, Int64(rest.count), needle.baseAddress!, Int64(needle.count))
            }
            return offset < 0 ? nil : start + Int(offset)
        }
    }
}
