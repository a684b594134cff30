// Two clients, one object.

import Base
import BlockCache
import MemoryStore
import ObjectModel
import Staging
import Testing

@testable import FileSystem

@Suite(.timeLimit(.minutes(5)))
struct ConflictTests {
    private func twoMounts() throws -> (Mount, Mount) {
        let (store, time) = (MemoryStore(), TickingTime())
        return (try Mount(store: store, time: time), try Mount(store: store, time: time))
    }

    /// What a mount changes of a directory it changes in what the other one has made of it; and a directory that is listed
    /// shows whether its attributes are others now. By the kernel's reference, too: nobody looks the name up again.
    @Test func regression_attributesOfADirectoryOfTwoMounts() async throws {
        let (storeTime, time) = (SimulatedTime(), TickingTime())
        let store = MemoryStore(time: storeTime)
        let (one, two) = (try Mount(store: store, time: time), try Mount(store: store, time: time))
        func letTTLPass() {
            storeTime.advance(nanoseconds: 61_000_000_000)
            time.advance(seconds: 61)
        }
        try await one.makeDirectory("d", mode: 0o700)
        try await one.withNode("d") { _ in
            try await two.withNode("d") { _ in
                letTTLPass()
                try await two.chmod("d", 0o750)
                await two.drain()
                letTTLPass()
                _ = try await one.names("d")
                #expect(try await one.status("d").attributes.permissions == 0o750)
                try await two.chmod("d", 0o755)
                await two.drain()
                letTTLPass()
                try await one.change("d") { $0.gid = 7 }
                await one.drain()
                letTTLPass()
                _ = try await two.names("d")
                for mount in [one, two] {
                    let attributes = try await mount.status("d").attributes
                    #expect(attributes.permissions == 0o755 && attributes.gid == 7)
                }
            }
        }
    }

    @Test func theLoserIsToldAndItsBytesAreKept() async throws {
        let (one, two) = try twoMounts()
        try await one.write("f", "base")
        await one.drain()
        let first = try await one.open("f", write: true)
        let second = try await two.open("f", write: true)
        try await one.truncate(first, to: 0)
        try await one.write(first, Array("ours".utf8), at: 0)
        try await two.truncate(second, to: 0)
        try await two.write(second, Array("theirs".utf8), at: 0)
        try await one.synchronise(first)
        #expect(await failure { try await two.synchronise(second) } == .stale)
        let saved = try #require(one.store.keys(under: "f.conflict-").first)
        #expect(one.store.text(at: "f") == "ours")
        #expect(one.store.text(at: saved) == "theirs")
        // Who has the loser open keeps it, under its new name.
        #expect(try await two.readAll(second) == Array("theirs".utf8))
        try await two.close(second)
        try await one.close(first)
        #expect(try await two.text("f") == "ours")
        #expect(try await two.text(saved) == "theirs")
    }

    /// O_EXCL on two machines: both creates succeed, since no object exists; only one upload does.
    @Test func twoNewFilesOfOneName() async throws {
        let (one, two) = try twoMounts()
        let first = try await one.create("lock")
        let second = try await two.create("lock")
        try await one.write(first, [1], at: 0)
        try await two.write(second, [2], at: 0)
        try await two.synchronise(second)
        #expect(await failure { try await one.synchronise(first) } == .stale)
        #expect(one.store.bytes(at: "lock") == [2])
        #expect(await failure { _ = try await two.create("lock") } == .alreadyExists)
        try? await one.close(first)
        try await two.close(second)
        one.expire()
        #expect(await failure { _ = try await one.create("lock") } == .alreadyExists)
    }

    /// What is kept of a loser that nobody has open does not stay in memory and on the disk once it is in the bucket.
    @Test func regression_theCopyOfAClosedLoserIsLetGo() async throws {
        let (one, two) = try twoMounts()
        try await one.prove()
        one.store.pause(.putObject)
        try await one.write("f", "ours")
        await one.store.untilHeld(.putObject)
        one.store.write("theirs", at: "f")
        one.store.resume(.putObject)
        await one.drain()
        let saved = try #require(one.store.keys(under: "f.conflict-").first)
        #expect(one.store.text(at: saved) == "ours")
        #expect(one.store.text(at: "f") == "theirs")
        try await one.expectNothingKept()
        #expect(try await two.text(saved) == "ours")
    }

