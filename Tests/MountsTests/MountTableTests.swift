// The mount table: parsing of recorded text, and which mount serves a path.

import Base
import Testing

@testable import Mounts

/// A table as a machine with many kinds of mounts shows it.
private let recorded = #"""
    27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,discard
    22 27 0:21 / /proc rw,relatime - proc proc rw
    42 27 0:39 / /mnt/a\040b\011c\012d\134e\043f rw,nosuid shared:2 master:1 - fuse.pail s3://bucket/x\040y rw,user_id=1000,group_id=1000
    43 42 0:39 /sub /mnt/a\040b\011c\012d\134e\043f/nested ro - fuse.pail s3://bucket rw
    50 27 0:50 / /mnt/stack rw - tmpfs none rw
    51 50 0:51 / /mnt/stack rw - tmpfs other rw
    60 27 0:60 / /hidden/inner rw - tmpfs none rw
    61 27 0:61 / /hidden rw - tmpfs none rw
    70 27 0:70 / /mnt/Zürich-数 rw - fuse.s3fs s3fs rw,user_id=0
    71 27 0:71 / /empty-source rw - tmpfs  rw
    not a line
    80 27 0:80 / /short rw
    81 27 x:80 / /device rw - tmpfs none rw
    82 27 0:82 / /no-source-options rw - tmpfs none
    """#

private let table = MountTable(parsing: Array(recorded.utf8))

@Suite(.timeLimit(.minutes(3)))
struct MountTableTests {
    @Test func everyFieldOfALineIsRead() throws {
        let entry = try #require(table.entry(id: 42))
        #expect(entry.parentID == 27)
        #expect(entry.device == DeviceNumber(major: 0, minor: 39))
        #expect(entry.root == "/")
        #expect(entry.mountpoint == "/mnt/a b\tc\nd\\e#f")
        #expect(entry.options == ["rw", "nosuid"])
        #expect(entry.propagation == ["shared:2", "master:1"])
        #expect(entry.fileSystemType == "fuse.pail")
        #expect(entry.source == "s3://bucket/x y")
        #expect(entry.fuseUserID == 1000)
        #expect(table.entry(id: 71)?.source.isEmpty == true)
        #expect(entry.isPail && entry.isFuse && entry.mayHang && !entry.isReadOnly)
        #expect(table.entry(id: 43)?.isReadOnly == true)
    }

    @Test func linesOfAnotherFormAreLeftOut() {
        #expect(table.entries.map(\.id) == [27, 22, 42, 43, 50, 51, 60, 61, 70, 71, 82])
    }

    @Test(arguments: [
        (#"a\040b"#, "a b"), (#"\134040"#, #"\040"#), (#"\0"#, #"\0"#), (#"\400"#, #"\400"#), (#"\08a"#, #"\08a"#),
        (#"end\134"#, #"end\"#), (#"\303\274"#, "ü"),
    ])
    func octalEscapesAreUndoneOnce(text: String, expected: String) {
        #expect(MountEntry.undoOctalEscapes(Array(text.utf8)[...]) == Array(expected.utf8))
    }

    @Test(arguments: [
        ("/", 27), ("/mnt", 27), ("/proc/self", 22), ("/procession", 27), ("/mnt/stack", 51), ("/mnt/stack/x", 51),
        ("/mnt/a b\tc\nd\\e#f", 42), ("/mnt/a b\tc\nd\\e#f/nested/deep", 43), ("/mnt/a b\tc\nd\\e#f/nest", 42),
        ("/hidden/inner", 61), ("/hidden/inner/file", 61), ("/mnt/Zürich-数/x", 70),
    ])
    func thePathBelongsToTheMountTheKernelWouldReach(path: String, id: Int) {
        #expect(table.mount(containing: ByteString(path))?.id == id)
    }

    @Test(
        arguments: [
            ("/mnt/stack", 51), ("/hidden", 61), ("/hidden/inner", nil), ("/mnt", nil), ("/", 27),
            // The same letters in another composition are another name.
            ("/mnt/Zu\u{308}rich-数", nil),
        ] as [(String, Int?)])
    func onlyVisibleMountpointsAreFound(path: String, id: Int?) {
        #expect(table.mount(at: ByteString(path))?.id == id)
    }

    @Test func stacksAndNestedMountsAreListed() {
        #expect(table.stack(at: "/mnt/stack").map(\.id) == [50, 51])
        #expect(table.nestedMounts(below: 42).map(\.id) == [43])
        #expect(table.nestedMounts(below: 27).map(\.id) == [22, 42, 43, 50, 51, 60, 61, 70, 71, 82])
    }

    @Test func aChrootWithoutItsRootMountStillFindsTheNearestOne() {
        let table = MountTable(
            parsing: Array("42 27 0:39 / /data rw - tmpfs a rw\n43 42 0:40 / /data/in rw - tmpfs b rw\n".utf8))
        #expect(table.mount(containing: "/data/in/x")?.id == 43)
        #expect(table.mount(containing: "/data/x")?.id == 42)
        #expect(table.mount(containing: "/other") == nil)
    }

    @Test func theRealTableHasARootAndProc() throws {
        let table = try MountTable.current()
        #expect(table.mount(containing: "/proc/self")?.fileSystemType == "proc")
        #expect(table.mount(at: "/") != nil)
    }

    @Test func pathsAreResolvedWithoutTheirLinks() throws {
        let directory = try TemporaryDirectory()
        try directory.makeDirectory("real/inner")
        try directory.link("link", to: "real")
        try directory.link("absolute", to: "\(directory.path)/real/inner")
        try directory.link("loop", to: "loop")
        let table = try MountTable.current()
        let base = try table.resolve(directory.path).string
        for (path, expected) in [
            ("link/inner", "real/inner"), ("absolute", "real/inner"), ("absolute/..", "real"),
            ("./real//inner/", "real/inner"),
            ("real/missing", "real/missing"), ("link/../real", "real"),
        ] {
            #expect(try table.resolve("\(directory.path)/\(path)") == ByteString("\(base)/\(expected)"))
        }
        #expect(throws: SystemCallError.self) { try table.resolve("\(directory.path)/loop/x") }
        #expect(try table.resolve("/..") == "/")
    }
}
