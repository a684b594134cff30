// The text of /proc/PID/mountinfo, parsed. Pure: tested on recorded tables.

internal import Base

extension MountTable {
    /// Parses the text of a mountinfo file. Lines that do not have its form are left out.
    public init(parsing text: [UInt8]) {
        self.init(entries: text.split(separator: UInt8(ascii: "\n")).compactMap(MountEntry.init(parsing:)))
    }
}

extension MountEntry {
    /// Parses one line: `36 35 98:0 /root /mount rw,noatime master:1 - ext3 /dev/root rw,errors=continue`.
    init?(parsing line: ArraySlice<UInt8>) {
        // A field may be empty (the source of a mount made with an empty one), so empty fields count.
        let fields = line.split(separator: UInt8(ascii: " "), omittingEmptySubsequences: false)
        guard fields.count >= 9, let separator = fields[6...].firstIndex(of: [UInt8(ascii: "-")][...]),
            separator + 2 < fields.count,
            let id = Int(Self.text(fields[0])), let parentID = Int(Self.text(fields[1])),
            let device = DeviceNumber(parsing: Self.text(fields[2]))
        else { return nil }
        self.init(
            id: id, parentID: parentID, device: device,
            root: ByteString(Self.text(fields[3])),
            mountpoint: ByteString(Self.text(fields[4])),
            options: Self.list(fields[5]),
            propagation: fields[6..<separator].map(Self.text),
            fileSystemType: Self.text(fields[separator + 1]),
            source: Self.text(fields[separator + 2]),
            superOptions: separator + 3 < fields.count ? Self.list(fields[separator + 3]) : [])
    }

    private static func list(_ field: ArraySlice<UInt8>) -> [String] {
        field.split(separator: UInt8(ascii: ",")).map(text)
    }

    private static func text(_ field: ArraySlice<UInt8>) -> String {
        String(decoding: undoOctalEscapes(field), as: UTF8.self)
    }

    /// Undoes `\ooo`, which the kernel writes for space, tab, newline, backslash and `#` (fs/proc_namespace.c).
    static func undoOctalEscapes(_ field: ArraySlice<UInt8>) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(field.count)
        var index = field.startIndex
        while index < field.endIndex {
            if field[index] == UInt8(ascii: "\\"), index + 3 < field.endIndex,
                let high = octalDigit(field[index + 1]), high < 4,
                let middle = octalDigit(field[index + 2]), let low = octalDigit(field[index + 3])
            {
                bytes.append(high << 6 | middle << 3 | low)
                index += 4
            } else {
                bytes.append(field[index])
                index += 1
            }
        }
        return bytes
    }

    private static func octalDigit(_ byte: UInt8) -> UInt8? {
        (UInt8(ascii: "0")...UInt8(ascii: "7")).contains(byte) ? byte - UInt8(ascii: "0") : nil
    }
}

extension DeviceNumber {
    /// Parses `major:minor`, decimal as in mountinfo.
    init?(parsing text: String) {
        let parts = text.split(separator: ":")
        guard parts.count == 2, let major = UInt32(parts[0]), let minor = UInt32(parts[1]) else { return nil }
        self.init(major: major, minor: minor)
    }
}
