// Directories that exist by implication, and names that no path can spell.

import Base
import MemoryStore
import ObjectModel
import ObjectStore
import Testing

@testable import FileSystem

@Suite(.timeLimit(.minutes(5)))
struct NameTests {
    /// Removing or renaming the last entry of an implicit directory leaves the directory.
    @Test(arguments: ["unlink", "rename", "rmdir"])
    func theLastChildKeepsTheDirectory(how: String) async throws {
        let mount = try Mount()
        mount.store.write("x", at: how == "rmdir" ? "d/last/" : "d/last")
        switch how {
        case "unlink": try await mount.unlink("d/last")
        case "rename": try await mount.rename("d/last", to: "elsewhere")
        default: try await mount.removeDirectory("d/last")
        }
        #expect(try await mount.names("d").isEmpty)
        mount.expire()
        #expect(try await mount.names("d").isEmpty)
        try await mount.remount()
        #expect(try await mount.status("d").kind == .directory)
    }

    /// Some characters are one with the slash before or behind them, as `String` counts: names that begin or end with such
    /// are listed, walked, renamed, recovered and brought to the store like others.
    @Test(arguments: ["\u{600}", "x\u{600}", "\u{301}x", "\u{200d}", "\u{d4e}"])
    func regression_namesWhoseCharactersHoldTheSlash(name: String) async throws {
        let mount = try Mount()
        for other in 0..<3 { mount.store.write("x", at: "d/\(name)/\(other)\(name)/\(name)") }
        for round in 0..<2 {
            #expect(try await mount.names("d") == [name])
            #expect(try await mount.names("d/\(name)") == (0..<3).map { "\($0)\(name)" })
            for other in 0..<3 { #expect(try await mount.text("d/\(name)/\(other)\(name)/\(name)") == "x") }
            try await mount.rename("d", to: "moved")
            try await mount.rename("moved", to: "d")
            if round == 0 { try await mount.remount() }
        }
        let file = try await mount.create("d/\(name)/\(name)")
        try await mount.write(file, Array("pending".utf8), at: 0)
        mount.store.setFaults(FaultPlan().adding(.throttled, on: .putObject, when: .always))
        try await mount.kill()
        #expect(try await mount.text("d/\(name)/\(name)") == "pending")
        #expect(await failure { try await mount.fileSystem.flush(path: "/d/\(name)") } != nil)
        mount.store.setFaults(FaultPlan())
        try await mount.flush(path: "/d/\(name)")
        #expect(mount.store.text(at: "d/\(name)/\(name)") == "pending")
        mount.store.write("of another", at: "d/\(name)/\(name)")
        mount.fileSystem.refresh(path: "/d/\(name)/\(name)")
        #expect(try await mount.text("d/\(name)/\(name)") == "of another")
    }

    /// To Swift a slash and a combining mark behind it are one character.
    @Test func regression_namesThatBeginWithACombiningMark() async throws {
        let (directory, file, pending) = ("d/\u{301}x", "d/\u{301}x/\u{308}f", "d/\u{301}x/\u{308}g")
        let mount = try Mount()
        try await mount.prove()
        mount.store.write("old", at: file)
        #expect(try await mount.text(file) == "old")
        try await mount.withNode(file) { _ async throws in
            mount.store.write("changed", at: file)
            #expect(mount.fileSystem.refresh(path: "/" + directory))
            #expect(try await mount.text(file) == "changed")
        }
        mount.store.setFaults(FaultPlan().adding(.serverFault, on: .putObject, when: .always))
        try await mount.write(pending, "new")
        try await mount.kill()
        #expect(try await mount.names(directory).sorted() == ["\u{308}f", "\u{308}g"])
        #expect(try await mount.text(pending) == "new")
        mount.store.setFaults(FaultPlan())
        try await mount.flush(path: directory)
        #expect(mount.store.text(at: pending) == "new")
        #expect(!FileSystem.isPath("/d/x", atOrBelow: "d/\u{301}x") && FileSystem.isPath("/" + file, atOrBelow: "d"))
    }

    /// Nor does the slash behind a sign that is written before what follows it (U+0600, or U+0D4E of Malayalam) stand alone.
    @Test(arguments: ["\u{600}", "\u{d4e}"])
    func regression_directoriesThatEndWithAPrependedSign(sign: String) async throws {
        let mount = try Mount()
        let (old, new, made) = ("d" + sign, "e" + sign, "m" + sign)
        mount.store.write("text", at: old + "/f")
        mount.store.write("", at: old + "/below" + sign + "/")
        #expect(try await mount.names("") == [old])
        #expect(try await mount.names(old).sorted() == ["below" + sign, "f"])
        #expect(try await mount.names(old + "/below" + sign).isEmpty)
        #expect(try await mount.text(old + "/f") == "text")
        try await mount.makeDirectory(made)
        try await mount.rename(old, to: new)
        #expect(mount.store.keys() == [new + "/", new + "/below" + sign + "/", new + "/f", made + "/"])
        mount.expire()
        #expect(try await mount.names("").sorted() == [new, made])
        try await mount.removeDirectory(made)
        try await mount.removeDirectory(new + "/below" + sign)
        try await mount.remount()
        #expect(try await mount.names("") == [new] && mount.store.keys() == [new + "/", new + "/f"])
    }

    /// That the store finds the key too long says so of the name.
    @Test(arguments: ["KeyTooLongError", "KeyTooLong"])
    func regression_aKeyThatTheStoreFindsTooLong(code: String) {
        func kind(_ code: String) -> FileSystemError.Kind {
            FileSystemError(StoreError(.tooLarge, operation: "PutObject", code: code, httpStatus: 400)).kind
        }
        #expect(kind(code) == .nameTooLong && kind("EntityTooLarge") == .fileTooLarge)
    }

    /// `a` beside `a/b`: the directory has the name, the object another one.
    @Test func fileBesideDirectory() async throws {
        let mount = try Mount()
        mount.store.write("object", at: "a")
        mount.store.write("inside", at: "a/b")
        #expect(try await mount.names("").sorted() == ["%pail-file-a", "a"])
        #expect(try await mount.text("%pail-file-a") == "object")
        #expect(try await mount.text("a/b") == "inside")
        try await mount.write("%pail-file-a", "changed")
        await mount.drain()
        #expect(mount.store.text(at: "a") == "changed")
        try await mount.unlink("%pail-file-a")
        #expect(mount.store.keys() == ["a/b"])
    }

    @Test(arguments: ["x//y", "x/./y", "x/../y", "/y", "./y", "x/%pail-dot/y", "%pail-file-q/y", "x//"])
    func keysThatNoPathCanSpell(key: String) async throws {
        let mount = try Mount()
        mount.store.write("content", at: key)
        var path = ""
        var isFile = false
        while !isFile {
            let entries = try await mount.list(path)
            #expect(entries.count <= 1)
            guard let entry = entries.first else { break }
            path += (path.isEmpty ? "" : "/") + entry.name
            isFile = entry.kind == .file
        }
        if key.hasSuffix("/") {
            #expect(try await mount.status(path).kind == .directory)
            return
        }
        #expect(try await mount.text(path) == "content", "\(key) as \(path)")
        try await mount.write(path, "changed")
        await mount.drain()
        #expect(mount.store.text(at: key) == "changed")
        try await mount.unlink(path)
        #expect(mount.store.text(at: key) == nil)
    }

    @Test(arguments: [
        "a", "", ".", "..", "...", "%", "%pail", "%pail-", "%pail-dot", "%pail-dotdot", "%pail-empty", "%pail-file-",
        "%pail-file-a", "%pail-%pail-", "%pail-%pail-file-a", " ", "ü", "a\nb", "%pail-x",
    ])
    func segmentsRoundTrip(segment: String) throws {
        let name = try #require(NameCodec.name(forSegment: ByteString(segment)))
        #expect(NameCodec.segment(for: name) == ByteString(segment))
        #expect(name.string != "." && name.string != ".." && !name.string.isEmpty)
        if !segment.isEmpty {
            let beside = try #require(NameCodec.nameBesideDirectory(ByteString(segment)))
            #expect(NameCodec.segment(for: beside) == ByteString(segment))
        }
    }

    /// What the kernel calls a file, and what stands in the key: names that are no UTF-8 are escaped, and nothing else.
    @Test(
        arguments: [
            ([0x61], "a"), ([0xff], "%pail-bytes-%FF"), ([0x63, 0x61, 0x66, 0xe9], "%pail-bytes-caf%E9"),
            ([0x25, 0xff], "%pail-bytes-%25%FF"), (Array("ü".utf8), "ü"),
            (Array("%pail-bytes-a".utf8), "%pail-bytes-a"),
            (Array("a\nb".utf8), "a\nb"),
        ] as [([UInt8], String)])
    func kernelNames(bytes: [UInt8], text: String) throws {
        #expect(KernelName.text(of: bytes) == text)
        #expect(KernelName.bytes(of: text) == bytes)
        let name = try #require(FileName(text))
        #expect(NameCodec.segment(for: name) == ByteString(text))
        #expect(NameCodec.name(forSegment: ByteString(text)) == name)
    }

    /// A name that spells the escaped form of another is none: two names would be one file.
    @Test func escapedFormIsNoNameOfItsOwn() async throws {
        #expect(KernelName.text(of: Array("%pail-bytes-%FF".utf8)).isEmpty)
        #expect(KernelName.text(of: Array("%pail-bytes-%ff".utf8)) == "%pail-bytes-%ff")
        let mount = try Mount()
        let made = await failure {
            _ = try await mount.fileSystem.create(
                parent: 1, name: "", permissions: 0, uid: 0, gid: 0, mayWrite: true
            ).get()
        }
        #expect(made == .invalidArgument)
        #expect(await failure { _ = try await mount.fileSystem.lookup(parent: 1, name: "").get() } == .notFound)
    }

    @Test func longKernelNamesFitEscaped() {
        #expect(FileName(KernelName.text(of: [UInt8](repeating: 0xff, count: 255)))?.isLong == false)
        #expect(FileName(KernelName.text(of: [UInt8](repeating: 0xff, count: 256)))?.isLong == true)
    }

    /// Whatever can be made has the same name when it is listed later.
    @Test(arguments: [
        "%pail-", "%pail-x", "%pail-file-", "%pail-%pail-", "%pail-bytes-a", "%pail-dot", "%pail-%pail-dot",
        "%pail-file-a",
        "%pail-empty", "%pail-\u{301}", "%pail-file-\u{301}",
    ])
    func madeNamesStay(name: String) async throws {
        for kind in [FileKind.file, .directory, .symlink] {
            let mount = try Mount()
            let refused = await failure {
                switch kind {
                case .file: try await mount.write(name, "x")
                case .directory: try await mount.makeDirectory(name)
                default: try await mount.symlink(name, to: "x")
                }
            }
            await mount.drain()
            mount.expire()
            if let refused {
                #expect(refused == .invalidArgument)
                #expect(mount.store.keys().isEmpty)
                #expect(name.utf8.starts(with: "%pail-file-".utf8) || name == "%pail-empty")
                #expect(try await mount.statusIfPresent(name) == nil)
            } else {
                #expect(try await mount.names("") == [name])
                #expect(try await mount.status(name).kind == kind)
            }
        }
    }

    /// Rename is a way to make a name, too.
    @Test func renamesMakeOnlyNamesThatStay() async throws {
        let mount = try Mount()
        try await mount.write("f", "x")
        #expect(await failure { try await mount.rename("f", to: "%pail-file-a") } == .invalidArgument)
        #expect(try await mount.text("f") == "x")
    }

    /// The object beside a directory has its own name as soon as the directory is gone.
    @Test(arguments: [false, true], [false, true])
    func nameComesBack(isKnown: Bool, isRenamed: Bool) async throws {
        let mount = try Mount()
        mount.store.write("object", at: "a")
        mount.store.write("", at: "a/")
        #expect(try await mount.names("").sorted() == ["%pail-file-a", "a"])
        if isKnown { #expect(try await mount.text("%pail-file-a") == "object") }
        if isRenamed { try await mount.rename("a", to: "b") } else { try await mount.removeDirectory("a") }
        #expect(try await mount.names("").sorted() == (isRenamed ? ["a", "b"] : ["a"]))
        #expect(try await mount.text("a") == "object")
        #expect(try await mount.statusIfPresent("%pail-file-a") == nil)
        try await mount.write("a", "changed")
        await mount.drain()
        #expect(mount.store.text(at: "a") == "changed")
    }

    /// `%pail-empty` is a directory, and never the marker of the one above.
    /// After a change that failed it is asked for again, by its marker: it is not absent.
    @Test(arguments: ["", "d/"]) func regression_anEmptyComponentIsThereAfterAFailure(above: String) async throws {
        let mount = try Mount()
        mount.store.write("x", at: "\(above)/f")
        let path = above + "%pail-empty"
        let file = try await mount.open(path + "/f")
        mount.store.setFaults(FaultPlan().adding(.timedOut, on: .copyObject, when: .always))
        #expect(await failure { try await mount.rename(path, to: "other") } == .timedOut)
        mount.store.setFaults(FaultPlan())
        #expect(try await mount.status(path).kind == .directory)
        try await mount.rename(path, to: "other")
        #expect(try await mount.text("other/f") == "x")
        try await mount.close(file)
    }

    @Test func emptySegmentIsNoFile() async throws {
        let mount = try Mount()
        mount.store.write("", at: "d/")
        #expect(try await mount.statusIfPresent("d/%pail-empty") == nil)
        #expect(try await mount.statusIfPresent("%pail-empty") == nil)
        mount.store.write("x", at: "d//f")
        mount.expire()
        #expect(try await mount.text("d/%pail-empty/f") == "x")
        #expect(mount.store.keys() == ["d/", "d//f"])
    }

    @Test func namesOfDifferentSegmentsDiffer() {
        let segments = ["", ".", "..", "%pail-empty", "%pail-dot", "%pail-file-a", "a", "%pail-%pail-dot"]
        let names = Set(segments.compactMap { NameCodec.name(forSegment: ByteString($0))?.string })
        #expect(names.count == segments.count)
    }

    @Test(arguments: ["", ".", "..", "a/b", "a\0b"])
    func notNames(text: String) {
        #expect(FileName(text) == nil)
    }

    @Test func longNames() async throws {
        let mount = try Mount()
        let longest = String(repeating: "n", count: 255)
        try await mount.write(longest, "x")
        #expect(try await mount.names("") == [longest])
        #expect(await failure { _ = try await mount.status(longest + "n") } == .nameTooLong)
        #expect(await failure { _ = try await mount.create(longest + "n") } == .nameTooLong)
        #expect(try await mount.names("") == [longest])
    }

    /// NFC and NFD spellings are two files.
    @Test func namesAreBytes() async throws {
        let mount = try Mount()
        try await mount.write("\u{e9}", "composed")
        try await mount.write("e\u{301}", "decomposed")
        await mount.drain()
        #expect(try await mount.text("\u{e9}") == "composed")
        #expect(try await mount.text("e\u{301}") == "decomposed")
        #expect(mount.store.keys().count == 2)
    }

    /// The last change of an open file without a name is that it lost it.
    @Test(arguments: ["unlink", "rename"])
    func regression_losingItsNameMovesTheTimeOfChange(how: String) async throws {
        let mount = try Mount()
        try await mount.write("f", "x")
        try await mount.write("g", "y")
        let file = try await mount.open("f")
        let before = try await mount.status(file).attributes
        mount.time.advance(seconds: 5)
        if how == "unlink" { try await mount.unlink("f") } else { try await mount.rename("g", to: "f") }
        let after = try await mount.status(file).attributes
        #expect(after.changed.seconds >= before.changed.seconds + 5)
        #expect(after.modified == before.modified)
        try await mount.close(file)
    }

    /// Where nothing is believed for any time, too.
    @Test func regression_aDirectoryStaysWithoutItsLastFile() async throws {
        let mount = try Mount { $0.ttlNanoseconds = 0 }
        mount.store.write("x", at: "d/f")
        try await mount.unlink("d/f")
        #expect(mount.store.keys() == ["d/"])
        #expect(try await mount.names("") == ["d"])
    }

    @Test func foldersOfTheHadoopFamily() async throws {
        let mount = try Mount()
        mount.store.write("", at: "d_$folder$")
        #expect(try await mount.names("") == ["d"])
        #expect(try await mount.status("d").kind == .directory)
        #expect(try await mount.names("d").isEmpty)
        try await mount.removeDirectory("d")
        #expect(mount.store.keys().isEmpty)
        #expect(try await mount.names("").isEmpty)
    }

    @Test func aPrefixIsAllThereIs() async throws {
        let mount = try Mount { $0.prefix = "in/side/" }
        mount.store.write("no", at: "in/other")
        mount.store.write("yes", at: "in/side/f")
        #expect(try await mount.names("") == ["f"])
        try await mount.write("g", "new")
        try await mount.makeDirectory("d")
        try await mount.rename("d", to: "e")
        await mount.drain()
        #expect(mount.store.keys() == ["in/other", "in/side/e/", "in/side/f", "in/side/g"])
    }

    /// Nothing is left in memory of what the kernel has forgotten.
    @Test func forgottenNodesAreDropped() async throws {
        let mount = try Mount()
        for index in 0..<50 { mount.store.write("x", at: "a/b\(index % 5)/f\(index)") }
        for directory in try await mount.names("a") {
            for name in try await mount.names("a/" + directory) { _ = try await mount.text("a/\(directory)/\(name)") }
        }
        await mount.settle()
        try await mount.expectNothingKept()
    }
}
