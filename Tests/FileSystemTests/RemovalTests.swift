// Removals that follow each other are acknowledged before the store has made them, and are not lost, nor is an error.

import Base
import FoundationEssentials
import MemoryStore
import ObjectModel
import ObjectStore
import Staging
import Testing

@testable import FileSystem

@Suite(.timeLimit(.minutes(5)))
struct RemovalTests {
    /// A directory `d` with its marker and so many files, held as by who works in it.
    private func withFiles(_ count: Int, _ body: (Mount) async throws -> Void) async throws {
        let mount = try Mount { $0.attributePolicy = .listing }
        mount.store.write("", at: "d/")
        for index in 0..<count { mount.store.write("text \(index)", at: "d/f\(index)") }
        try await mount.withNode("d") { _ in
            _ = try await mount.names("d")
            try await body(mount)
        }
    }

    /// Removes all of `d` while the store makes no removal but the first two.
    private func removeEarly(_ count: Int, _ mount: Mount) async throws {
        for index in 0..<min(2, count) { try await mount.unlink("d/f\(index)") }
        mount.store.pause(.deleteObject)
        mount.store.pause(.deleteObjects)
        for index in 2..<count { try await mount.unlink("d/f\(index)") }
    }

    private func letGo(_ mount: Mount) {
        mount.store.resume(.deleteObject)
        mount.store.resume(.deleteObjects)
    }

    @Test func aRunOfRemovalsIsFewRequests() async throws {
        try await withFiles(200) { mount in
            let requests = try await mount.requests {
                try await removeEarly(200, mount)
                letGo(mount)
                try await mount.removeDirectory("d")
            }
            #expect(mount.store.keys().isEmpty, "rmdir comes after them")
            let removals = requests[.deleteObject] + requests[.deleteObjects]
            #expect(removals <= 12, "\(requests)")
            #expect(requests.total <= 16, "\(requests)")
        }
    }

    /// `rm -r` goes from one directory to the next; what is removed elsewhere waits.
    @Test func aRunGoesOnInTheDirectoriesOfATree() async throws {
        let mount = try Mount { $0.attributePolicy = .listing }
        for key in ["t/a/1", "t/a/2", "t/b/1", "t/b/c/1", "other/1"] { mount.store.write("x", at: key) }
        // What somebody works in the kernel goes on knowing.
        func holding(_ paths: ArraySlice<String>, _ body: () async throws -> Void) async throws {
            guard let first = paths.first else { return try await body() }
            try await mount.withNode(first) { _ in
                _ = try await mount.names(first)
                try await holding(paths.dropFirst(), body)
            }
        }
        try await holding(["t", "t/a", "t/b", "t/b/c", "other"]) {
            for name in ["t/a/1", "t/a/2"] { try await mount.unlink(name) }
            mount.store.pause(.deleteObject)
            mount.store.pause(.deleteObjects)
            try await mount.unlink("t/b/1")
            try await mount.unlink("t/b/c/1")
            async let waiting: Void = mount.unlink("other/1")
            while mount.line.inFlightCount < 2 { await Task.yield() }
            #expect(try await mount.names("other") == ["1"])
            letGo(mount)
            try await waiting
            await mount.drain()
        }
        #expect(mount.store.keys().allSatisfy { $0.hasSuffix("/") })
    }

    @Test func theFirstOnesWaitAndSoDoesWhoPauses() async throws {
        try await withFiles(8) { mount in
            mount.store.setFaults(FaultPlan().adding(.accessDenied, on: .deleteObject, when: .always))
            for index in 0..<3 {
                #expect(await failure { try await mount.unlink("d/f\(index)") } == .accessDenied)
            }
            mount.store.setFaults(FaultPlan())
            try await mount.unlink("d/f0")
            try await mount.unlink("d/f1")
            mount.time.advance(seconds: 1)
            mount.store.setFaults(FaultPlan().adding(.accessDenied, on: .deleteObject, when: .always))
            #expect(await failure { try await mount.unlink("d/f2") } == .accessDenied)
        }
    }

    @Test func whatIsRemovedIsNotSeenAgain() async throws {
        try await withFiles(20) { mount in
            try await removeEarly(20, mount)
            #expect(mount.store.keys(under: "d/f").count == 18, "none of it has happened")
            #expect(try await mount.names("d").isEmpty)
            #expect(await failure { _ = try await mount.status("d/f9") } == .notFound)
            mount.expire()
            // Whoever asks the store now waits for what is to be removed there.
            async let names = mount.names("d")
            async let status = mount.statusIfPresent("d/f9")
            await mount.store.untilHeld(.deleteObject)
            letGo(mount)
            #expect(try await names.isEmpty)
            #expect(try await status == nil)
        }
    }

