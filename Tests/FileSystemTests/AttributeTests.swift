// Attributes and symlinks in the forms that this and other tools write.

import Base
import MemoryStore
import ObjectModel
import Testing

@testable import FileSystem

@Suite(.timeLimit(.minutes(5)))
struct AttributeTests {
    private let codec = AttributeCodec(filePermissions: 0o644, directoryPermissions: 0o755, uid: 1000, gid: 1001)
    private let listed = Timestamp(seconds: 1_700_000_000)

    struct Form: Sendable {
        let tool: String
        let metadata: [String: String]
        let permissions: UInt32
        let owner: UInt32
        let modified: Timestamp
    }

    @Test(
        arguments: [
            ("1970-01-01T00:00:00Z", 0, 0), ("2020-02-29T23:59:59.000000001Z", 1_583_020_799, 1),
            ("2000-03-01t00:00:00.1234567899z", 951_868_800, 123_456_789), ("1969-12-31T23:59:59.5Z", -1, 500_000_000),
            ("2100-03-01T00:00:00-05:30", 4_107_562_200, 0), ("0001-01-01T00:00:00Z", -62_135_596_800, 0),
            ("9999-12-31T23:59:59Z", 253_402_300_799, 0), ("1600000000.25", 1_600_000_000, 250_000_000),
        ] as [(String, Int64, Int32)])
    func timesInText(text: String, seconds: Int64, nanoseconds: Int32) {
        #expect(AttributeCodec.time(text) == Timestamp(seconds: seconds, nanoseconds: nanoseconds))
    }