    /// The copy of a loser that cannot be uploaded at once is uploaded later, and the name is the winner's at once.
    @Test func aConflictCopyThatFailsAtFirst() async throws {
        let (one, two) = try twoMounts()
        let file = try await one.create("f")
        try await one.write(file, [1], at: 0)
        try await two.write("f", "theirs")
        one.store.setFaults(
            FaultPlan().adding(.preconditionFailed, on: .putObject, key: "f", when: .always)
                .adding(.throttled, on: .putObject, when: .first(3)))
        #expect(await failure { try await one.synchronise(file) } == .stale)
        #expect(try await one.text("f") == "theirs")
        try? await one.close(file)
        await one.drain()
        await one.drain()
        let saved = try #require(one.store.keys(under: "f.conflict-").first)
        #expect(one.store.bytes(at: saved) == [1])
        #expect(one.store.text(at: "f") == "theirs")
        try await one.expectNothingKept()
    }

    /// A large object was changed in one place, and another client replaces it: the rest of ours is nowhere any more. The
    /// name is the winner's, the changes are kept by themselves, and whoever has the file open hears of it each time.
    @Test func aLoserWithoutItsBase() async throws {
        let mount = try Mount()
        mount.store.write(pattern(300_000), at: "f")
        let file = try await mount.open("f", write: true)
        try await mount.write(file, [1, 2, 3], at: 200_000)
        mount.store.write("theirs", at: "f")
        #expect(await failure { try await mount.synchronise(file) } == .stale)
        #expect(try await mount.text("f") == "theirs")
        #expect(await failure { try await mount.write(file, [4], at: 0) } == .stale)
        #expect(await failure { try await mount.synchronise(file) } == .stale)
        try? await mount.close(file)
        try await mount.expectNothingKept()
        let saved = try #require(mount.store.keys(under: "f.conflict-").first)
        #expect(try #require(mount.store.bytes(at: saved)).suffix(3) == [1, 2, 3])
        #expect(try await mount.readAll(mount.open(saved)).suffix(3) == [1, 2, 3])
        try await mount.unlink("f")
        #expect(mount.store.keys() == [saved])
    }

    /// An answer was lost, and the file was changed before the next try: our own object is no conflict.
    @Test func regression_ownObjectAfterALostAnswer() async throws {
        let mount = try Mount()
        let file = try await mount.create("f")
        try await mount.write(file, pattern(5000), at: 0)
        mount.store.setFaults(FaultPlan().adding(.lostAnswer, on: .putObject, when: .first(1)))
        #expect(await failure { try await mount.synchronise(file) } == .timedOut)
        try await mount.write(file, [7], at: 100)
        try await mount.synchronise(file)
        try await mount.close(file)
        var bytes = pattern(5000)
        bytes[100] = 7
        #expect(mount.store.keys() == ["f"])
        #expect(mount.store.bytes(at: "f") == bytes)
    }

    /// The same over kill -9: the request was done, nobody knows.
    @Test func regression_ownObjectAfterAKill() async throws {
        let mount = try Mount()
        mount.store.write(pattern(3000), at: "f")
        let file = try await mount.open("f", write: true)
        try await mount.write(file, [1], at: 0)
        mount.store.pause(.putObject, at: .beforeAnswer)
        // Its answer never comes: the process is gone.
        let synchronising = Task { _ = await failure { try await mount.synchronise(file) } }
        await mount.store.untilHeld(.putObject, at: .beforeAnswer)
        let killed = Task { try await mount.kill() }
        // Nothing of the old mount goes on; the new one finds what its request has done.
        mount.store.resume(.putObject, at: .beforeAnswer)
        try await killed.value
        synchronising.cancel()
        await mount.drain()
        try await mount.expectNothingKept()
        #expect(mount.store.keys() == ["f"])
        #expect(mount.store.bytes(at: "f") == [1] + pattern(3000).dropFirst())
    }

    /// What was published, and open when the mount was killed, is not sent again over another client's change.
    @Test func regression_publishedFilesAreNotAdopted() async throws {
        let mount = try Mount()
        let file = try await mount.create("log")
        try await mount.write(file, [1], at: 0)
        try await mount.synchronise(file)
        mount.store.write("theirs", at: "log")
        try await mount.kill()
        #expect(mount.area.files.isEmpty)
        #expect(try await mount.text("log") == "theirs")
    }

    // MARK: Reading while another client writes

    @Test func changedBeforeTheFirstByte() async throws {
        let mount = try Mount()
        mount.store.write(pattern(10_000), at: "f")
        let file = try await mount.open("f")
        mount.store.write(pattern(12_000, fill: 50), at: "f")
        #expect(try await mount.readAll(file) == pattern(12_000, fill: 50))
        #expect(try await mount.status(file).byteCount == 12_000)
        try await mount.close(file)
    }

