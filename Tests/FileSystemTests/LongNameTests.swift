// Objects of other tools whose names are longer than a path may have them.

import Base
import MemoryStore
import ObjectModel
import Testing

@testable import FileSystem

@Suite(.timeLimit(.minutes(5)))
struct LongNameTests {
    private static let long = String(repeating: "long", count: 80) + ".tar.gz"
    private static let shown = LongName.shortened(long)

    /// Another version of pail must show them the same: programs may have written the names down.
    @Test func theFormIsForEver() {
        #expect(
            LongName.shortened(String(repeating: "a", count: 300)) == "%pail-long-"
                + "9835fa6bf4e20a9b9ea812506302e98982721a6cf8d2cae67af57129bf21ae90-"
                + String(repeating: "a", count: 96) + "~" + String(repeating: "a", count: 32))
    }

    /// No character is cut in two, and the name fits.
    @Test(arguments: ["ü", "日", "🪣", "a", "\n"], [0, 1, 2, 3])
    func shownNamesAreNames(character: String, shift: Int) throws {
        let text = String(repeating: "x", count: shift) + String(repeating: character, count: 300)
        let shown = LongName.shortened(text)
        #expect(shown.utf8.count <= FileName.byteCountMax && !shown.contains("\u{fffd}"))
        #expect(LongName.isShortened(shown) && FileName(shown) == nil)
        #expect(FileName(text)?.shown == shown)
    }

    @Test(arguments: [
        "%pail-long-", "%pail-long-a", "%pail-long-" + String(repeating: "0", count: 64),
        "%pail-long-" + String(repeating: "A", count: 64) + "-x",
        "%pail-long-" + String(repeating: "0", count: 63) + "-x",
    ])
    func otherNamesStandForThemselves(name: String) async throws {
        let mount = try Mount()
        try await mount.write(name, "x")
        await mount.drain()
        #expect(mount.store.keys() == [name])
        #expect(try await mount.names("") == [name])
    }

    /// Keys with a component that is longer, at the end or above it, alone or among others, or longer only when escaped.
    @Test(
        arguments: [
            long, long + "/f", "d/" + long, "\(long)/\(long)/\(long)", String(repeating: "ü", count: 128),
            String(repeating: "n", count: 1024), shown, "%pail-" + shown, shown + "/f",
            "%pail-file-" + String(repeating: "n", count: 244),
            "%pail-" + String(repeating: "%pail-", count: 41) + "dot",
            "%pail-bytes-" + String(repeating: "%FF", count: 256),
        ])
    func everyKeyIsAFile(key: String) async throws {
        let mount = try Mount()
        mount.store.write("content", at: key)
        for turn in 0..<3 {
            var path = ""
            var isFile = false
            while !isFile {
                let entry = try #require(try await mount.list(path).first)
                #expect(KernelName.bytes(of: entry.name).count <= 255)
                path += (path.isEmpty ? "" : "/") + entry.name
                isFile = entry.kind == .file
            }
            switch turn {
            case 0:
                #expect(try await mount.text(path) == "content")
                try await mount.write(path, "changed")
                await mount.drain()
                #expect(mount.store.text(at: key) == "changed")
                try await mount.remount()
                // Without being listed first.
                #expect(try await mount.text(path) == "changed")
                try await mount.remount()
                try await mount.chmod(path, 0o600)
            case 1:
                mount.expire()
                #expect(try await mount.status(path).attributes.permissions == 0o600)
            default:
                try await mount.unlink(path)
                #expect(mount.store.text(at: key) == nil)
                #expect(try await mount.statusIfPresent(path) == nil)
            }
        }
    }

    /// No object is made whose name is then another one. What is there may be opened, replaced and moved by the shown name.
    @Test func nothingNewHasAShownName() async throws {
        let mount = try Mount()
        try await mount.write("f", "x")
        try await mount.makeDirectory("d")
        #expect(await failure { try await mount.write(Self.shown, "x") } == .invalidArgument)
        #expect(await failure { try await mount.makeDirectory(Self.shown) } == .invalidArgument)
        #expect(await failure { try await mount.symlink(Self.shown, to: "x") } == .invalidArgument)
        #expect(await failure { try await mount.rename("f", to: Self.shown) } == .invalidArgument)
        await mount.drain()
        #expect(mount.store.keys() == ["d/", "f"])

        mount.store.write("theirs", at: Self.long)
        mount.expire()
        #expect(await failure { try await mount.makeDirectory(Self.shown) } == .alreadyExists)
        try await mount.rename(Self.shown, to: "d/" + Self.shown)
        #expect(mount.store.text(at: "d/" + Self.long) == "theirs")
        #expect(try await mount.names("d") == [Self.shown])
        try await mount.rename("f", to: "d/" + Self.shown)
        await mount.drain()
        #expect(mount.store.keys() == ["d/", "d/" + Self.long])
        #expect(mount.store.text(at: "d/" + Self.long) == "x")
        try await mount.rename("d/" + Self.shown, to: "short")
        #expect(mount.store.keys() == ["d/", "short"])
    }

    /// Names that look the same are two, here too.
    @Test func shownNamesAreBytes() async throws {
        let (composed, decomposed) = (Self.long + "\u{e9}", Self.long + "e\u{301}")
        let mount = try Mount()
        mount.store.write("composed", at: composed)
        let shown = LongName.shortened(composed)
        let alike = String(shown.dropLast()) + "e\u{301}"
        #expect(shown == alike)
        #expect(try await mount.text(shown) == "composed")
        #expect(try await mount.statusIfPresent(alike) == nil)
        mount.store.write("decomposed", at: decomposed)
        mount.expire()
        #expect(try await mount.text(LongName.shortened(decomposed)) == "decomposed")
        #expect(try await mount.text(shown) == "composed")
    }

    @Test func directories() async throws {
        let mount = try Mount()
        mount.store.write("1", at: Self.long + "/a")
        mount.store.write("2", at: Self.long + "/" + Self.long)
        #expect(try await mount.names("") == [Self.shown])
        #expect(Set(try await mount.names(Self.shown)) == [Self.shown, "a"])
        try await mount.write(Self.shown + "/b", "3")
        try await mount.rename(Self.shown, to: "moved")
        await mount.drain()
        #expect(mount.store.keys() == ["moved/", "moved/a", "moved/b", "moved/" + Self.long])
        let other = try await mount.open("moved/a")
        #expect(try await mount.text("moved/" + Self.shown) == "2")
        mount.store.write("4", at: "moved/" + Self.long)
        #expect(mount.fileSystem.refresh(path: "moved/" + Self.shown))
        #expect(try await mount.text("moved/" + Self.shown) == "4")
        try await mount.close(other)
    }

    /// One name is hidden by a directory of its name, which has another shown one.
    @Test func anObjectBesideADirectory() async throws {
        let mount = try Mount()
        mount.store.write("object", at: Self.long)
        mount.store.write("inside", at: Self.long + "/f")
        let beside = LongName.shortened("%pail-file-" + Self.long)
        #expect(try await mount.names("").sorted() == [Self.shown, beside].sorted())
        #expect(try await mount.text(beside) == "object")
        #expect(try await mount.text(Self.shown + "/f") == "inside")
        try await mount.unlink(Self.shown + "/f")
        try await mount.removeDirectory(Self.shown)
        #expect(try await mount.names("") == [Self.shown])
        #expect(try await mount.text(Self.shown) == "object")
        #expect(try await mount.statusIfPresent(beside) == nil)
    }

    /// "Unknown" is never "absent", for these names neither.
    @Test func aFailedListingIsNoAbsence() async throws {
        let mount = try Mount()
        mount.store.write("x", at: Self.long)
        mount.store.setFaults(FaultPlan().adding(.accessDenied, on: .listObjects, when: .always))
        #expect(await failure { _ = try await mount.status(Self.shown) } != .notFound)
        #expect(await failure { try await mount.makeDirectory(Self.shown) } != .invalidArgument)
    }

    /// What was never sent has its name again after kill -9.
    @Test func pendingDataIsRecovered() async throws {
        let mount = try Mount()
        mount.store.write("x", at: "d/" + Self.long)
        try await mount.write("d/" + Self.shown, "pending")
        try await mount.kill()
        #expect(try await mount.text("d/" + Self.shown) == "pending")
        await mount.drain()
        #expect(mount.store.text(at: "d/" + Self.long) == "pending")
    }
}
