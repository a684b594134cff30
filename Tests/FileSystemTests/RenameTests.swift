// rename(2), the ways in which it is asked for, and the ways in which it fails.

import Base
import Glibc
import MemoryStore
import ObjectModel
import ObjectStore
import Staging
import Testing

@testable import FileSystem

@Suite(.timeLimit(.minutes(5)))
struct RenameTests {
    /// Open and pending files below a renamed directory go on under their new names.
    /// What is written under one name and renamed is sent with the time of that change, which is no reason to copy the object.
    @Test func regression_aRenamedFileIsNotCopiedForItsTime() async throws {
        let mount = try Mount()
        try await mount.prove()
        let counts = try await mount.requests {
            mount.store.pause(.putObject)
            try await mount.write("written", "text")
            mount.time.advance(seconds: 1)
            try await mount.rename("written", to: "renamed")
            // Sent by itself, once the burst is over.
            while mount.line.inFlightCount == 0 { await Task.yield() }
            async let flushed: Void = mount.fileSystem.flush(path: "")
            for _ in 0..<100 { await Task.yield() }
            mount.store.resume(.putObject)
            try await flushed
            #expect(await mount.drain().isEmpty)
        }
        #expect((counts[.putObject], counts[.copyObject]) == (1, 0), "\(counts)")
        let changed = try await mount.status("renamed").attributes.changed
        try await mount.remount()
        #expect(try await mount.status("renamed").attributes.changed == changed)
    }

    @Test func directoryWithOpenAndPendingFiles() async throws {
        let mount = try Mount()
        try await mount.prove()
        try await mount.makeDirectory("d")
        mount.store.write(pattern(9000), at: "d/read")
        mount.store.write(pattern(9000), at: "d/changed")
        try await mount.write("d/pending", pattern(100))
        let reader = try await mount.open("d/read")
        let first = try await mount.read(reader, at: 0, count: 10)
        let writer = try await mount.open("d/changed", write: true)
        try await mount.write(writer, [1], at: 0)
        let new = try await mount.create("d/new")
        try await mount.write(new, pattern(50), at: 0)
        try await mount.rename("d", to: "e")
        #expect(first + (try await mount.read(reader, at: 10, count: 9000)) == pattern(9000))
        try await mount.write(writer, [2], at: 1)
        try await mount.write(new, pattern(50), at: 50)
        try await mount.close(reader)
        try await mount.close(writer)
        try await mount.close(new)
        await mount.drain()
        #expect(mount.store.keys() == ["e/", "e/changed", "e/new", "e/pending", "e/read"])
        #expect(mount.store.bytes(at: "e/changed") == [1, 2] + pattern(9000).dropFirst(2))
        #expect(mount.store.bytes(at: "e/new") == pattern(50) + pattern(50))
        #expect(try await mount.names("") == ["e"])
        #expect(try await mount.names("e") == ["changed", "new", "pending", "read"])
        try await mount.expectNothingKept()
    }

