// What a killed mount leaves, and what the next one makes of it.

import Base
import FoundationEssentials
import MemoryStore
import ObjectModel
import ObjectStore
import Staging
import Testing

@testable import FileSystem

@Suite(.timeLimit(.minutes(5)))
struct RecoveryTests {
    private let refusing = FaultPlan().adding(.accessDenied, on: .putObject, when: .always)

    /// Pending content is there at once, without a request that the store would have to answer, and is uploaded.
    @Test func pendingFilesAreSeenAtOnceAndUploaded() async throws {
        let mount = try Mount()
        try await mount.makeDirectory("d")
        mount.store.write(pattern(20_000), at: "changed")
        try await mount.prove()
        mount.store.setFaults(refusing)
        try await mount.write("d/new", pattern(9000))
        let open = try await mount.open("changed", write: true)
        try await mount.write(open, [1, 2, 3], at: 10_000)
        try await mount.kill()
        #expect(try await mount.names("d") == ["new"])
        #expect(try await mount.read("d/new") == pattern(9000))
        var changed = pattern(20_000)
        changed.replaceSubrange(10_000..<10_003, with: [1, 2, 3])
        #expect(try await mount.read("changed") == changed)
        #expect(mount.fileSystem.pendingUploads.map(\.path).sorted() == ["/changed", "/d/new"])
        mount.store.setFaults(FaultPlan())
        await mount.drain()
        #expect(mount.store.bytes(at: "d/new") == pattern(9000))
        #expect(mount.store.bytes(at: "changed") == changed)
        try await mount.expectNothingKept()
    }

    /// A directory that is only implied by data that waits is there, also when the store is asked for it.
    @Test func regression_directoriesAbovePendingFiles() async throws {
        let mount = try Mount()
        mount.store.write("x", at: "a/b/other")
        try await mount.prove()
        mount.store.setFaults(refusing)
        try await mount.write("a/b/new", "pending")
        mount.store.remove(at: "a/b/other")
        try await mount.kill()
        #expect(try await mount.text("a/b/new") == "pending")
        mount.expire()
        #expect(try await mount.text("a/b/new") == "pending")
        #expect(try await mount.names("a/b") == ["new"])
        #expect(await failure { try await mount.removeDirectory("a/b") } == .notEmpty)
        mount.store.setFaults(FaultPlan())
        await mount.drain()
        #expect(mount.store.keys() == ["a/b/new"])
    }

    /// Directories that recovery made show their own attributes.
    @Test func regression_attributesOfDirectoriesAbovePendingFiles() async throws {
        let mount = try Mount()
        try await mount.makeDirectory("d", mode: 0o700)
        try await mount.prove()
        mount.store.setFaults(refusing)
        try await mount.write("d/new", "pending")
        try await mount.kill()
        _ = try await mount.names("")
        #expect(try await mount.status("d").attributes.permissions == 0o700)
    }

    /// Other options, the same bucket: found. Another bucket: reported, not touched.
    @Test func otherBucketsAreLeftAlone() async throws {
        let mount = try Mount()
        try await mount.prove()
        mount.store.setFaults(refusing)
        try await mount.write("f", "pending")
        await mount.fileSystem.shutDown()
        let other = try Mount(directory: mount.directory, bucketIdentity: "another bucket")
        #expect(other.leftovers.map(\.bucketIdentity) == ["memory bucket"])
        #expect(other.leftovers.map(\.fileCount) == [1])
        #expect(try await other.names("").isEmpty)
        await other.fileSystem.shutDown()
        mount.store.setFaults(FaultPlan())
        let next = try Mount(store: mount.store, directory: mount.directory) { $0.isWriteThrough = true }
        #expect(try await next.text("f") == "pending")
        await next.drain()
        #expect(next.store.text(at: "f") == "pending")
        await next.fileSystem.shutDown()
    }

    /// Damage of one file is told, left where it is, and keeps nothing else from being recovered.
    @Test func damageIsTold() async throws {
        let mount = try Mount()
        try await mount.prove()
        mount.store.setFaults(refusing)
        try await mount.write("good", "pending")
        let good = Set(try mount.journals())
        try await mount.write("bad", "pending")
        let bad = try #require(try mount.journals().first { !good.contains($0) })
        await mount.fileSystem.shutDown()
        var journal = try #require(FileManager.default.contents(atPath: bad))
        journal[20] ^= 1
        try journal.write(to: URL(filePath: bad))
        mount.store.setFaults(FaultPlan())
        let next = try Mount(store: mount.store, directory: mount.directory)
        #expect(next.damaged == [bad])
        await next.drain()
        #expect(next.store.keys() == ["good"])
        await next.fileSystem.shutDown()
        #expect(FileManager.default.contents(atPath: bad) == journal)
    }