    @Test func aNameIsFreeForAnother() async throws {
        try await withFiles(10) { mount in
            try await removeEarly(10, mount)
            async let written: Void = mount.write("d/f7", "new")
            async let renamed: Void = mount.write("d/other", "moved")
            await mount.store.untilHeld(.deleteObject)
            letGo(mount)
            try await written
            try await renamed
            try await mount.rename("d/other", to: "d/f8")
            #expect(await mount.drain().isEmpty)
            #expect(mount.store.text(at: "d/f7") == "new")
            #expect(mount.store.text(at: "d/f8") == "moved")
            #expect(try await mount.names("d").sorted() == ["f7", "f8"])
        }
    }

    @Test func anUnmountWaitsForThem() async throws {
        try await withFiles(10) { mount in
            try await removeEarly(10, mount)
            #expect(mount.fileSystem.pendingUploads.count == 8)
            async let left = mount.drain()
            letGo(mount)
            #expect(await left.isEmpty)
            #expect(mount.store.keys() == ["d/"])
        }
    }

    @Test func aKilledMountsRemovalsAreMadeByTheNext() async throws {
        let time = SimulatedTime()
        let mount = try Mount(store: MemoryStore(time: time)) { $0.attributePolicy = .listing }
        for index in 0..<20 { mount.store.write("text \(index)", at: "d/f\(index)") }
        try await mount.withNode("d") { _ in
            _ = try await mount.names("d")
            try await removeEarly(20, mount)
        }
        mount.onKill = {
            // Another client puts other bytes at one key meanwhile.
            time.advance(nanoseconds: 5_000_000_000)
            mount.store.write("of another", at: "d/f15")
            letGo(mount)
        }
        try await mount.kill(isImageFirst: true)
        #expect(try await mount.names("d") == ["f15"])
        #expect(await mount.drain().isEmpty)
        #expect(mount.store.keys(under: "d/f") == ["d/f15"])
        try await mount.remount()
        #expect(mount.area.leftRemovals.isEmpty, "done once")
    }

