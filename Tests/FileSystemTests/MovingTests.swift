// What is looked at, read and opened while its name or a directory above it is moved.

import Base
import MemoryStore
import ObjectModel
import ObjectStore
import Testing

@testable import FileSystem

@Suite(.timeLimit(.minutes(5)))
struct MovingTests {
    private func yields() async { for _ in 0..<200 { await Task.yield() } }

    private func names(_ mount: Mount, in number: UInt64) async throws -> [String] {
        let handle = try await mount.fileSystem.openDirectory(number).get()
        var result: [DirectoryEntry] = []
        while true {
            let piece = try await mount.fileSystem.entries(
                handle, from: result.last?.nextPosition ?? 0, countMax: 7
            ).get()
            if piece.isEmpty { return result.dropFirst(2).map(\.name) }
            result += piece
        }
    }

    /// The old keys are gone, and the rename has not ended: who has a file open reads on.
    @Test func regression_readingWhileTheOldTreeIsRemoved() async throws {
        let mount = try Mount()
        mount.store.write(pattern(3_000_000), at: "d/f")
        let file = try await mount.open("d/f")
        #expect(try await mount.read(file, at: 0, count: 10) == Array(pattern(3_000_000)[..<10]))
        mount.store.pause(.deleteObjects, at: .beforeAnswer)
        let renaming = Task { try await mount.rename("d", to: "e") }
        await mount.store.untilHeld(.deleteObjects, at: .beforeAnswer)
        let bytes = try? await mount.read(file, at: 2_000_000, count: 10)
        #expect(bytes == Array(pattern(3_000_000)[2_000_000..<2_000_010]))
        mount.store.resume(.deleteObjects, at: .beforeAnswer)
        try await renaming.value
        #expect(try await mount.read(file, at: 2_500_000, count: 10).count == 10)
        try await mount.close(file)
        try await mount.expectNothingKept()
    }

    /// Only what is at or below either end waits for the rename of a directory.
    @Test func otherDirectoriesGoOnMeanwhile() async throws {
        let mount = try Mount()
        for key in ["d/f", "d/sub/g", "to/x", "other/f", "other/g"] { mount.store.write("x", at: key) }
        let file = try await mount.open("d/sub/g", write: true)
        mount.store.pause(.copyObject)
        let renaming = Task { try await mount.rename("d", to: "to/e") }
        await mount.store.untilHeld(.copyObject, count: 2)

        try await mount.write("other/new", "1")
        try await mount.write("other/f", "2")
        try await mount.unlink("other/g")
        try await mount.makeDirectory("other/made")
        try await mount.removeDirectory("other/made")
        try await mount.write("top", "3")
        #expect(mount.store.text(at: "d/f") == "x", "the rename has not ended")

        let ended = Lock<[String]>([])
        func begin(_ what: String, _ body: @escaping @Sendable () async throws -> Void) -> Task<Void, any Error> {
            Task {
                defer { ended.withLock { $0.append(what) } }
                try await body()
            }
        }
        let waiting = [
            begin("create") { try await mount.write("d/new", "4") },
            begin("mkdir") { try await mount.makeDirectory("d/sub/made") },
            begin("write") { try await mount.write(file, [0x79], at: 0) },
            begin("target") { try? await mount.makeDirectory("to/e") },
            begin("removal") { try? await mount.removeDirectory("to") },
            begin("attributes") { try await mount.chmod("d", 0o700) },
        ]
        await yields()
        #expect(ended.withLock { $0.isEmpty })
        mount.store.resume(.copyObject)
        try await renaming.value
        for task in waiting { _ = await task.result }
        try await mount.close(file)
        await mount.drain()
        #expect(mount.store.text(at: "to/e/f") == "x" && mount.store.text(at: "to/e/sub/g") == "y")
        #expect(mount.store.keys().filter { $0.hasPrefix("other/") } == ["other/f", "other/new"])
        #expect(!mount.store.keys().contains { $0.hasPrefix("d/f") || $0.hasPrefix("d/sub/g") })
    }

    /// As above, of names: one that is looked up and a directory that is listed meanwhile are there, and stay.
    @Test(arguments: ["f", "sub"])
    func regression_lookingWhileTheOldTreeIsRemoved(name: String) async throws {
        let mount = try Mount()
        for key in ["d/f", "d/g", "d/sub/h"] { mount.store.write("x", at: key) }
        let top = try await mount.fileSystem.lookup(parent: 1, name: "d").get()
        mount.store.pause(.deleteObjects, at: .beforeAnswer)
        let renaming = Task { try await mount.rename("d", to: "e") }
        await mount.store.untilHeld(.deleteObjects, at: .beforeAnswer)
        let looking = Task { try await mount.fileSystem.lookup(parent: top.number, name: name).get() }
        let listing = Task { try await names(mount, in: top.number) }
        await yields()
        mount.store.resume(.deleteObjects, at: .beforeAnswer)
        try await renaming.value
        let found = try? await looking.value
        #expect(found != nil)
        #expect(try await listing.value.sorted() == ["f", "g", "sub"])
        #expect(try await mount.names("e").sorted() == ["f", "g", "sub"])
        #expect(try await mount.statusIfPresent("e/\(name)") != nil)
        #expect(try await mount.text("e/f") == "x")
        if let found { mount.fileSystem.forget(found.number, count: 1) }
        mount.fileSystem.forget(top.number, count: 1)
        try await mount.expectNothingKept()
    }

