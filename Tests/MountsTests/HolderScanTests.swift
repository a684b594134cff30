// The search for holders over a made-up /proc: every kind of holding, other namespaces, unreadable and odd processes.

import Base
import Glibc
import Testing

@testable import Mounts

private let table = MountTable(
    parsing: Array(
        """
        1 0 0:1 / / rw - ext4 root rw
        20 1 0:20 / /mnt rw - fuse.pail s3://b rw
        21 20 0:21 / /mnt/nested rw - tmpfs none rw

        """.utf8))

@Suite(.timeLimit(.minutes(3)))
struct HolderScanTests {
    let proc: TemporaryDirectory

    init() throws {
        proc = try TemporaryDirectory()
        try proc.makeDirectory("self/ns")
        try proc.link("self/ns/mnt", to: "mnt:[1]")
    }

    private func makeProcess(
        _ pid: Int, namespace: String = "mnt:[1]", cwd: String = "/", root: String = "/", exe: String = "/bin/cat",
        files: [(descriptor: Int, target: String, mountID: Int)] = [], maps: String = "", command: String = "cat"
    ) throws {
        try proc.makeDirectory("\(pid)/ns")
        try proc.makeDirectory("\(pid)/fd")
        try proc.makeDirectory("\(pid)/fdinfo")
        try proc.link("\(pid)/ns/mnt", to: namespace)
        try proc.link("\(pid)/cwd", to: cwd)
        try proc.link("\(pid)/root", to: root)
        try proc.link("\(pid)/exe", to: exe)
        for file in files {
            try proc.link("\(pid)/fd/\(file.descriptor)", to: file.target)
            try proc.write("\(pid)/fdinfo/\(file.descriptor)", "pos:\t0\nmnt_id:\t\(file.mountID)\n")
        }
        try proc.write("\(pid)/maps", maps)
        try proc.write("\(pid)/cmdline", command)
    }

    private func find(_ id: Int = 20) throws -> MountHolders {
        .find(of: try #require(table.entry(id: id)), in: table, procDirectory: proc.path)
    }

    @Test func eachKindOfHoldingIsFoundWithItsPath() throws {
        try makeProcess(7)
        try makeProcess(100, cwd: "/mnt/dir", command: "vim\0a b.txt\0")
        try makeProcess(
            9, root: "/mnt", exe: "/mnt/bin/tool",
            files: [
                (3, "/mnt/data.nc", 20), (4, "/mnt/gone (deleted)", 20), (5, "/mnt/nested/x", 21), (6, "/mntx", 1),
                (7, "socket:[5]", 1),
            ],
            maps: """
                1000-2000 r-xp 00000000 00:14 1   /mnt/bin/tool
                2000-3000 r--p 00000000 00:14 2   /mnt/lib.so
                3000-4000 r--p 00000000 00:15 2   /mnt/nested/lib.so

                """)
        let holders = try find()
        #expect(holders.isComplete)
        #expect(holders.unreadableProcessCount == 0)
        #expect(holders.nestedMounts.map(\.id) == [21])
        #expect(holders.processes.map(\.pid) == [9, 100])
        #expect(
            holders.processes.first?.holdings == [
                Holding(.rootDirectory, path: "/mnt"),
                Holding(.executable, path: "/mnt/bin/tool"),
                Holding(.openFile(descriptor: 3), path: "/mnt/data.nc"),
                Holding(.openFile(descriptor: 4), path: "/mnt/gone", isDeleted: true),
                Holding(.mappedFile, path: "/mnt/lib.so"),
            ])
        #expect(holders.processes.last?.holdings == [Holding(.workingDirectory, path: "/mnt/dir")])
        #expect(holders.processes.last?.commandLine == "vim a b.txt")
        #expect(holders.processes.last?.userID == geteuid())
        #expect(try find(21).processes.map(\.pid) == [9])
    }

    @Test func anotherNamespaceHoldsOurMountByDescriptorsAlone() throws {
        try makeProcess(5, namespace: "mnt:[2]", cwd: "/mnt", maps: "1-2 r--p 00000000 00:14 1 /mnt/lib.so\n")
        try makeProcess(6, namespace: "mnt:[2]", files: [(0, "/mnt/x", 20), (1, "/mnt/y", 99)])
        let holders = try find()
        #expect(holders.processes.map(\.pid) == [6])
        #expect(holders.processes.first?.holdings == [Holding(.openFile(descriptor: 0), path: "/mnt/x")])
    }

    @Test func namedSocketsAreHoldings() throws {
        try proc.makeDirectory("net")
        try proc.write(
            "net/unix",
            """
            Num       RefCount Protocol Flags    Type St Inode Path
            0000000000000000: 00000002 00000000 00010000 0001 01 5 /mnt/app socket
            0000000000000000: 00000002 00000000 00010000 0001 01 6 @/mnt/abstract
            0000000000000000: 00000003 00000000 00000000 0001 03 7

            """)
        try makeProcess(5, files: [(8, "socket:[5]", 9), (9, "socket:[6]", 9), (10, "socket:[7]", 9)])
        #expect(
            try find().processes.first?.holdings == [Holding(.boundSocket(descriptor: 8), path: "/mnt/app socket")])
    }

    @Test func longListsAndCommandLinesAreCut() throws {
        try makeProcess(
            5, files: (0..<100).map { ($0, "/mnt/f\($0)", 20) },
            command: "evil\u{1b}[2J\0" + String(repeating: "x", count: 500))
        let process = try #require(try find().processes.first)
        #expect(process.holdings.count == HolderProcess.holdingCountMax)
        #expect(process.omittedHoldingCount == 100 - HolderProcess.holdingCountMax)
        #expect(process.commandLine.count == HolderProcess.commandLineCharactersMax)
        #expect(process.commandLine.hasPrefix("evil?[2J xxx"))
    }

    @Test func aProcessThatEndsDuringTheSearchIsNoHolder() throws {
        try proc.makeDirectory("77")
        try makeProcess(78, cwd: "/mnt", command: "")
        try proc.write("78/comm", "worker\n")
        let holders = try find()
        #expect(holders.processes.map(\.commandLine) == ["[worker]"])
        #expect(holders.unreadableProcessCount == 0)
    }

    @Test func aThousandProcessesAreSearchedInTime() throws {
        for pid in 1...1_000 {
            try makeProcess(pid, cwd: pid == 500 ? "/mnt" : "/home", files: (0..<10).map { ($0, "/dev/null", 1) })
        }
        let start = SystemTime().monotonicNanoseconds
        let holders = try find()
        let milliseconds = (SystemTime().monotonicNanoseconds - start) / 1_000_000
        #expect(holders.processes.map(\.pid) == [500])
        #expect(holders.isComplete, "took \(milliseconds) ms")
    }
}
