// Names and attributes over mounts: what a remount asks, what an offline mount shows, inode numbers.

import Base
import MemoryStore
import ObjectModel
import ObjectStore
import Testing

@testable import FileSystem

@Suite(.timeLimit(.minutes(5)))
struct RememberingTests {
    private func newMount(_ configure: @escaping (inout FileSystemConfiguration) -> Void = { _ in }) throws -> Mount {
        let time = TickingTime()
        // One clock for both: objects that we write are known again by their time.
        return try Mount(store: MemoryStore(time: time), time: time, remembers: true, configure)
    }

    /// `ls -l` of a directory, the kernel's way.
    private func statuses(_ mount: Mount, _ path: String) async throws -> [String: FileStatus] {
        var result: [String: FileStatus] = [:]
        try await mount.withNode(path) { _ in
            for name in try await mount.names(path) { result[name] = try await mount.status("\(path)/\(name)") }
        }
        return result
    }

    @Test func whatPailWroteNeedsNoQuestionAfterARemount() async throws {
        let mount = try newMount()
        try await mount.makeDirectory("d")
        for index in 0..<100 { try await mount.write("d/f\(index)", pattern(10), mode: 0o600 + UInt32(index % 8)) }
        try await mount.symlink("d/link", to: "f1")
        try await mount.makeDirectory("d/sub", mode: 0o700)
        await mount.drain()
        let before = try await statuses(mount, "d")
        try await mount.remount()
        var after: [String: FileStatus] = [:]
        let counts = try await mount.requests { after = try await self.statuses(mount, "d") }
        // Of the directory itself, and of what was noted as listed while its upload was just ending.
        #expect(counts[.headObject] + counts[.getObject] <= 4, "\(counts)")
        #expect(after.count == 102)
        for (name, status) in before {
            #expect(after[name]?.attributes == status.attributes, "\(name)")
            #expect(after[name]?.kind == status.kind)
            #expect(after[name]?.inode == status.inode)
            #expect(after[name]?.byteCount == status.byteCount)
        }
    }

    /// The first mount asked 64 of them; the second asks none.
    @Test func foreignObjectsAreAskedForOnce() async throws {
        let mount = try newMount()
        for index in 0..<200 { mount.store.write("x", at: "d/f\(index)") }
        mount.time.advance(seconds: 10)
        let first = try await mount.requests { _ = try await self.statuses(mount, "d") }
        #expect((50...64).contains(first[.headObject]), "\(first)")
        try await mount.remount()
        let second = try await mount.requests { _ = try await self.statuses(mount, "d") }
        #expect(second[.headObject] == 0, "\(second)")
    }

    @Test func anObjectThatAnotherClientReplacedIsAskedForAgain() async throws {
        let mount = try newMount()
        let time = Timestamp(seconds: 7)
        for name in ["kept", "replaced", "removed"] {
            mount.store.write("x", at: "d/\(name)", properties: .init(metadata: ["mode": "33152", "mtime": "7"]))
        }
        mount.time.advance(seconds: 10)
        _ = try await statuses(mount, "d")
        try await mount.remount()
        mount.store.write("x", at: "d/replaced", properties: .init(metadata: ["mode": "33188", "mtime": "8"]))
        mount.store.remove(at: "d/removed")
        var after: [String: FileStatus] = [:]
        let counts = try await mount.requests { after = try await self.statuses(mount, "d") }
        #expect(counts[.headObject] + counts[.getObject] <= 2, "the directory, and the one that is new: \(counts)")
        #expect(after.keys.sorted() == ["kept", "replaced"])
        #expect(after["kept"]?.attributes.modified == time)
        #expect(after["replaced"]?.attributes.modified == Timestamp(seconds: 8))
        #expect(after["replaced"]?.attributes.permissions == 0o644)
    }

