// The text of /proc/PID/maps and fdinfo.

import Base
import Testing

@testable import Mounts

@Suite(.timeLimit(.minutes(3)))
struct MapsFileTests {
    private let text = #"""
        55d4ac3f3000-55d4ac3f5000 r--p 00000000 fe:00 254163                     /usr/bin/head
        7f0000000000-7f0000001000 r--p 00000000 00:27 12                         /mnt/my data/lib one.so
        7f0000001000-7f0000002000 r-xp 00001000 00:27 12                         /mnt/my data/lib one.so
        7f0000002000-7f0000003000 rw-s 00000000 00:27 13                         /mnt/my data/gone (deleted)
        7f0000003000-7f0000004000 rw-s 00000000 00:27 14                         /mnt/my data/new\012line\134
        7f0000004000-7f0000005000 rw-p 00000000 00:00 0
        7f0000005000-7f0000006000 rw-s 00000000 00:27 15                         /mnt/my data2/other
        7ffd00000000-7ffd00021000 rw-p 00000000 00:00 0                          [stack]
        """#

    @Test func filesBelowTheDirectoryAreFoundOnce() {
        let files = MapsFile.files(in: Array(text.utf8), below: "/mnt/my data")
        #expect(
            files == [
                MappedFile(range: "7f0000000000-7f0000001000", path: "/mnt/my data/lib one.so", isDeleted: false),
                MappedFile(range: "7f0000002000-7f0000003000", path: "/mnt/my data/gone", isDeleted: true),
                MappedFile(
                    range: "7f0000003000-7f0000004000", path: #"/mnt/my data/new\#nline\134"#, isDeleted: false),
            ])
    }

    @Test func theMountIDOfADescriptorIsRead() {
        #expect(ProcFile.parseMountID(Array("pos:\t0\nflags:\t0100000\nmnt_id:\t24\nino:\t3\n".utf8)) == 24)
        #expect(ProcFile.parseMountID(Array("pos:\t0\n".utf8)) == nil)
    }
}