    /// A mount that was killed when it had just taken removals over leaves them in two journals: they are made once, and no
    /// later one waits for ever.
    @Test func regression_removalsOfTwoJournalsAreMadeOnce() async throws {
        let mount = try Mount { $0.attributePolicy = .listing }
        for index in 0..<11 { mount.store.write("text \(index)", at: "d/f\(index)") }
        try await mount.withNode("d") { _ in
            _ = try await mount.names("d")
            try await removeEarly(5, mount)
        }
        let session = mount.area.sessionDirectory
        let journal = try #require(
            try FileManager.default.contentsOfDirectory(atPath: session).first { $0.hasSuffix(".removals") })
        try FileManager.default.copyItem(atPath: "\(session)/\(journal)", toPath: "\(session)/second.removals")
        mount.onKill = { letGo(mount) }
        try await mount.kill(isImageFirst: true)
        await mount.drain()
        #expect(mount.store.keys() == (["d/f10"] + (5..<10).map { "d/f\($0)" }))
        try await mount.withNode("d") { _ in
            for index in 5..<10 { try await mount.unlink("d/f\(index)") }
        }
        #expect(await mount.drain().isEmpty)
        #expect(mount.store.keys() == ["d/f10"])
    }

    @Test func aRefusalIsToldAndTheNameIsThereAgain() async throws {
        try await withFiles(20) { mount in
            try await removeEarly(20, mount)
            mount.store.setFaults(
                FaultPlan().adding(.accessDenied, on: .deleteObjects, key: "d/f9", when: .always))
            letGo(mount)
            #expect(await failure { try await mount.removeDirectory("d") } == .accessDenied)
            #expect(await failure { try await mount.removeDirectory("d") } == .notEmpty, "told once")
            #expect(try await mount.names("d") == ["f9"])
            #expect(mount.store.keys() == ["d/", "d/f9"])
            // From here on nothing is believed to succeed.
            mount.store.setFaults(FaultPlan().adding(.accessDenied, on: .deleteObject, when: .always))
            #expect(await failure { try await mount.unlink("d/f9") } == .accessDenied)
        }
    }

    /// fsync of a directory is told of what was removed in it: not of one whose name begins alike, and by keys, also where no
    /// path can spell them.
    @Test func regression_aFlushIsToldOfItsOwnRemovals() async throws {
        let mount = try Mount { $0.attributePolicy = .listing }
        mount.store.write("", at: "d/")
        for index in 0..<5 {
            mount.store.write("x", at: "data//f\(index)")
        }
        try await mount.withNode("data/%pail-empty") { _ in
            _ = try await mount.names("data/%pail-empty")
            for index in 0..<2 { try await mount.unlink("data/%pail-empty/f\(index)") }
            mount.store.setFaults(
                FaultPlan().adding(.accessDenied, on: .deleteObjects, key: "data//f2", when: .always)
                    .adding(.accessDenied, on: .deleteObject, key: "data//f2", when: .always))
            for index in 2..<4 { try await mount.unlink("data/%pail-empty/f\(index)") }
            while !mount.fileSystem.pendingUploads.isEmpty { await Task.yield() }
            try await mount.fileSystem.flush(path: "/d")
            #expect(await failure { try await mount.fileSystem.flush(path: "/data/%pail-empty") } == .accessDenied)
            try await mount.fileSystem.flush(path: "/data/%pail-empty")
        }
    }

    @Test func aStoreThatFailsIsTriedAgain() async throws {
        try await withFiles(20) { mount in
            try await removeEarly(20, mount)
            mount.store.setFaults(
                FaultPlan().adding(.unreachable, on: .deleteObject, when: .first(3))
                    .adding(.throttled, on: .deleteObjects, when: .first(3)))
            letGo(mount)
            while !mount.fileSystem.pendingUploads.isEmpty { _ = await mount.drain() }
            #expect(mount.store.keys() == ["d/"])
        }
    }

    @Test func burstsBeginAnewAfterPausesAndFailures() {
        var burst = RemovalBurst()
        let pause = RemovalBurst.pauseNanosecondsMax
        #expect(!burst.goesOn(now: 0, epoch: 0))
        burst.succeeded(startedAt: 1000, now: 1010, epoch: 0)
        #expect(!burst.goesOn(now: 1020, epoch: 0))
        burst.succeeded(startedAt: 1020, now: 1030, epoch: 0)
        #expect(burst.goesOn(now: 1040, epoch: 0))
        #expect(burst.goesOn(now: 1030 + pause, epoch: 0))
        #expect(!burst.goesOn(now: 1031 + pause, epoch: 0))
        #expect(!burst.goesOn(now: 1040, epoch: 1))
        burst.succeeded(startedAt: 1040, now: 1050, epoch: 1)
        #expect(!burst.goesOn(now: 1060, epoch: 1))
    }

    /// A full disk does not keep from removing what is open: its bytes are what is here and in the cache, and never those of
    /// another file.
    @Test(arguments: [false, true])
    func regression_anOpenFileIsRemovedOnAFullDisk(isPending: Bool) async throws {
        let isFull = Lock(false)
        let mount = try Mount(disk: StagingDisk { count in isFull.withLock { $0 } ? 0 : count })
        try await mount.prove()
        var bytes = pattern(8 << 20)
        mount.store.write(bytes, at: "f")
        let file = try await mount.open("f", write: true)
        if isPending {
            bytes[100] = 1
            try await mount.write(file, [1], at: 100)
        }
        _ = try await mount.read(file, at: 0, count: 4096)
        isFull.withLock { $0 = true }
        try await mount.unlink("f")
        #expect(mount.store.keys().isEmpty)
        // What was to be kept has pushed the beginning out of the cache, maybe.
        if !isPending { #expect(try await mount.read(file, at: 0, count: 4096) == Array(bytes[..<4096])) }
        isFull.withLock { $0 = false }
        try await mount.write("f", pattern(8 << 20, fill: 9))
        await mount.drain()
        if !isPending {
            #expect(await failure { _ = try await mount.read(file, at: 5 << 20, count: 4096) } == .stale)
        }
        bytes[5 << 20] = 2
        try await mount.write(file, [2], at: 5 << 20)
        #expect(try await mount.read(file, at: 5 << 20, count: 1) == [2])
        var staleCount = 0
        for offset in stride(from: 0, to: 8 << 20, by: 1 << 18) {
            let kind = await failure {
                let found = try await mount.read(file, at: offset, count: 4096)
                #expect(found == Array(bytes[offset..<offset + 4096]))
            }
            #expect(kind == nil || kind == .stale)
            if kind != nil { staleCount += 1 }
        }
        #expect(staleCount > 0)
        try await mount.close(file)
        await mount.drain()
        let isOther = mount.store.bytes(at: "f") == pattern(8 << 20, fill: 9)
        #expect(isOther)
        try await mount.expectNothingKept()
    }

    /// As above, of a file whose bytes are in an upload that goes with its name.
    @Test func regression_aFileInTransitIsRemovedOnAFullDisk() async throws {
        let isFull = Lock(false)
        let mount = try Mount(
            stagingLimitBytes: 24_000, disk: StagingDisk { count in isFull.withLock { $0 } ? 0 : count },
            isSmall: true)
        try await mount.prove()
        let file = try await mount.create("f")
        for index in 0..<10 { try await mount.write(file, pattern(4096), at: index * 4096) }
        #expect(file.handle.node.stagedFile?.hasBytesInTransit == true)
        isFull.withLock { $0 = true }
        try await mount.unlink("f")
        isFull.withLock { $0 = false }
        #expect(await failure { _ = try await mount.read(file, at: 0, count: 4096) } == .stale)
        #expect(await failure { try await mount.write(file, [1], at: 0) } == .stale)
        try await mount.close(file)
        await mount.drain()
        #expect(mount.store.keys().isEmpty)
        #expect(await mount.uploadsLeftOpen().isEmpty)
        try await mount.expectNothingKept()
    }
}
