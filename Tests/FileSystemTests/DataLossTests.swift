// Ways in which other filesystems over S3 have lost data, each tried here; numbers refer to the issues of those projects.

import Base
import Glibc
import MemoryStore
import ObjectModel
import ObjectStore
import Staging
import Testing

@testable import FileSystem

@Suite(.timeLimit(.minutes(5)))
struct DataLossTests {
    /// s3fs#918: a change inside a file that was never read lost everything behind it.
    @Test(arguments: [1000, 100_000, 20 << 20])
    func changeInsideAnUnreadObject(byteCount: Int) async throws {
        let mount = try Mount()
        var bytes = pattern(byteCount)
        mount.store.write(bytes, at: "object")
        let file = try await mount.open("object", write: true)
        try await mount.write(file, [0xff], at: byteCount / 3)
        try await mount.close(file)
        bytes[byteCount / 3] = 0xff
        await mount.drain()
        let isSame = mount.store.bytes(at: "object") == bytes
        #expect(isSame)
    }

    /// A large file is begun in the store before its last times are known; they follow it, and nothing that drains the mount
    /// takes that for a failure.
    @Test func aFileThatWasSentAheadIsDrained() async throws {
        let mount = try Mount()
        try await mount.prove()
        let file = try await mount.create("large")
        let piece = pattern(4 << 20)
        for index in 0..<10 { try await mount.write(file, piece, at: index << 22) }
        try await mount.close(file)
        let left = await mount.drain()
        #expect(left.isEmpty)
        #expect(mount.store.info(at: "large")?.version.byteCount == 40 << 20)
    }

    /// s3fs#1453, s3fs#1579, s3fs#1944: rename and then a change of times made a fresh, empty file.
    @Test(arguments: [false, true])
    func renameThenChangeOfAttributes(isUploadedBefore: Bool) async throws {
        let mount = try Mount()
        try await mount.prove()
        try await mount.write("old", pattern(9000))
        if isUploadedBefore { await mount.drain() }
        try await mount.rename("old", to: "new")
        try await mount.setModified("new", Timestamp(seconds: 1_234_567_890))
        try await mount.chmod("new", 0o600)
        #expect(try await mount.read("new") == pattern(9000))
        await mount.drain()
        #expect(mount.store.bytes(at: "new") == pattern(9000))
        #expect(mount.store.keys() == ["new"])
    }

    /// s3fs#898, s3fs#1345: rename, chmod or utimens before close() copied the empty stub over the data.
    @Test(arguments: ["rename", "chmod", "utimens", "all"])
    func changeOfNameOrAttributesBeforeClose(what: String) async throws {
        let mount = try Mount()
        try await mount.prove()
        let file = try await mount.create("f")
        try await mount.write(file, pattern(5000), at: 0)
        if what != "chmod" && what != "utimens" { try await mount.rename("f", to: "g") }
        let name = what == "rename" || what == "all" ? "g" : "f"
        if what == "chmod" || what == "all" { try await mount.chmod(name, 0o600) }
        if what == "utimens" || what == "all" { try await mount.setModified(name, Timestamp(seconds: 5)) }
        await mount.drain()
        try await mount.write(file, pattern(5000, fill: 9), at: 5000)
        try await mount.close(file)
        await mount.drain()
        #expect(mount.store.bytes(at: name) == pattern(5000) + pattern(5000, fill: 9))
        #expect(mount.store.keys() == [name])
    }

    /// s3fs#1022: a second open that carried a stale size cut the file.
    @Test func secondOpenWithAStaleSize() async throws {
        let mount = try Mount()
        mount.store.write(pattern(10), at: "f")
        _ = try await mount.status("f")
        let first = try await mount.open("f", write: true)
        try await mount.write(first, pattern(8000, fill: 3), at: 0)
        let second = try await mount.open("f", write: true)
        #expect(try await mount.status(second).byteCount == 8000)
        try await mount.write(second, [1], at: 8000)
        try await mount.close(second)
        try await mount.close(first)
        await mount.drain()
        #expect(mount.store.bytes(at: "f") == pattern(8000, fill: 3) + [1])
    }