    /// Whatever request of a directory rename fails, the old tree is whole, and of the new one nothing is left.
    @Test(arguments: [
        Fault.refused(.accessDenied), .lostAnswer, .timedOut, .throttled, .answerLost(.throttled),
        .answerLost(.accessDenied),
    ])
    func aFailedDirectoryRenameLeavesTheOldTree(fault: Fault) async throws {
        for failing in 1...4 {
            let mount = try Mount()
            for index in 0..<4 { mount.store.write("\(index)", at: "d/f\(index)") }
            mount.store.setFaults(FaultPlan().adding(fault, on: .copyObject, when: .nth(failing)))
            #expect(await failure { try await mount.rename("d", to: "e") } != nil)
            mount.store.setFaults(FaultPlan())
            #expect(mount.store.keys() == (0..<4).map { "d/f\($0)" })
            #expect(try await mount.names("") == ["d"])
            for index in 0..<4 { #expect(try await mount.text("d/f\(index)") == "\(index)") }
            try await mount.rename("d", to: "e")
            #expect(try await mount.names("e") == (0..<4).map { "f\($0)" })
        }
    }

    /// Where the removal of the old keys is denied, all is as it was: also what is pending below.
    @Test func regression_aDirectoryRenameThatIsRefusedLeavesNoCopies() async throws {
        let mount = try Mount()
        mount.store.write("", at: "d/")
        for index in 0..<4 { mount.store.write("\(index)", at: "d/f\(index)") }
        let open = try await mount.open("d/f1", write: true)
        try await mount.write(open, [0x39], at: 0)
        let keys = mount.store.keys()
        mount.store.setFaults(
            keys.reduce(FaultPlan()) { $0.adding(.accessDenied, on: .deleteObjects, key: $1, when: .always) })
        #expect(await failure { try await mount.rename("d", to: "e") } == .accessDenied)
        #expect(try await mount.names("") == ["d"])
        #expect(mount.store.keys() == keys)
        try await mount.write(open, [0x38], at: 0)
        try await mount.close(open)
        await mount.drain()
        mount.store.setFaults(FaultPlan())
        for index in [0, 2, 3] { #expect(try await mount.text("d/f\(index)") == "\(index)") }
        #expect(try await mount.text("d/f1") == "8" && mount.store.text(at: "d/f1") == "8")
        try await mount.rename("d", to: "e")
        #expect(mount.store.keys() == ["e/"] + (0..<4).map { "e/f\($0)" })
    }

    /// When some of the old keys cannot be removed the new tree stands; nothing is lost, and the error is told.
    @Test func aDirectoryRenameThatCannotRemoveTheOldTree() async throws {
        let mount = try Mount()
        for index in 0..<4 { mount.store.write("\(index)", at: "d/f\(index)") }
        let open = try await mount.open("d/f1", write: true)
        try await mount.write(open, [0x39], at: 0)
        let told = Lock<[KernelInvalidation]>([])
        mount.fileSystem.onInvalidation { changes in told.withLock { $0 += changes } }
        mount.store.setFaults(FaultPlan().adding(.accessDenied, on: .deleteObjects, key: "d/f1", when: .always))
        #expect(await failure { try await mount.rename("d", to: "e") } == .accessDenied)
        // Who removes what seems to be left under the old name must not remove what has moved.
        #expect(told.withLock { $0 }.contains(.entry(parent: Tree.rootNumber, name: "d")))
        mount.store.setFaults(FaultPlan())
        try await mount.close(open)
        await mount.drain()
        #expect(try await mount.names("") == ["d", "e"])
        #expect(try await mount.names("d") == ["f1"])
        for index in [0, 2, 3] { #expect(try await mount.text("e/f\(index)") == "\(index)") }
        #expect(try await mount.text("e/f1") == "9")
    }

    /// Killed when the old tree was just removed: what was pending below it goes to the new one, and is no conflict.
    @Test func regression_pendingDataFollowsADirectoryWhoseRenameIsKilled() async throws {
        let mount = try Mount()
        mount.store.write(pattern(9000), at: "d/f")
        try await mount.prove()
        let file = try await mount.open("d/f", write: true)
        try await mount.write(file, [1], at: 0)
        mount.store.pause(.copyObject)
        let renaming = Task { try? await mount.rename("d", to: "e") }
        await mount.store.untilHeld(.copyObject)
        try await mount.write(file, [2], at: 1)
        mount.store.pause(.deleteObjects, at: .beforeAnswer)
        mount.store.resume(.copyObject)
        await mount.store.untilHeld(.deleteObjects, at: .beforeAnswer)
        mount.onKill = { mount.store.resume(.deleteObjects, at: .beforeAnswer) }
        try await mount.kill(isImageFirst: true)
        _ = await renaming.value
        await mount.resumed()
        await mount.drain()
        #expect(mount.store.keys() == ["e/", "e/f"])
        #expect(mount.store.bytes(at: "e/f") == [1, 2] + pattern(9000).dropFirst(2))
    }

    /// Without room for the journal of a file with pending data, a rename is taken back.
    @Test func aDirectoryRenameThatCannotBeJournalledIsTakenBack() async throws {
        let isFull = Lock(false)
        let mount = try Mount(disk: StagingDisk { count in isFull.withLock { $0 } ? 0 : count })
        mount.store.write(pattern(9000), at: "d/f")
        let file = try await mount.open("d/f", write: true)
        try await mount.write(file, [1], at: 0)
        mount.store.pause(.copyObject)
        let renaming = Task { try await mount.rename("d", to: "e") }
        await mount.store.untilHeld(.copyObject)
        try await mount.write(file, [2], at: 1)
        isFull.withLock { $0 = true }
        mount.store.resume(.copyObject)
        await #expect(throws: FileSystemError.self) { try await renaming.value }
        isFull.withLock { $0 = false }
        try await mount.close(file)
        await mount.drain()
        #expect(mount.store.keys() == ["d/f"])
        #expect(mount.store.bytes(at: "d/f") == [1, 2] + pattern(9000).dropFirst(2))
    }

    @Test func aFailedRenameOverAFileKeepsBoth() async throws {
        for isPending in [false, true] {
            let mount = try Mount()
            try await mount.prove()
            try await mount.write("b", "old")
            try await mount.write("a", "new")
            if !isPending { await mount.drain() }
            mount.store.setFaults(
                FaultPlan().adding(.accessDenied, on: .copyObject, when: .always)
                    .adding(.accessDenied, on: .putObject, when: .always))
            let kind = await failure { try await mount.rename("a", to: "b") }
            mount.store.setFaults(FaultPlan())
            await mount.drain()
            if kind == nil {
                #expect(try await mount.names("") == ["b"])
                #expect(mount.store.text(at: "b") == "new")
            } else {
                #expect(try await mount.text("b") == "old")
                #expect(try await mount.text("a") == "new")
                #expect(mount.store.text(at: "b") == "old")
            }
        }
    }

    /// The source stays when it cannot be removed; both names have the new content then, and neither shows the old.
    @Test func regression_renameWhoseDeleteFails() async throws {
        let mount = try Mount()
        try await mount.write("a", "new")
        try await mount.write("b", "older")
        await mount.drain()
        mount.store.setFaults(FaultPlan().adding(.accessDenied, on: .deleteObject, when: .always))
        #expect(await failure { try await mount.rename("a", to: "b") } == .accessDenied)
        mount.store.setFaults(FaultPlan())
        #expect(try await mount.text("a") == "new")
        #expect(try await mount.text("b") == "new")
        try await mount.rename("a", to: "b")
        #expect(mount.store.keys() == ["b"])
    }

    /// Where the removal of the old object is denied, a rename leaves nothing behind.
    @Test func regression_aRenameThatIsRefusedLeavesNoCopy() async throws {
        let mount = try Mount()
        mount.store.write("text", at: "a")
        mount.store.setFaults(FaultPlan().adding(.accessDenied, on: .deleteObject, key: "a", when: .always))
        #expect(await failure { try await mount.rename("a", to: "b") } == .accessDenied)
        #expect(mount.store.keys() == ["a"])
        #expect(try await mount.names("") == ["a"])
        #expect(try await mount.text("a") == "text")
        try await mount.write("b", "another")
        await mount.drain()
        #expect(mount.store.text(at: "b") == "another")
    }

    @Test func mustBeNew() async throws {
        let mount = try Mount()
        try await mount.write("a", "a")
        try await mount.write("b", "b")
        #expect(await failure { try await mount.rename("a", to: "b", mustBeNew: true) } == .alreadyExists)
        #expect(await failure { try await mount.rename("a", to: "a", mustBeNew: true) } == .alreadyExists)
        await mount.drain()
        // Made by another client, and not known here.
        mount.store.write("theirs", at: "c")
        #expect(await failure { _ = try await mount.status("d") } == .notFound)
        mount.store.write("theirs", at: "d")
        #expect(await failure { try await mount.rename("a", to: "d", mustBeNew: true) } == .alreadyExists)
        #expect(mount.store.text(at: "d") == "theirs")
        // As a directory; and for a file that has no object yet.
        #expect(await failure { _ = try await mount.status("f") } == .notFound)
        mount.store.write("theirs", at: "f/g")
        #expect(await failure { try await mount.rename("a", to: "f", mustBeNew: true) } == .alreadyExists)
        mount.store.remove(at: "f/g")
        let new = try await mount.create("new")
        #expect(await failure { _ = try await mount.status("g") } == .notFound)
        mount.store.write("theirs", at: "g")
        #expect(await failure { try await mount.rename("new", to: "g", mustBeNew: true) } == .alreadyExists)
        mount.store.remove(at: "g")
        try await mount.close(new)
        try await mount.unlink("new")
        try await mount.rename("a", to: "e", mustBeNew: true)
        #expect(mount.store.keys() == ["b", "c", "d", "e"])
    }

    /// Refused, with nothing changed: not even an empty directory that would have been replaced.
    /// A new file that took the name of an object, and is not uploaded yet: what it replaced is dead, wherever it goes.
    @Test(arguments: ["rename", "unlink", "replace", "replaced"])
    func regression_whatWasReplacedStaysDead(_ next: String) async throws {
        let mount = try Mount()
        mount.store.write("old", at: "a")
        let file = try await mount.create("new")
        try await mount.write(file, Array("new".utf8), at: 0)
        try await mount.rename("new", to: "a")
        switch next {
        case "rename": try await mount.rename("a", to: "b")
        case "unlink": try await mount.unlink("a")
        case "replace":
            // It was listed for the new file, a moment ago.
            mount.fileSystem.refresh(path: "")
            mount.store.write("other", at: "b")
            try await mount.rename("a", to: "b")
        default:
            let third = try await mount.create("third")
            try await mount.rename("third", to: "a")
            try await mount.close(third)
        }
        try await mount.close(file)
        await mount.drain()
        switch next {
        case "unlink": #expect(mount.store.keys() == [])
        case "replaced":
            #expect(mount.store.keys() == ["a"])
            #expect(mount.store.text(at: "a") == "")
        default:
            #expect(mount.store.keys() == ["b"])
            #expect(mount.store.text(at: "b") == "new")
        }
    }

    @Test func regression_directoryIntoItself() async throws {
        let mount = try Mount()
        try await mount.makeDirectory("a")
        try await mount.makeDirectory("a/b")
        #expect(await failure { try await mount.rename("a", to: "a/b") } == .invalidArgument)
        #expect(await failure { try await mount.rename("a", to: "a/c") } == .invalidArgument)
        #expect(try await mount.names("a") == ["b"])
        #expect(mount.store.keys() == ["a/", "a/b/"])
    }

    /// The answer to the copy is lost, and nobody can tell whether another client's object of that length is the copy: the
    /// rename fails, and the name shows what is there. Who has the old file open goes on with that.
    @Test func regression_aCopyThatNobodyCanTellIsShown() async throws {
        let mount = try Mount()
        mount.store.write("of another", at: "source")
        try await mount.write("target", "before")
        let file = try await mount.open("target", write: true)
        try await mount.write(file, Array("BEFORE".utf8), at: 0)
        try await mount.synchronise(file)
        mount.store.setFaults(FaultPlan().adding(.lostAnswer, on: .copyObject))
        #expect(await failure { try await mount.rename("source", to: "target") } != nil)
        mount.store.setFaults(FaultPlan())
        #expect(mount.store.text(at: "target") == "of another")
        #expect(try await mount.text("target") == "of another")
        #expect(try await mount.text("source") == "of another")
        #expect(try await mount.readAll(file) == Array("BEFORE".utf8))
        try await mount.close(file)
        await mount.drain()
        try await mount.rename("source", to: "target")
        #expect(mount.store.keys() == ["target"])
    }

    /// An empty directory is replaced only once the new one is whole.
    @Test func regression_failedRenameOverAnEmptyDirectory() async throws {
        let mount = try Mount()
        try await mount.makeDirectory("target")
        mount.store.write("x", at: "source/f")
        mount.store.setFaults(FaultPlan().adding(.serverFault, on: .copyObject, when: .always))
        #expect(await failure { try await mount.rename("source", to: "target") } != nil)
        mount.store.setFaults(FaultPlan())
        #expect(try await mount.names("") == ["source", "target"])
        try await mount.rename("source", to: "target")
        #expect(try await mount.names("") == ["target"])
        #expect(try await mount.text("target/f") == "x")
    }

    /// Nor has it the attributes of what was to replace it.
    @Test(arguments: [false, true]) func regression_aDirectoryThatIsNotReplacedKeepsItsAttributes(
        isExplicit: Bool
    ) async throws {
        let mount = try Mount()
        try await mount.makeDirectory("target", mode: 0o700)
        if isExplicit { try await mount.makeDirectory("source") }
        mount.store.write("x", at: "source/f")
        mount.expire()
        mount.store.setFaults(
            isExplicit
                ? FaultPlan().adding(.serverFault, on: .copyObject, key: "target/f", when: .always)
                : FaultPlan().adding(.lostAnswer, on: .putObject, key: "target/"))
        #expect(await failure { try await mount.rename("source", to: "target") } != nil)
        mount.store.setFaults(FaultPlan())
        mount.fileSystem.refresh(path: "")
        #expect(try await mount.status("target").attributes.permissions == 0o700)
        #expect(mount.store.info(at: "target/")?.properties.metadata["mode"] == "\(0o40700)")
        #expect(try await mount.names("target").isEmpty)
        #expect(try await mount.text("source/f") == "x")
    }

    /// A close() between the removal and the end of an open file must not bring it back.
    @Test func regression_closeDuringUnlink() async throws {
        let mount = try Mount()
        try await mount.prove()
        mount.store.write("old", at: "f")
        let file = try await mount.open("f", write: true)
        try await mount.write(file, Array("new".utf8), at: 0)
        mount.store.pause(.deleteObject)
        let unlinking = Task { try await mount.unlink("f") }
        await mount.store.untilHeld(.deleteObject)
        try await mount.flush(file)
        for _ in 0..<20 { await Task.yield() }
        mount.store.resume(.deleteObject)
        try await unlinking.value
        #expect(try await mount.readAll(file) == Array("new".utf8))
        try await mount.close(file)
        await mount.drain()
        await mount.settle()
        #expect(mount.store.keys().isEmpty)
        try await mount.expectNothingKept()
    }

    /// Reads and writes of an unlinked file go on, for clean and for pending ones.
    @Test(arguments: [false, true])
    func unlinkedFilesLiveOn(isPending: Bool) async throws {
        let mount = try Mount()
        try await mount.prove()
        mount.store.write(pattern(50_000), at: "f")
        let file = try await mount.open("f", write: true)
        if isPending { try await mount.write(file, [1], at: 49_999) }
        try await mount.unlink("f")
        #expect(mount.store.keys().isEmpty)
        try await mount.write(file, [2], at: 0)
        var wanted = pattern(50_000)
        if isPending { wanted[49_999] = 1 }
        wanted[0] = 2
        #expect(try await mount.readAll(file) == wanted)
        #expect(try await mount.status(file).linkCount == 0)
        try await mount.write("f", "another")
        try await mount.close(file)
        await mount.drain()
        #expect(mount.store.text(at: "f") == "another")
        try await mount.expectNothingKept()
    }

    /// A replaced file that is open lives on, also when its upload ends during the rename.
    @Test func regression_replacedWhileItsUploadEnds() async throws {
        let mount = try Mount()
        mount.store.write(pattern(9000), at: "f")
        try await mount.prove()
        try await mount.write("new", "new")
        await mount.drain()
        let reader = try await mount.open("f")
        mount.store.pause(.putObject)
        try await mount.append("f", [1])
        await mount.store.untilHeld(.putObject)
        let renaming = Task { try await mount.rename("new", to: "f") }
        for _ in 0..<20 { await Task.yield() }
        mount.store.resume(.putObject)
        try await renaming.value
        #expect(try await mount.readAll(reader) == pattern(9000) + [1])
        #expect(try await mount.text("f") == "new")
        try await mount.close(reader)
        await mount.drain()
        #expect(mount.store.keys() == ["f"])
        try await mount.expectNothingKept()
    }

    /// What is written to an open file while it is renamed goes to the new name only.
    @Test func regression_writeDuringTheRename() async throws {
        let mount = try Mount()
        try await mount.prove()
        mount.store.write(pattern(9000), at: "f")
        let file = try await mount.open("f", write: true)
        mount.store.pause(.copyObject)
        let renaming = Task { try await mount.rename("f", to: "g") }
        await mount.store.untilHeld(.copyObject)
        try await mount.write(file, [1], at: 0)
        try await mount.flush(file)
        for _ in 0..<20 { await Task.yield() }
        mount.store.resume(.copyObject)
        try await renaming.value
        try await mount.close(file)
        await mount.drain()
        #expect(mount.store.keys() == ["g"])
        #expect(mount.store.bytes(at: "g") == [1] + pattern(9000).dropFirst())
        try await mount.expectNothingKept()
    }

    /// What is written during a rename cannot be journalled for the new name: the copy there is taken back, if it is ours still.
    @Test(arguments: [false, true])
    func regression_aRenameThatCannotBeJournalledLeavesNoCopy(isChangedByAnother: Bool) async throws {
        let isFull = Lock(false)
        let mount = try Mount(disk: StagingDisk { count in isFull.withLock { $0 } ? 0 : count })
        try await mount.prove()
        mount.store.write(pattern(9000), at: "f")
        let file = try await mount.open("f", write: true)
        mount.store.pause(.copyObject)
        let renaming = Task { try await mount.rename("f", to: "g", mustBeNew: true) }
        await mount.store.untilHeld(.copyObject)
        try await mount.write(file, [1], at: 0)
        isFull.withLock { $0 = true }
        mount.store.pause(.headObject)
        mount.store.resume(.copyObject)
        await mount.store.untilHeld(.headObject)
        if isChangedByAnother { mount.store.write("theirs", at: "g") }
        mount.store.resume(.headObject)
        await #expect(throws: FileSystemError.self) { try await renaming.value }
        isFull.withLock { $0 = false }
        #expect(mount.store.keys() == (isChangedByAnother ? ["f", "g"] : ["f"]))
        if !isChangedByAnother { try await mount.rename("f", to: "g", mustBeNew: true) }
        try await mount.close(file)
        await mount.drain()
        #expect(mount.store.keys() == (isChangedByAnother ? ["f", "g"] : ["g"]))
        #expect(mount.store.bytes(at: isChangedByAnother ? "f" : "g") == [1] + pattern(9000).dropFirst())
        #expect(!isChangedByAnother || mount.store.text(at: "g") == "theirs")
        try await mount.expectNothingKept()
    }

    /// A file that is open for writing, with nothing pending, needs no room to be renamed.
    @Test func regression_aRenameOfWhatIsStoredNeedsNoRoom() async throws {
        let isFull = Lock(false)
        let mount = try Mount(disk: StagingDisk { count in isFull.withLock { $0 } ? 0 : count })
        mount.store.write("replaced", at: "g")
        let file = try await mount.create("f")
        try await mount.write(file, pattern(9000), at: 0)
        try await mount.synchronise(file)
        mount.store.pause(.copyObject)
        let renaming = Task { try await mount.rename("f", to: "g") }
        await mount.store.untilHeld(.copyObject)
        isFull.withLock { $0 = true }
        mount.store.resume(.copyObject)
        try await renaming.value
        #expect(mount.store.keys() == ["g"])
        #expect(await failure { try await mount.write(file, [1], at: 0) } == .localDisk(ENOSPC))
        isFull.withLock { $0 = false }
        try await mount.write(file, [2], at: 0)
        try await mount.kill()
        await mount.drain()
        #expect(mount.store.keys() == ["g"])
        #expect(mount.store.bytes(at: "g") == [2] + pattern(9000).dropFirst())
    }

    /// The old object cannot be removed, and the way back not be journalled: the file has the new name then.
    @Test func regression_aRenameThatCanNeitherEndNorGoBack() async throws {
        let isFull = Lock(false)
        let mount = try Mount(disk: StagingDisk { count in isFull.withLock { $0 } ? 0 : count })
        try await mount.prove()
        mount.store.write(pattern(9000), at: "f")
        let file = try await mount.open("f", write: true)
        mount.store.pause(.copyObject)
        let renaming = Task { try await mount.rename("f", to: "g") }
        await mount.store.untilHeld(.copyObject)
        try await mount.write(file, [1], at: 0)
        mount.store.pause(.deleteObject)
        mount.store.setFaults(FaultPlan().adding(.accessDenied, on: .deleteObject, when: .always))
        mount.store.resume(.copyObject)
        await mount.store.untilHeld(.deleteObject)
        isFull.withLock { $0 = true }
        mount.store.resume(.deleteObject)
        #expect(await failure { try await renaming.value } == .accessDenied)
        isFull.withLock { $0 = false }
        mount.store.setFaults(FaultPlan())
        #expect(try await mount.names("").sorted() == ["f", "g"])
        try await mount.write(file, [2], at: 1)
        try await mount.close(file)
        await mount.drain()
        #expect(mount.store.bytes(at: "f") == pattern(9000))
        #expect(mount.store.bytes(at: "g") == [1, 2] + pattern(9000).dropFirst(2))
        #expect(try await mount.read("f") == pattern(9000))
        try await mount.expectNothingKept()
    }

    /// The copy was made and its answer lost: the rename goes on, and what it replaces does not come back.
    @Test(arguments: [Fault.lostAnswer, .answerLost(.throttled), .answerLost(.accessDenied)])
    func regression_renameWhoseCopyLosesItsAnswer(fault: Fault) async throws {
        let mount = try Mount()
        try await mount.write("b", "replaced")
        try await mount.write("a", "kept")
        await mount.drain()
        try await mount.append("b", [1])
        mount.store.setFaults(FaultPlan().adding(fault, on: .copyObject, when: .first(1)))
        try await mount.rename("a", to: "b")
        await mount.drain()
        #expect(mount.store.keys() == ["b"])
        #expect(try await mount.text("b") == "kept")
    }

    /// S3 gives a copy the class STANDARD where none is named.
    @Test(arguments: [AttributePolicy.adaptive, .listing])
    func regression_theStorageClassStays(policy: AttributePolicy) async throws {
        let mount = try Mount { $0.attributePolicy = policy }
        var properties = ObjectProperties(metadata: ["mode": "33188"], contentType: "text/x")
        properties.storageClass = "STANDARD_IA"
        for key in ["f", "g", "d/h"] { mount.store.write("x", at: key, properties: properties) }
        _ = try await mount.names("")
        try await mount.rename("f", to: "f2")
        try await mount.rename("f2", to: "f3")
        // Nothing is listed of it.
        let other = try Mount(store: mount.store, time: mount.time) { $0.attributePolicy = policy }
        try await other.rename("g", to: "g2")
        try await mount.rename("d", to: "e")
        #expect(mount.store.keys() == ["e/", "e/h", "f3", "g2"])
        for key in ["e/h", "f3", "g2"] {
            #expect(mount.store.info(at: key)?.properties == properties, "\(key)")
        }
    }

    /// A program that writes beside a file and renames over it: the content type is that of the last name.
    @Test(arguments: [(".page.html.Xk3b", "page.html"), ("new.txt", "page.html"), ("page", "page.html")])
    func regression_theContentTypeIsThatOfTheName(from: String, to: String) async throws {
        let mount = try Mount()
        try await mount.prove()
        let file = try await mount.create(from)
        try await mount.write(file, Array("text".utf8), at: 0)
        try await mount.rename(from, to: to)
        try await mount.close(file)
        await mount.drain()
        #expect(mount.store.info(at: to)?.properties.contentType == "text/html")
    }

    /// A type that somebody has set is kept.
    @Test func aContentTypeThatWasSetStays() async throws {
        let mount = try Mount()
        try await mount.prove()
        try await mount.write("new.txt", "text")
        try await mount.withNode("new.txt") { status in
            try await mount.fileSystem.setExtendedAttribute(
                status.number, name: Array("user.s3.content-type".utf8), value: Array("text/x".utf8)
            ).get()
        }
        let file = try await mount.open("new.txt", write: true)
        try await mount.write(file, [0x54], at: 0)
        try await mount.rename("new.txt", to: "new.html")
        try await mount.close(file)
        await mount.drain()
        #expect(mount.store.info(at: "new.html")?.properties.contentType == "text/x")
    }

    /// Opened for writing while it is renamed: what its object's metadata holds is not lost.
    @Test func regression_openedForWritingWhileItIsRenamed() async throws {
        let mount = try Mount { $0.attributePolicy = .listing }
        try await mount.prove()
        let metadata = ["mode": "33188", "uid": "7", "gid": "8", "project": "apollo"]
        mount.store.write("text", at: "f", properties: ObjectProperties(metadata: metadata, contentType: "text/x"))
        #expect(try await mount.names("") == ["f"])
        try await mount.withNode("f") { status in
            mount.store.pause(.headObject, at: .beforeAnswer)
            let opening = Task { try await mount.fileSystem.open(status.number, mayWrite: true).get() }
            await mount.store.untilHeld(.headObject, at: .beforeAnswer)
            try await mount.rename("f", to: "g")
            mount.store.resume(.headObject, at: .beforeAnswer)
            let handle = try await opening.value
            let count = try await [UInt8]("T".utf8).withUnsafeBytes {
                mount.fileSystem.write(handle, offset: 0, bytes: $0)
            }.get()
            #expect(count == 1)
            try await mount.fileSystem.flush(handle).get()
            mount.fileSystem.release(handle)
        }
        await mount.drain()
        #expect(mount.store.text(at: "g") == "Text")
        let properties = mount.store.info(at: "g")?.properties
        #expect(properties?.metadata["project"] == "apollo")
        #expect(properties?.contentType == "text/x")
    }
}