    @Test(arguments: [
        "", "2020-", "2020-01-01", "2020-01-01T00:00:00", "2020-13-01T00:00:00Z", "2020-01-01T24:00:00Z",
        "2020-01-01T00:00:00.Z", "2020-01-01T00:00:00+1:00", "2020-01-01T00:00:00ZZ", "2020-01-01T00:00:0\u{fc}Z",
        "1.x",
    ])
    func noTimes(text: String) { #expect(AttributeCodec.time(text) == nil) }

    @Test(arguments: [
        Form(tool: "none", metadata: [:], permissions: 0o644, owner: 1000, modified: .init(seconds: 1_700_000_000)),
        Form(
            tool: "s3fs",
            metadata: [
                "mode": "33188", "uid": "7", "gid": "8", "mtime": "1600000000.123456789", "atime": "5", "ctime": "6",
            ],
            permissions: 0o644, owner: 7, modified: .init(seconds: 1_600_000_000, nanoseconds: 123_456_789)),
        Form(
            tool: "s3fs, old", metadata: ["mode": "33261", "mtime": "1600000000"], permissions: 0o755, owner: 1000,
            modified: .init(seconds: 1_600_000_000)),
        Form(
            tool: "rclone", metadata: ["mtime": "1600000000.5"], permissions: 0o644, owner: 1000,
            modified: .init(seconds: 1_600_000_000, nanoseconds: 500_000_000)),
        Form(
            tool: "rclone --metadata",
            metadata: [
                "mtime": "1600000000.5", "mode": "100640", "uid": "9", "gid": "10", "atime": "2020-01-01T00:00:00Z",
            ],
            permissions: 0o640, owner: 9, modified: .init(seconds: 1_600_000_000, nanoseconds: 500_000_000)),
        Form(
            tool: "rclone --metadata, of another remote", metadata: ["mtime": "2020-09-13T14:26:40.25+02:00"],
            permissions: 0o644, owner: 1000, modified: .init(seconds: 1_600_000_000, nanoseconds: 250_000_000)),
        Form(
            tool: "geesefs", metadata: ["mode": "33200", "uid": "9", "mtime": "1600000000"], permissions: 0o660,
            owner: 9, modified: .init(seconds: 1_600_000_000)),
        Form(
            tool: "octal without type", metadata: ["mode": "0750"], permissions: 0o750, owner: 1000,
            modified: .init(seconds: 1_700_000_000)),
        Form(
            tool: "decimal without type", metadata: ["mode": "488"], permissions: 0o750, owner: 1000,
            modified: .init(seconds: 1_700_000_000)),
        Form(
            tool: "s3sync", metadata: ["owner": "9", "group": "10", "permissions": "416"], permissions: 0o640, owner: 9,
            modified: .init(seconds: 1_700_000_000)),
        Form(
            tool: "GCS", metadata: ["goog-reserved-posix-mode": "600", "goog-reserved-file-mtime": "1500000000"],
            permissions: 0o600, owner: 1000, modified: .init(seconds: 1_500_000_000)),
        Form(
            tool: "rubbish", metadata: ["mode": "x", "uid": "", "mtime": "yesterday"], permissions: 0o644, owner: 1000,
            modified: .init(seconds: 1_700_000_000)),
    ])
    func formsOfOtherTools(form: Form) {
        let found = codec.attributes(of: form.metadata, kind: .file, lastModified: listed)
        #expect(found.permissions == form.permissions, "\(form.tool)")
        #expect(found.uid == form.owner, "\(form.tool)")
        #expect(found.modified == form.modified, "\(form.tool)")
    }

    @Test func attributesRoundTrip() {
        var attributes = FileAttributes(permissions: 0o4751, uid: 3, gid: 4, time: .init(seconds: 1, nanoseconds: 2))
        attributes.modified = Timestamp(seconds: -5, nanoseconds: 999_999_999)
        for kind in [FileKind.file, .directory, .symlink] {
            var properties = ObjectProperties()
            AttributeCodec.encode(attributes, kind: kind, into: &properties)
            #expect(codec.attributes(of: properties.metadata, kind: kind, lastModified: listed) == attributes)
            if kind == .symlink { #expect(AttributeCodec.kind(of: properties.metadata) == .symlink) }
        }
    }

    /// A program that may be changed by others does not run as its owner. The set-group-ID bit of a file that its group does
    /// not execute is another thing, and a directory's are.
    @Test(
        arguments: [
            (mode: 0o4755, after: 0o755), (mode: 0o6755, after: 0o755), (mode: 0o2755, after: 0o755),
            (mode: 0o2745, after: 0o2745), (mode: 0o1644, after: 0o1644), (mode: 0o644, after: 0o644),
        ] as [(mode: UInt32, after: UInt32)])
    func privilegesEnd(mode: UInt32, after: UInt32) async throws {
        let mount = try Mount()
        var ending = AttributeChanges()
        ending.endsPrivileges = true
        for way in ["write", "chown", "zero", "reserve"] {
            try await mount.write(way, pattern(100), mode: mode)
            #expect(try await mount.status(way).attributes.permissions == mode)
            let file = try await mount.open(way, write: true)
            switch way {
            case "write":
                let answer = [UInt8(1)].withUnsafeBytes {
                    mount.fileSystem.write(file.handle, offset: 0, bytes: $0, endsPrivileges: true)
                }
                _ = try await answer.get()
            case "chown":
                let changes = ending
                try await mount.change(way) { $0 = changes }
            default:
                let allocation = way == "zero" ? RangeAllocation.zero(extends: false) : .reserve
                try await mount.fileSystem.allocate(
                    file.handle, allocation, offset: 0, count: 9, endsPrivileges: true
                ).get()
            }
            #expect(try await mount.status(way).attributes.permissions == after, "\(way)")
            try await mount.close(file)
        }
        await mount.drain()
        for way in ["write", "chown", "zero", "reserve"] {
            let stored = mount.store.info(at: way)?.properties.metadata["mode"].flatMap { UInt32($0) }
            #expect(stored.map { $0 & 0o7777 } == after, "\(way)")
        }
        try await mount.makeDirectory("directory", mode: 0o2755)
        let changes = ending
        try await mount.change("directory") { $0 = changes }
        #expect(try await mount.status("directory").attributes.permissions == 0o2755)
    }

    @Test(arguments: ["plain", "with space", "über/ß", "%41", "a\nb", String(repeating: "x/", count: 500)])
    func symlinkTargetsRoundTrip(target: String) async throws {
        let mount = try Mount()
        try await mount.symlink("link", to: target)
        #expect(try await mount.readSymlink("link") == target)
        try await mount.remount()
        #expect(try await mount.readSymlink("link") == target)
        #expect(try await mount.status("link").byteCount == target.utf8.count)
    }

    /// Up to Linux's limit, of whatever bytes; other bytes take three times the room in metadata.
    @Test(arguments: [String(repeating: "longer/", count: 585), String(repeating: "ü", count: 1000), "\u{fffd}"])
    func regression_longSymlinkTargets(text: String) async throws {
        let mount = try Mount()
        let target = text == "\u{fffd}" ? KernelName.text(of: [UInt8](repeating: 0xff, count: 2000)) : text
        try await mount.symlink("link", to: target)
        #expect(try await mount.readSymlink("link") == target)
        try await mount.remount()
        let count = KernelName.bytes(of: target).count
        #expect(try await mount.status("link").byteCount == count)
        #expect(try await mount.readSymlink("link") == target)
        var changes = AttributeChanges()
        changes.uid = 7
        let changed = changes
        try await mount.change("link") { $0 = changed }
        await mount.drain()
        try await mount.rename("link", to: "moved")
        try await mount.remount()
        #expect(try await mount.readSymlink("moved") == target)
        #expect(try await mount.status("moved").attributes.uid == 7)
        #expect(mount.store.info(at: "moved")?.version.byteCount == count)
    }

    @Test(arguments: ["s3fs", "geesefs"])
    func symlinksOfOtherTools(tool: String) async throws {
        let mount = try Mount()
        var properties = ObjectProperties()
        properties.metadata = tool == "s3fs" ? ["mode": "41471"] : ["--symlink-target": "to%2Fthere"]
        mount.store.write(tool == "s3fs" ? "to/there" : "", at: "link", properties: properties)
        #expect(try await mount.status("link").kind == .symlink)
        #expect(try await mount.status("link").byteCount == "to/there".utf8.count)
        #expect(try await mount.readSymlink("link") == "to/there")
    }

    /// Headers and metadata of others survive our changes.
    @Test func foreignPropertiesSurvive() async throws {
        let mount = try Mount()
        var properties = ObjectProperties(contentType: "text/x-own")
        properties.metadata["colour"] = "blue"
        properties.cacheControl = "no-store"
        mount.store.write("x", at: "f", properties: properties)
        try await mount.append("f", [1])
        try await mount.chmod("f", 0o600)
        await mount.drain()
        try await mount.rename("f", to: "g")
        let found = try #require(mount.store.info(at: "g")?.properties)
        #expect(found.contentType == "text/x-own")
        #expect(found.metadata["colour"] == "blue")
        #expect(found.cacheControl == "no-store")
        #expect(found.metadata["mode"] == String(0o100600))
    }

    /// What a HEAD told of a directory is not believed after a chmod.
    @Test func regression_chmodOfADirectoryIsKept() async throws {
        let mount = try Mount()
        mount.store.write("x", at: "d/f")
        _ = try await mount.names("")
        _ = try await mount.status("d")
        try await mount.chmod("d", 0o700)
        #expect(try await mount.status("d").attributes.permissions == 0o700)
        try await mount.remount()
        #expect(try await mount.status("d").attributes.permissions == 0o700)
    }

    /// A directory that had no marker gets one by another client: its attributes show.
    @Test(arguments: [false, true]) func regression_theFirstMarkerShows(isHeld: Bool) async throws {
        let mount = try Mount()
        mount.store.write("x", at: "d/f")
        let other = try Mount(store: mount.store, time: mount.time)
        #expect(try await mount.status("d").attributes.permissions == 0o755)
        _ = try await mount.list("")
        let held = isHeld ? try await mount.fileSystem.lookup(parent: 1, name: "d").get() : nil
        defer { if let held { mount.fileSystem.forget(held.number, count: 1) } }
        #expect(try await mount.names("d") == ["f"])
        try await other.chmod("d", 0o700)
        mount.expire()
        #expect(try await mount.names("d") == ["f"])
        #expect(try await mount.status("d").attributes.permissions == 0o700)
    }

    /// s3fs has the target as content: once such a link has shown, no small object is listed as a file before it was asked for.
    @Test func regression_linksOfS3fsAreNoFilesInListings() async throws {
        let mount = try Mount { $0.ttlNanoseconds = 1_000_000_000 }
        var link = ObjectProperties()
        link.metadata = ["mode": "41471", "mtime": "1600000000"]
        for directory in ["a", "b"] {
            mount.store.write("f", at: directory + "/link", properties: link)
            mount.store.write([UInt8](repeating: 1, count: 5000), at: directory + "/large")
            mount.store.write("small", at: directory + "/small")
        }
        func kinds(_ directory: String) async throws -> [String: FileKind?] {
            Dictionary(uniqueKeysWithValues: try await mount.list(directory).map { ($0.name, $0.kind) })
        }
        #expect(try await kinds("a") == ["large": .file, "link": .file, "small": .file], "nothing is known yet")
        #expect(try await mount.readSymlink("a/link") == "f")
        for directory in ["a", "b"] {
            #expect(try await kinds(directory)["large"] == .file)
            #expect(try await kinds(directory)["link"] != .file)
            #expect(try await kinds(directory)["small"] != .directory)
        }
    }

    /// The answer to a question that was asked before a change says nothing about it.
    @Test func regression_aLateAnswerDoesNotUndoAChange() async throws {
        let mount = try Mount()
        try await mount.makeDirectory("d")
        let status = try await mount.fileSystem.lookup(parent: 1, name: "d").get()
        mount.fileSystem.refresh(path: "")
        mount.store.resetRequests()
        mount.store.pause(.headObject, at: .beforeAnswer)
        let looking = Task { try await mount.fileSystem.lookup(parent: 1, name: "d").get() }
        func asked() -> [String?] {
            mount.store.requestLog.filter { $0.operation == .headObject }.map { $0.key?.string }
        }
        while !asked().contains("d/") { await Task.yield() }
        await mount.store.untilHeld(.headObject, count: asked().count, at: .beforeAnswer)
        var changes = AttributeChanges()
        changes.permissions = 0o700
        _ = try await mount.fileSystem.setAttributes(status.number, handle: nil, changes).get()
        mount.store.resume(.headObject, at: .beforeAnswer)
        #expect(try await looking.value.attributes.permissions == 0o700)
        #expect(try await mount.status("d").attributes.permissions == 0o700)
        mount.fileSystem.forget(status.number, count: 2)
    }

    @Test func symlinksAreNotCut() async throws {
        let mount = try Mount()
        try await mount.symlink("link", to: "there")
        #expect(await failure { try await mount.truncate("link", to: 3) } == .invalidArgument)
        #expect(try await mount.readSymlink("link") == "there")
    }

    @Test func aReadOnlyMountRefusesEveryChange() async throws {
        let store = MemoryStore()
        store.write("x", at: "f")
        store.write("x", at: "d/f")
        let mount = try Mount(store: store) { $0.isReadOnly = true }
        #expect(try await mount.text("f") == "x")
        #expect(await failure { try await mount.write("new", "x") } == .readOnly)
        #expect(await failure { _ = try await mount.open("f", write: true) } == .readOnly)
        #expect(await failure { try await mount.chmod("f", 0o600) } == .readOnly)
        #expect(await failure { try await mount.truncate("f", to: 0) } == .readOnly)
        #expect(await failure { try await mount.unlink("f") } == .readOnly)
        #expect(await failure { try await mount.makeDirectory("e") } == .readOnly)
        #expect(await failure { try await mount.symlink("l", to: "f") } == .readOnly)
        #expect(await failure { try await mount.removeDirectory("d") } == .readOnly)
        #expect(await failure { try await mount.rename("f", to: "g") } == .readOnly)
        #expect(store.keys() == ["d/f", "f"])
        #expect(store.requests[.putObject] + store.requests[.deleteObject] == 0)
    }

    /// FIFOs, sockets and device nodes: an object without bytes, whose metadata says what it is.
    @Test(arguments: [
        (FileKind.fifo, "4516"), (.socket, "49572"), (.characterDevice, "8612"), (.blockDevice, "24996"),
    ])
    func specialFiles(kind: FileKind, mode: String) async throws {
        let mount = try Mount()
        let device: UInt32 = kind == .characterDevice || kind == .blockDevice ? 0x0103 : 0
        try await mount.makeNode("n", kind, mode: 0o644, device: device)
        #expect(mount.store.info(at: "n")?.properties.metadata["mode"] == mode)
        try await mount.chmod("n", 0o600)
        try await mount.rename("n", to: "m")
        await mount.drain()
        try await mount.remount()
        #expect(try await mount.list("").map(\.name) == ["m"])
        let status = try await mount.status("m")
        #expect(status.kind == kind && status.attributes.permissions == 0o600 && status.attributes.device == device)
        #expect(status.byteCount == 0)
        #expect(await failure { _ = try await mount.open("m") } == .invalidArgument)
        try await mount.write("m2", "x")
        try await mount.rename("m2", to: "m")
        #expect(try await mount.text("m") == "x")
        try await mount.unlink("m")
        #expect(mount.store.keys().isEmpty)
    }

    /// What is made in a set-group-ID directory belongs to its group.
    @Test func setGroupIDDirectories() async throws {
        let mount = try Mount()
        try await mount.makeDirectory("d")
        try await mount.change("d") {
            $0.gid = 77
            $0.permissions = 0o2775
        }
        try await mount.write("d/file", "x")
        try await mount.makeDirectory("d/sub")
        try await mount.symlink("d/link", to: "x")
        for name in ["file", "sub", "link"] {
            #expect(try await mount.status("d/\(name)").attributes.gid == 77)
        }
        #expect(try await mount.status("d/sub").attributes.permissions == 0o2755)
        #expect(try await mount.status("d/file").attributes.permissions == 0o644)
    }

    /// Targets that are no UTF-8 stay what they are.
    @Test func symlinkTargetsAreBytes() async throws {
        let mount = try Mount()
        let target: [UInt8] = [0x61, 0xff, 0x2f, 0x62]
        try await mount.symlink("link", to: KernelName.text(of: target))
        #expect(mount.store.info(at: "link")?.properties.metadata["symlink-target"] == "a%FF/b")
        try await mount.remount()
        #expect(KernelName.bytes(of: try await mount.readSymlink("link")) == target)
        #expect(try await mount.status("link").byteCount == 4)
    }
}