    /// A flush of a directory sends its files side by side, and one that is refused keeps no other from being sent.
    @Test func aFlushBringsAllOfADirectory() async throws {
        let mount = try Mount()
        try await mount.makeDirectory("d")
        try await mount.prove()
        var open: [OpenFile] = []
        for name in ["d/a", "d/b", "d/c", "other"] {
            open.append(try await mount.create(name))
            try await mount.write(open.last!, pattern(1000), at: 0)
        }
        #expect(mount.fileSystem.pendingUploads(below: "d").map(\.path).sorted() == ["/d/a", "/d/b", "/d/c"])
        #expect(mount.fileSystem.pendingUploads(below: "/d/a/").map(\.path) == ["/d/a"])
        #expect(mount.fileSystem.pendingUploads(below: "oth").isEmpty)
        mount.store.setFaults(FaultPlan().adding(.accessDenied, on: .putObject, when: .nth(1)))
        mount.store.pause(.putObject)
        async let flushed = failure { try await mount.fileSystem.flush(path: "d") }
        await mount.store.untilHeld(.putObject, count: 2)
        mount.store.resume(.putObject)
        #expect(await flushed == .accessDenied)
        #expect(mount.store.keys(under: "d/").count { $0 != "d/" } >= 2)
        #expect(mount.store.bytes(at: "other") == nil)
        for file in open { try? await mount.close(file) }
    }

    /// What lies outside of the prefix of the next mount is uploaded all the same.
    @Test func filesOutsideOfThePrefix() async throws {
        let mount = try Mount()
        try await mount.prove()
        mount.store.setFaults(refusing)
        try await mount.write("f", "pending")
        await mount.fileSystem.shutDown()
        mount.store.setFaults(FaultPlan())
        let next = try Mount(store: mount.store, directory: mount.directory) { $0.prefix = "below/" }
        await next.drain()
        #expect(next.store.text(at: "f") == "pending")
        #expect(try await next.names("").isEmpty)
        await next.fileSystem.shutDown()
    }

    /// Removed before the kill is removed after it.
    @Test func removedFilesDoNotComeBack() async throws {
        let mount = try Mount()
        try await mount.prove()
        mount.store.setFaults(refusing)
        try await mount.write("f", "pending")
        try await mount.unlink("f")
        mount.store.setFaults(FaultPlan())
        try await mount.kill()
        await mount.drain()
        #expect(try await mount.names("").isEmpty)
        #expect(mount.store.keys().isEmpty)
    }

    /// Killed while a copy took the place of a file with pending data: what was replaced neither comes back nor is it a
    /// conflict. If the copy was not made, it is as it was.
    @Test(arguments: [true, false])
    func regression_aReplacementThatWasKilledIsNoConflict(isDone: Bool) async throws {
        let mount = try Mount()
        mount.store.write("old", at: "to")
        try await mount.write("from", "new")
        _ = await mount.drain()
        mount.store.setFaults(refusing)
        let open = try await mount.open("to", write: true)
        try await mount.write(open, Array("pending".utf8), at: 0)
        mount.store.pause(.copyObject)
        let renaming = Task { try? await mount.rename("from", to: "to") }
        await mount.store.untilHeld(.copyObject)
        mount.onKill = {
            if !isDone { mount.store.write("another", at: "from") }
            mount.store.resume(.copyObject)
        }
        try await mount.kill(isImageFirst: true)
        _ = await renaming.value
        await mount.fileSystem.settleDepartures()
        #expect(try await mount.text("to") == (isDone ? "new" : "pending"))
        mount.store.setFaults(FaultPlan())
        await mount.drain()
        #expect(mount.store.text(at: "to") == (isDone ? "new" : "pending"))
        #expect(mount.store.keys() == ["from", "to"])
        try await mount.expectNothingKept()
    }

    /// Killed when a file that has no object yet had just taken the name of another one.
    @Test func regression_ofTwoPendingFilesOfOneKeyTheReplacedOneIsDropped() async throws {
        let mount = try Mount()
        try await mount.prove()
        mount.store.setFaults(refusing)
        let files = try ["replaced", "renamed"].map { text in
            let file = try mount.area.create(
                StagedIdentity(
                    key: MemoryStore.objectKey("doc"), base: nil, baseByteCount: 0, byteCount: 0, condition: .ifAbsent,
                    properties: ObjectProperties()),
                isChanged: true)
            _ = try Array(text.utf8).withUnsafeBytes { bytes throws(StagingError) in try file.write(bytes, at: 0) }
            return file
        }
        files[0].note(.replacementByStaged(files[1].place))
        try await mount.kill()
        #expect(try await mount.text("doc") == "renamed")
        mount.store.setFaults(FaultPlan())
        await mount.drain()
        #expect(mount.store.text(at: "doc") == "renamed" && mount.store.keys() == ["doc"])
        try await mount.expectNothingKept()
    }