    /// Inode numbers of objects of other tools follow from key and ETag, those of ours are kept, through renames too.
    @Test(arguments: [true, false])
    func inodeNumbersStay(remembers: Bool) async throws {
        let time = TickingTime()
        let mount = try Mount(store: MemoryStore(time: time), time: time, remembers: remembers)
        mount.store.write("x", at: "d/foreign")
        mount.store.write("x", at: "d/sub/x")
        try await mount.write("d/ours", "y")
        try await mount.write("d/old", "z")
        await mount.drain()
        try await mount.withNode("d/old") { held in
            try await mount.rename("d/old", to: "d/new")
            #expect(try await mount.status("d/new").inode == held.inode, "a rename keeps the file")
        }
        try await mount.write("d/old", "another")
        await mount.drain()
        let before = try await statuses(mount, "d")
        #expect(Set(before.values.map(\.inode)).count == before.count, "no two files share a number")
        let listed = try await mount.list("d")
        for entry in listed { #expect(entry.inode == before[entry.name]?.inode, "readdir and stat agree") }
        try await mount.remount()
        let after = try await statuses(mount, "d")
        let stable = remembers ? ["foreign", "sub", "ours", "new", "old"] : ["foreign", "sub"]
        for name in stable { #expect(after[name]?.inode == before[name]?.inode, "\(name)") }
        #expect(Set(after.values.map(\.inode)).count == after.count)
        mount.store.write("another", at: "d/foreign")
        mount.expire()
        #expect(
            try await mount.status("d/foreign").inode != before["foreign"]?.inode, "a replaced object is another file")
    }

    @Test func anOfflineMountShowsWhatWasKnown() async throws {
        let time = TickingTime()
        let store = MemoryStore(time: time)
        let mount = try Mount(store: store, time: time, remembers: true)
        store.write(pattern(100), at: "d/seen", properties: .init(metadata: ["mode": "33152", "mtime": "7"]))
        store.write("x", at: "other/unseen")
        try await mount.makeDirectory("d/sub", mode: 0o700)
        try await mount.symlink("d/link", to: "seen")
        time.advance(seconds: 10)
        let before = try await statuses(mount, "d")
        _ = try await mount.names("")
        await mount.fileSystem.shutDown()
        await mount.attributes?.drain()
        time.advance(seconds: 1000)

        let offline = try Mount(
            store: store, time: time, directory: mount.directory, between: OfflineStore(), remembers: true
        ) {
            $0.isOffline = true
            $0.isReadOnly = true
        }
        store.resetRequests()
        #expect(try await offline.names("").sorted() == ["d", "other"])
        let after = try await statuses(offline, "d")
        #expect(after.keys.sorted() == ["link", "seen", "sub"])
        for (name, status) in before { #expect(after[name] == status.renumbered(after[name]?.number), "\(name)") }
        #expect(try await offline.readSymlink("d/link") == "seen")
        for path in ["d/none", "none", "other/unseen"] {
            #expect(
                await failure { _ = try await offline.status(path) } == .unreachable, "unknown is not absent: \(path)")
        }
        #expect(await failure { _ = try await offline.names("other") } == .unreachable, "never listed")
        #expect(store.requests.total == 0)
    }

    /// While the store does not answer, a mount that began online shows what earlier ones knew.
    @Test func anOutageAfterARemountShowsWhatWasKnown() async throws {
        let mount = try newMount()
        mount.store.write("x", at: "d/f")
        mount.time.advance(seconds: 10)
        _ = try await statuses(mount, "d")
        _ = try await mount.names("")
        try await mount.remount()
        mount.store.setFaults(FaultPlan().adding(.refused(.unreachable), when: .always))
        #expect(try await mount.names("d") == ["f"])
        #expect(try await mount.status("d/f").byteCount == 1)
        mount.store.setFaults(FaultPlan())
        mount.store.write("longer", at: "d/g")
        mount.time.advance(seconds: 10)
        #expect(try await mount.names("d").sorted() == ["f", "g"], "remembered is not fresh")
    }
}

extension FileStatus {
    /// The kernel's numbers are another mount's.
    fileprivate func renumbered(_ number: UInt64?) -> FileStatus {
        FileStatus(
            number: number ?? 0, inode: inode, kind: kind, attributes: attributes, byteCount: byteCount,
            linkCount: linkCount)
    }
}