    /// A name below was asked for, or a directory listed, before the rename, and the answer comes after the old keys went.
    @Test func regression_answersThatComeAfterTheRename() async throws {
        let mount = try Mount()
        for key in ["d/f", "d/g", "d/sub/h"] { mount.store.write("x", at: key) }
        let top = try await mount.fileSystem.lookup(parent: 1, name: "d").get()
        mount.store.pause(.listObjects)
        let listing = Task { try await names(mount, in: top.number) }
        await mount.store.untilHeld(.listObjects)
        let looking = Task { try await mount.fileSystem.lookup(parent: top.number, name: "sub").get() }
        await mount.store.untilHeld(.listObjects, count: 2)
        let renaming = Task { try await mount.rename("d", to: "e") }
        let isDone = OneShotFlag()
        let passing = Task {
            while !isDone.isSet {
                // All but the first two.
                var seenCount = 0
                mount.store.resumeOne(.listObjects) { _ in
                    seenCount += 1
                    return seenCount > 2
                }
                await Task.yield()
            }
        }
        try await renaming.value
        isDone.set()
        await passing.value
        mount.store.resume(.listObjects)
        let found = try? await looking.value
        #expect(found != nil)
        #expect(try await listing.value.sorted() == ["f", "g", "sub"])
        #expect(try await mount.names("e").sorted() == ["f", "g", "sub"])
        #expect(try await mount.text("e/sub/h") == "x")
        if let found { mount.fileSystem.forget(found.number, count: 1) }
        mount.fileSystem.forget(top.number, count: 1)
        try await mount.expectNothingKept()
    }

    /// A mount that is killed while the old tree is removed: what was pending below arrives at its new place, and of the old
    /// tree nothing stays.
    @Test func regression_killedWhileTheOldTreeIsRemoved() async throws {
        let mount = try Mount()
        try await mount.prove()
        mount.store.write(pattern(9000), at: "d/f")
        mount.store.write("x", at: "d/g", properties: ObjectProperties(metadata: ["mode": "33188"]))
        let writer = try await mount.open("d/f", write: true)
        try await mount.write(writer, [1], at: 0)
        mount.store.pause(.deleteObjects)
        let renaming = Task { try? await mount.rename("d", to: "e") }
        await mount.store.untilHeld(.deleteObjects)
        try await mount.write(writer, [2], at: 1)
        mount.onKill = { mount.store.resume(.deleteObjects) }
        try await mount.kill(isImageFirst: true)
        _ = await renaming.value
        await mount.drain()
        await mount.resumed()
        await mount.drain()
        #expect(mount.store.keys().filter { $0 != "e/" } == ["e/f", "e/g"])
        #expect(mount.store.bytes(at: "e/f") == [1, 2] + pattern(9000).dropFirst(2))
    }

    /// A file is looked up and opened between the removal of its old key and the end of its rename.
    @Test(arguments: ["lookup", "open", "read", "list"])
    func regression_usedWhileItIsRenamed(call: String) async throws {
        let mount = try Mount()
        mount.store.write(pattern(3_000_000), at: "f")
        let file = try await mount.open("f")
        #expect(try await mount.read(file, at: 0, count: 10) == Array(pattern(3_000_000)[..<10]))
        mount.store.pause(.deleteObject, at: .beforeAnswer)
        let renaming = Task { try await mount.rename("f", to: "g") }
        await mount.store.untilHeld(.deleteObject, at: .beforeAnswer)
        if call != "read" { mount.fileSystem.refresh(path: "") }
        let using = Task { () async -> FileSystemError.Kind? in
            await failure {
                switch call {
                case "lookup":
                    let found = try await mount.fileSystem.lookup(parent: 1, name: "f").get()
                    mount.fileSystem.forget(found.number, count: 1)
                case "open":
                    mount.fileSystem.release(try await mount.fileSystem.open(file.number, mayWrite: false).get())
                case "list": _ = try await mount.names("")
                default:
                    #expect(try await mount.read(file, at: 2_000_000, count: 10).count == 10)
                }
            }
        }
        await yields()
        mount.store.resume(.deleteObject, at: .beforeAnswer)
        try await renaming.value
        let kind = await using.value
        #expect(kind == (call == "lookup" ? .notFound : nil))
        #expect(try await mount.read(file, at: 1_000_000, count: 10).count == 10)
        let again = await failure {
            mount.fileSystem.release(try await mount.fileSystem.open(file.number, mayWrite: false).get())
        }
        #expect(again == nil)
        #expect(try await mount.names("") == ["g"])
        try await mount.close(file)
        try await mount.expectNothingKept()
    }
}

/// A flag between tasks.
private final class OneShotFlag: Sendable {
    private let state = OneShot<Void>()

    var isSet: Bool { state.current != nil }

    func set() { state.set(()) }
}