    /// rc#4293, rc#9574, rc#4417: a temporary file renamed over the target while its upload is under way.
    @Test func renameOverTheTargetDuringTheUpload() async throws {
        let mount = try Mount()
        try await mount.write("doc", "old")
        await mount.drain()
        mount.store.pause(.putObject)
        try await mount.write(".doc.tmp", "new")
        await mount.store.untilHeld(.putObject)
        let renaming = Task { try await mount.rename(".doc.tmp", to: "doc") }
        for _ in 0..<20 { await Task.yield() }
        mount.store.resume(.putObject)
        try await renaming.value
        #expect(try await mount.text("doc") == "new")
        await mount.drain()
        #expect(mount.store.text(at: "doc") == "new")
        #expect(mount.store.keys() == ["doc"])
    }

    /// gcs#77: the staging disk was full, and a cut object was published. Here: the limit, with uploads that fail.
    @Test func aFailedWriteLeavesTheObject() async throws {
        let mount = try Mount(stagingLimitBytes: 20_000)
        mount.store.write(pattern(5000), at: "f")
        mount.store.setFaults(FaultPlan().adding(.accessDenied, on: .putObject, when: .always))
        let file = try await mount.open("f", write: true)
        try await mount.write(file, pattern(9000, fill: 7), at: 0)
        let kind = await failure { try await mount.write(file, pattern(15_000, fill: 8), at: 9000) }
        #expect(kind == .accessDenied)
        #expect(await failure { try await mount.flush(file) } == .noSpace)
        // The first may be told of a try that had begun before.
        _ = await failure { try await mount.synchronise(file) }
        #expect(await failure { try await mount.synchronise(file) } == .noSpace)
        mount.store.setFaults(FaultPlan())
        #expect(await mount.drain().count == 1)
        #expect(await failure { try await mount.close(file) } == .noSpace)
        #expect(mount.store.bytes(at: "f") == pattern(5000))
        try await mount.write("f", pattern(15_000, fill: 8))
        await mount.drain()
        #expect(mount.store.bytes(at: "f") == pattern(15_000, fill: 8))
    }

    /// What could not be written for want of an answer is written once there is one, and then the file is whole.
    @Test(arguments: [StoreError.Kind.accessDenied, .unreachable, .timedOut])
    func regression_aWriteThatWaitedInVainKeepsTheFileFromBeingSent(kind: StoreError.Kind) async throws {
        let mount = try Mount(stagingLimitBytes: 20_000)
        mount.store.write(pattern(5000), at: "f")
        mount.store.setFaults(FaultPlan().adding(.refused(kind), on: .putObject, when: .always))
        let other = try await mount.create("other")
        try await mount.write(other, pattern(9000), at: 0)
        let file = try await mount.open("f", write: true)
        try await mount.write(file, pattern(9000, fill: 7), at: 0)
        #expect(await failure { try await mount.write(file, pattern(9000, fill: 8), at: 4500) } != nil)
        _ = await failure { try await mount.synchronise(file) }
        #expect(await failure { try await mount.synchronise(file) } == .noSpace)
        mount.store.setFaults(FaultPlan())
        try? await mount.close(other)
        await mount.drain()
        #expect(mount.store.bytes(at: "f") == pattern(5000))
        try await mount.write(file, pattern(9000, fill: 8), at: 4500)
        try await mount.close(file)
        await mount.drain()
        #expect(mount.store.bytes(at: "f") == Array(pattern(9000, fill: 7)[..<4500]) + pattern(9000, fill: 8))
    }

    /// A disk that is smaller than the file: each write waits for the parts that are on their way, and none fails.
    @Test func regression_aFullDiskWaitsForWhatIsSent() async throws {
        let place = Mount.newPath()
        // The data files have room for 16 KiB, journals for what they want. What was given up is a hole.
        let disk = StagingDisk { count in
            guard count == 1000 || count == 20_000 else { return count }
            return Mount.dataBlocks(below: place) + count > 16 << 10 ? 0 : count
        }
        let mount = try Mount(directory: place, disk: disk, isSmall: true)
        try await mount.prove()
        let file = try await mount.create("f")
        for index in 0..<100 { try await mount.write(file, pattern(1000, fill: UInt8(index)), at: index * 1000) }
        try await mount.close(file)
        await mount.drain()
        #expect(mount.store.bytes(at: "f") == (0..<100).flatMap { pattern(1000, fill: UInt8($0)) })
        // With nothing on its way it is told at once.
        let other = try await mount.open("f", write: true)
        mount.store.setFaults(.unreachable)
        let kind = await failure { try await mount.write(other, pattern(20_000), at: 0) }
        #expect(kind == .localDisk(ENOSPC))
    }