    /// An object of another tool that was changed and not closed: what the next mount sends of it is known again as its own
    /// when the answer is lost, by the next but one too.
    @Test func regression_aRecoveredChangeOfAnotherToolsObjectIsNoConflict() async throws {
        let mount = try Mount()
        mount.store.write(pattern(3000), at: "changed")
        mount.store.write(pattern(3000), at: "cut")
        try await mount.prove()
        let changed = try await mount.open("changed", write: true)
        try await mount.write(changed, [1, 2, 3], at: 1000)
        let cut = try await mount.open("cut", write: true)
        try await mount.truncate(cut, to: 0)
        mount.store.setFaults(
            FaultPlan().adding(.lostAnswer, on: .putObject, key: "changed").adding(
                .lostAnswer, on: .putObject, key: "cut"))
        try await mount.kill()
        // By itself: a drain would give it attributes before.
        while !mount.fileSystem.pendingUploads.isEmpty { try await Task.sleep(nanoseconds: 1_000_000) }
        var bytes = pattern(3000)
        bytes.replaceSubrange(1000..<1003, with: [1, 2, 3])
        #expect(mount.store.bytes(at: "changed") == bytes)
        #expect(mount.store.bytes(at: "cut") == [])
        #expect(mount.store.keys() == ["changed", "cut"])
        try await mount.expectNothingKept()
    }

    /// A pending file that has taken the place of an object gets another name: killed when that object had just been removed,
    /// it has its old name still, and not that of a conflict.
    @Test func regression_aKilledRenameOfAFileThatReplacedAnotherIsNoConflict() async throws {
        let process = DyingProcess()
        let mount = try Mount(process: process)
        mount.store.write("old", at: "doc")
        try await mount.prove()
        mount.store.setFaults(refusing)
        try await mount.write("new", "pending")
        try await mount.rename("new", to: "doc")
        mount.store.setFaults(FaultPlan())
        process.begin(at: CrashPoint(first: "delete", moment: .after))
        _ = await failure { try await mount.rename("doc", to: "other") }
        #expect(process.isDead && mount.store.keys().isEmpty)
        try await mount.kill()
        await mount.drain()
        #expect(mount.store.keys() == ["doc"])
        #expect(mount.store.text(at: "doc") == "pending")
        try await mount.expectNothingKept()
    }

    /// Killed while the changes of a loser without its base were being kept by themselves: there is one object of them, whole.
    @Test(arguments: [
        CrashPoint(first: "write 3", moment: .before), CrashPoint(first: "write 3", moment: .after),
        CrashPoint(first: "rename", moment: .before), CrashPoint(first: "rename", moment: .after),
        CrashPoint(first: "put", moment: .before), CrashPoint(first: "put", moment: .after),
    ])
    func regression_theChangesOfAKilledConflictAreKeptOnceAndWhole(point: CrashPoint) async throws {
        let process = DyingProcess()
        let mount = try Mount(process: process)
        mount.store.write(pattern(300_000), at: "f")
        try await mount.prove()
        let file = try await mount.open("f", write: true)
        try await mount.write(file, [1, 2, 3], at: 200_000)
        mount.store.write("theirs", at: "f")
        process.begin(at: point)
        await mount.drain()
        #expect(process.isDead)
        try await mount.kill()
        await mount.drain()
        #expect(mount.store.keys().count == 2 && mount.store.text(at: "f") == "theirs")
        let saved = try #require(mount.store.keys(under: "f.conflict-").first { $0.hasSuffix(".changes") })
        #expect(mount.store.bytes(at: saved)?.suffix(3) == [1, 2, 3])
        try await mount.expectNothingKept()
    }

    /// A recovered file is replaced by one that the mount which recovered it has begun, and that mount is killed, too.
    @Test func regression_aRecoveredFileThatIsReplacedDoesNotComeBack() async throws {
        let process = DyingProcess()
        let mount = try Mount(process: process)
        try await mount.prove()
        mount.store.setFaults(refusing)
        try await mount.write("doc", "replaced")
        try await mount.kill()
        #expect(try await mount.text("doc") == "replaced")
        // It is closed all the same.
        #expect(await failure { try await mount.write("new", "renamed") } == .accessDenied)
        process.begin(at: CrashPoint(first: "rename", moment: .after))
        _ = await failure { try await mount.rename("new", to: "doc") }
        #expect(process.isDead)
        try await mount.kill()
        #expect(try await mount.text("doc") == "renamed")
        mount.store.setFaults(FaultPlan())
        await mount.drain()
        #expect(mount.store.keys() == ["doc"])
        #expect(mount.store.text(at: "doc") == "renamed")
        try await mount.expectNothingKept()
    }
}