    @Test(arguments: [12_000, 200_000])
    func changedAfterTheFirstByte(byteCount: Int) async throws {
        let mount = try Mount()
        mount.store.write(pattern(200_000), at: "f")
        let file = try await mount.open("f")
        #expect(try await mount.read(file, at: 100_000, count: 100) == Array(pattern(200_000)[100_000..<100_100]))
        await mount.settle()
        mount.store.write(pattern(byteCount, fill: 50), at: "f")
        mount.cache.forget(MemoryStore.objectKey("f"))
        #expect(await failure { _ = try await mount.read(file, at: 0, count: 5000) } == .stale)
        #expect(await failure { _ = try await mount.read(file, at: 0, count: 5000) } == .stale, "for ever")
        let fresh = try await mount.open("f")
        #expect(try await mount.readAll(fresh) == pattern(byteCount, fill: 50))
        try await mount.close(fresh)
        try await mount.close(file)
    }

    /// Two first reads of an open file at once: one had its bytes on the way when the object was changed, the other found
    /// the change and returned the new bytes. Then the first returned the old ones.
    @Test func regression_twoFirstReadsShowOneVersion() async throws {
        let store = MemoryStore()
        let hostile = HostileStore(store)
        let mount = try Mount(store: store, between: hostile)
        store.write(pattern(4_000_000), at: "f")
        let file = try await mount.open("f")
        let hold = hostile.holdNextBody()
        let slow = Task { try await mount.read(file, at: 0, count: 8000) }
        await hold.hasBegun.wait()
        store.write(pattern(4_000_000, fill: 50), at: "f")
        let new = Array(pattern(4_000_000, fill: 50))
        #expect(try await mount.read(file, at: 3_900_000, count: 100) == Array(new[3_900_000..<3_900_100]))
        hold.goOn.set(())
        #expect(try await slow.value == Array(new[..<8000]))
        try await mount.close(file)
    }

    @Test func removedWhileOpen() async throws {
        let mount = try Mount()
        mount.store.write(pattern(10_000), at: "f")
        let file = try await mount.open("f")
        mount.store.remove(at: "f")
        #expect(await failure { _ = try await mount.readAll(file) } == .stale)
        #expect(await failure { _ = try await mount.open("f") } == .notFound)
        try await mount.close(file)
    }

    /// Our own upload of an open file is no change by another client, also for who reads its old bytes meanwhile.
    @Test func regression_readDuringOwnCopy() async throws {
        let mount = try Mount()
        mount.store.write(pattern(10_000), at: "f")
        let reader = try await mount.open("f")
        let writer = try await mount.open("f", write: true)
        mount.store.pause(.copyObject, at: .beforeAnswer)
        try await mount.chmod("f", 0o600)
        let flushing = Task { try await mount.synchronise(writer) }
        await mount.store.untilHeld(.copyObject, at: .beforeAnswer)
        let reading = Task { try await mount.readAll(reader) }
        while mount.store.requests[.getObject] == 0 { await Task.yield() }
        mount.store.resume(.copyObject, at: .beforeAnswer)
        #expect(try await reading.value == pattern(10_000))
        try await flushing.value
        try await mount.close(reader)
        try await mount.close(writer)
    }

    /// The answer to a change of attributes was lost: the object is ours all the same, and is read.
    @Test func regression_readAfterALostAnswer() async throws {
        let mount = try Mount()
        try await mount.prove()
        mount.store.write(pattern(10_000), at: "f")
        mount.expire()
        let writer = try await mount.open("f", write: true)
        mount.store.setFaults(FaultPlan().adding(.lostAnswer, on: .copyObject, when: .first(1)))
        try await mount.chmod("f", 0o600)
        #expect(await failure { try await mount.synchronise(writer) } == .timedOut)
        #expect(try await mount.read("f") == pattern(10_000))
        try await mount.close(writer)
        await mount.drain()
        #expect(mount.store.keys() == ["f"])
    }

    /// A same-size change of another client is seen by the first open after the time that names are believed.
    @Test func overwritesAreSeenAfterTheTTL() async throws {
        let mount = try Mount()
        mount.store.write("one", at: "f")
        #expect(try await mount.text("f") == "one")
        mount.store.write("two", at: "f")
        mount.expire()
        #expect(try await mount.text("f") == "two")
        mount.store.write("six", at: "f")
        mount.fileSystem.refresh(path: "f")
        #expect(try await mount.text("f") == "six")
    }
}