    /// What an upload must fetch has no room on the disk: the program is told so, and it is made up for later.
    @Test(arguments: [false, true])
    func regression_anUploadWithoutRoomTellsIt(isSmall: Bool) async throws {
        let isFull = Lock(false)
        // Journals have room.
        let disk = StagingDisk { count in isFull.withLock { $0 } && count >= 1000 ? 0 : count }
        let mount = try Mount(disk: disk, isSmall: isSmall)
        try await mount.prove()
        mount.store.write(pattern(9000), at: "f")
        let file = try await mount.open("f", write: true)
        try await mount.write(file, [1], at: 100)
        isFull.withLock { $0 = true }
        #expect(await failure { try await mount.synchronise(file) } == .localDisk(ENOSPC))
        isFull.withLock { $0 = false }
        try await mount.close(file)
        await mount.drain()
        var wanted = pattern(9000)
        wanted[100] = 1
        #expect(mount.store.bytes(at: "f") == wanted)
    }

    /// No object is longer than 5 TiB: who wants a longer file is told at once, and the file is as it was.
    @Test func regression_filesAreNoLongerThanObjects() async throws {
        let mount = try Mount()
        mount.store.write(pattern(100), at: "f")
        let file = try await mount.open("f", write: true)
        let limit = 5 << 40
        #expect(await failure { try await mount.truncate(file, to: limit + 1) } == .fileTooLarge)
        #expect(await failure { try await mount.truncate(file, to: .max) } == .fileTooLarge)
        #expect(await failure { try await mount.write(file, [1], at: limit) } == .fileTooLarge)
        #expect(await failure { try await mount.write(file, [1, 2], at: limit - 1) } == .fileTooLarge)
        #expect(await failure { try await mount.write(file, [1], at: .max) } == .fileTooLarge)
        for allocation in [RangeAllocation.extend, .zero(extends: true)] {
            let kind = await failure {
                try await mount.fileSystem.allocate(file.handle, allocation, offset: limit, count: 4096).get()
            }
            #expect(kind == .fileTooLarge)
        }
        #expect(try await mount.status(file).byteCount == 100)
        try await mount.close(file)
        await mount.drain()
        #expect(mount.store.bytes(at: "f") == pattern(100))
    }

    /// A write larger than the staging limit fails at once; one that only has to wait for uploads waits.
    @Test func theStagingLimitWaitsOrRefuses() async throws {
        let mount = try Mount(stagingLimitBytes: 10_000)
        try await mount.prove()
        let file = try await mount.create("f")
        #expect(await failure { try await mount.write(file, pattern(10_001), at: 0) } == .noSpace)
        for index in 0..<10 { try await mount.write(file, pattern(4000, fill: UInt8(index)), at: index * 4000) }
        try await mount.close(file)
        await mount.drain()
        let wanted = (0..<10).flatMap { pattern(4000, fill: UInt8($0)) }
        #expect(mount.store.bytes(at: "f") == wanted)
    }

    /// gf#273, mp#526: flushes of a forked process's copies broke later writes.
    @Test func writesAfterManyFlushes() async throws {
        let mount = try Mount()
        try await mount.prove()
        let file = try await mount.create("f")
        for index in 0..<5 {
            try await mount.write(file, pattern(1000, fill: UInt8(index)), at: index * 1000)
            try await mount.flush(file)
            try await mount.flush(file)
            if index == 2 { await mount.drain() }
        }
        try await mount.close(file)
        await mount.drain()
        #expect(mount.store.bytes(at: "f") == (0..<5).flatMap { pattern(1000, fill: UInt8($0)) })
    }

    /// s3fs#2120: after a failed overwrite the local view was empty.
    @Test func aFailedOverwriteKeepsItsView() async throws {
        let mount = try Mount()
        mount.store.write("old", at: "f")
        mount.store.setFaults(FaultPlan().adding(.serverFault, on: .putObject, when: .always))
        #expect(await failure { try await mount.write("f", "the new") } == .inputOutput)
        #expect(try await mount.text("f") == "the new")
        #expect(mount.store.text(at: "f") == "old")
        mount.store.setFaults(FaultPlan())
        await mount.drain()
        #expect(mount.store.text(at: "f") == "the new")
    }

    /// drive9#932: fsync succeeded, and the object began with zeros after a cut line.
    @Test(arguments: [1, 2])
    func cutBodiesAreNeverPublished(failing: Int) async throws {
        let mount = try Mount()
        let bytes = pattern(20 << 20)
        mount.store.setFaults(
            FaultPlan().adding(.bodyCut(afterBytes: 100_000, .unreachable), on: .uploadPart, when: .nth(failing)))
        let file = try await mount.create("f")
        try await mount.write(file, bytes, at: 0)
        let kind = await failure { try await mount.synchronise(file) }
        #expect(kind == .unreachable)
        #expect(mount.store.info(at: "f") == nil)
        try await mount.synchronise(file)
        let isSame = mount.store.bytes(at: "f") == bytes
        #expect(isSame)
        try await mount.close(file)
        #expect(mount.store.openUploads.isEmpty)
    }

    /// bf#1513: sparse files had other bytes in their holes.
    @Test func holesAreZeros() async throws {
        let mount = try Mount()
        mount.store.write(pattern(100), at: "f")
        let file = try await mount.open("f", write: true)
        try await mount.write(file, [1], at: 9000)
        try await mount.truncate(file, to: 20_000)
        try await mount.truncate(file, to: 50)
        try await mount.truncate(file, to: 300)
        try await mount.close(file)
        await mount.drain()
        #expect(mount.store.bytes(at: "f") == Array(pattern(100)[..<50]) + [UInt8](repeating: 0, count: 250))
    }

    /// close() waits until uploads are proven, and says how it went; afterwards it does not wait.
    @Test func closeWaitsUntilUploadsAreProven() async throws {
        let mount = try Mount()
        mount.store.setFaults(FaultPlan().adding(.accessDenied, on: .putObject, when: .first(1)))
        #expect(await failure { try await mount.write("f", "1") } == .accessDenied)
        await mount.drain()
        #expect(mount.store.text(at: "f") == "1")
        mount.store.pause(.putObject)
        try await mount.write("g", "2")
        #expect(mount.store.text(at: "g") == nil)
        mount.store.resume(.putObject)
        await mount.drain()
        #expect(mount.store.text(at: "g") == "2")
    }

    /// A cut alone (`: > file`) is a change that close() answers for.
    @Test func closeAfterACutReportsTheFailure() async throws {
        let mount = try Mount()
        mount.store.write("old", at: "f")
        mount.store.setFaults(FaultPlan().adding(.accessDenied, on: .putObject, when: .always))
        let file = try await mount.open("f", write: true)
        try await mount.truncate(file, to: 0)
        #expect(await failure { try await mount.close(file) } == .accessDenied)
    }

    @Test func fsyncFailsAndThenSucceeds() async throws {
        let mount = try Mount()
        try await mount.prove()
        let file = try await mount.create("f")
        try await mount.write(file, pattern(10), at: 0)
        mount.store.setFaults(FaultPlan().adding(.timedOut, on: .putObject, when: .first(1)))
        #expect(await failure { try await mount.synchronise(file) } == .timedOut)
        try await mount.synchronise(file)
        #expect(mount.store.bytes(at: "f") == pattern(10))
        try await mount.close(file)
    }

    /// With write-through every close() has the object in the store.
    @Test func writeThrough() async throws {
        let mount = try Mount { $0.isWriteThrough = true }
        try await mount.prove()
        for index in 0..<5 {
            try await mount.write("f\(index)", "x\(index)")
            #expect(mount.store.text(at: "f\(index)") == "x\(index)")
        }
    }

    /// "Unknown" is never "absent": an error is an error, and nothing of it is remembered.
    @Test(arguments: [StoreError.Kind.throttled, .serverFault, .timedOut, .accessDenied, .unreachable])
    func unknownIsNotAbsent(kind: StoreError.Kind) async throws {
        for operations in [[StoreOperation.headObject, .getObject], [.listObjects]] {
            let mount = try Mount()
            mount.store.write("x", at: "d/f")
            var plan = FaultPlan()
            for operation in operations { plan = plan.adding(.refused(kind), on: operation, when: .always) }
            mount.store.setFaults(plan)
            let lookup = await failure { _ = try await mount.status("d/f") }
            #expect(lookup != nil && lookup != .notFound)
            let absent = await failure { _ = try await mount.status("none") }
            #expect(absent != nil && absent != .notFound)
            if operations == [.listObjects] {
                let listing = await failure { _ = try await mount.names("") }
                #expect(listing != nil && listing != .notFound)
            }
            mount.store.setFaults(FaultPlan())
            #expect(try await mount.text("d/f") == "x")
            #expect(try await mount.names("") == ["d"])
        }
    }
}
