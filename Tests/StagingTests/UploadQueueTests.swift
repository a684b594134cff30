// Uploads: what is published, retried, kept and reported.

import Base
import FoundationEssentials
import Glibc
import MemoryStore
import ObjectModel
import ObjectStore
import Testing

@testable import Staging

@Suite(.timeLimit(.minutes(5)))
struct UploadQueueTests {
    private func bytes(_ count: Int, seed: Int = 0) -> [UInt8] {
        (0..<count).map { UInt8(truncatingIfNeeded: ($0 &* 2_654_435_761) >> 13 &+ seed) }
    }

    @Test func flushPublishesAndProves() async throws {
        let fixture = try StagingFixture()
        defer { fixture.removeDirectory() }
        #expect(!fixture.queue.isProven)
        let file = try fixture.newFile("a/b")
        try file.write(bytes(1000), at: 0)
        try await fixture.queue.flush(file)
        #expect(fixture.store.bytes(at: "a/b") == bytes(1000))
        #expect(fixture.queue.isProven)
        #expect(!file.needsUpload)
        #expect(fixture.store.requests[.putObject] == 1)
        try await fixture.queue.flush(file)
        #expect(fixture.store.requests[.putObject] == 1, "nothing new, nothing sent")
    }

    @Test func largeFilesGoInParallelParts() async throws {
        let fixture = try StagingFixture()
        defer { fixture.removeDirectory() }
        let file = try fixture.newFile("large")
        let content = bytes(20 << 20)
        try file.write(content, at: 0)
        fixture.store.pause(.uploadPart)
        async let flushed: Void = fixture.queue.flush(file)
        await fixture.store.untilHeld(.uploadPart, count: 3)
        fixture.store.resume(.uploadPart)
        try await flushed
        let isWhole = fixture.store.bytes(at: "large") == content
        #expect(isWhole)
        #expect(fixture.store.openUploads.isEmpty)
    }

    /// A bar that stands still until whole parts are acknowledged tells nothing on a thin link.
    @Test func progressCountsWhatIsOnItsWay() async throws {
        let fixture = try StagingFixture()
        defer { fixture.removeDirectory() }
        let file = try fixture.newFile("slow")
        try file.write(bytes(1000), at: 0)
        let bodies = [ByteRange(0, 600), ByteRange(600, 1000)].map { StagedBody(file, range: $0) }
        bodies[0].noteSent(upTo: 500)
        bodies[1].noteSent(upTo: 300)
        #expect(file.progress.sentBytes == 800)
        bodies[0].noteSent(upTo: 100)
        #expect(file.progress.sentBytes == 400, "it is sent again")
        bodies[1].noteSent(upTo: 400)
        for body in bodies { body.end() }
        #expect(file.progress.sentBytes == 0)
        fixture.store.setFaults(FaultPlan().adding(.accessDenied, on: .putObject, when: .always))
        await #expect(throws: StagingError.self) { try await fixture.queue.flush(file) }
        #expect(file.progress.sentBytes == 0, "a request that failed has sent nothing")
    }

    /// What was acknowledged before it began, by an earlier try, is no speed of this one.
    @Test func ratesCountFromTheBeginning() {
        func rate(_ sent: Int, before: Int = 0, since: UInt64? = 1_000_000_000, at now: UInt64 = 3_000_000_000) -> Int?
        {
            UploadProgress(
                phase: .sending, sentBytes: sent, totalBytes: 10_000, failure: nil, pendingSince: nil,
                sendingSince: since, sentBytesBefore: before
            ).bytesPerSecond(at: now)
        }
        #expect(rate(1000) == 500)
        #expect(rate(1000, before: 600) == 200)
        #expect(rate(0) == nil && rate(600, before: 600) == nil && rate(1000, since: nil) == nil)
        #expect(rate(1000, at: 1_000_000_000) == nil)
    }

    /// A failed upload keeps the data, says so, and succeeds later by itself.
    @Test func failureIsReportedKeptAndRetried() async throws {
        let fixture = try StagingFixture()
        defer { fixture.removeDirectory() }
        let file = try fixture.newFile("denied")
        try file.write(bytes(10), at: 0)
        fixture.store.setFaults(FaultPlan().adding(.accessDenied, on: .putObject, when: .always))
        await #expect(throws: StagingError.self) { try await fixture.queue.flush(file) }
        #expect(!fixture.queue.isProven)
        #expect(file.needsUpload)
        #expect(file.failure != nil)
        fixture.store.setFaults(FaultPlan())
        try await fixture.queue.flush(file)
        #expect(fixture.store.bytes(at: "denied") == bytes(10))
        #expect(file.failure == nil)
        #expect(fixture.queue.isProven)
    }

    /// Full but for what the reserve gives.
    private final class TightDisk: Sendable {
        let reserve = Lock("")

        /// From now on.
        func fill(_ fixture: StagingFixture) {
            let root = fixture.directory + "/staging"
            let names = (try? FileManager.default.subpathsOfDirectory(atPath: root)) ?? []
            reserve.withLock { $0 = root + "/" + (names.first { $0.hasSuffix("/reserve") } ?? "") }
        }

        func room(_ count: Int) -> Int {
            let path = reserve.withLock { $0 }
            var status = stat()
            return !path.isEmpty && stat(path, &status) == 0 && status.st_size > 0 ? 0 : count
        }
    }

    /// What was published on a full disk, and its answer lost, is not another client's to the next mount.
    @Test func regression_aPublicationIsJournalledFromTheReserve() async throws {
        let disk = TightDisk()
        let fixture = try StagingFixture(disk: StagingDisk(room: disk.room))
        let next = try await { () async throws in
            let file = try fixture.newFile("f")
            try file.setProperties(ObjectProperties(metadata: ["mtime": "1"]))
            try file.write(bytes(1000), at: 0)
            disk.fill(fixture)
            #expect(disk.room(1) == 0)
            fixture.store.setFaults(
                FaultPlan().adding(.answerLost(.timedOut), on: .putObject, when: .always)
                    .adding(.unreachable, on: .headObject, when: .always))
            await #expect(throws: StagingError.self) { try await fixture.queue.flush(file) }
            await fixture.queue.settle(file)
            fixture.area.closeSession()
            return try fixture.successor()
        }()
        defer { next.removeDirectory() }
        fixture.store.setFaults(FaultPlan())
        let adopted = try #require(next.area.adoptLeftovers().adopted.first)
        try await next.queue.flush(adopted)
        #expect(fixture.store.keys() == ["f"] && next.conflicts.withLock { $0 }.isEmpty)
    }

    /// A store that makes something else of the parts than they were, and is found out by its answer: the data stays staged, the
    /// error shows, and all of it is sent again.
    @Test func whatAStoreMadeWrongIsSentAgain() async throws {
        let fixture = try StagingFixture()
        defer { fixture.removeDirectory() }
        let file = try fixture.newFile("damaged")
        try file.setProperties(ObjectProperties(metadata: ["mtime": "1"]))
        let content = bytes(20 << 20)
        try file.write(content, at: 0)
        fixture.store.setFaults(FaultPlan().adding(.answerLost(.malformedResponse), on: .completeUpload, when: .nth(1)))
        // So that it is tried again once the test has damaged the object.
        fixture.store.pause(.headObject)
        await #expect(throws: StagingError.self) { try await fixture.queue.flush(file) }
        #expect(file.needsUpload && file.failure != nil && !fixture.queue.isProven)
        let properties = try #require(fixture.store.info(at: "damaged")).properties
        fixture.store.write([0] + content[1...], at: "damaged", properties: properties)
        fixture.store.resume(.headObject)
        try await fixture.queue.flush(file)
        let isWhole = fixture.store.bytes(at: "damaged") == content
        #expect(isWhole && file.failure == nil)
        for _ in 0..<100_000 where !fixture.store.openUploads.isEmpty { await Task.yield() }
        #expect(fixture.store.openUploads.isEmpty)
    }

    /// A multipart upload that fails goes on where it was: what was sent once is not sent again.
    @Test func failedMultipartUploadsGoOn() async throws {
        let fixture = try StagingFixture()
        defer { fixture.removeDirectory() }
        let file = try fixture.newFile("parts")
        try file.write(bytes(20 << 20), at: 0)
        fixture.store.setFaults(FaultPlan().adding(.serverFault, on: .completeUpload, when: .always))
        await #expect(throws: StagingError.self) { try await fixture.queue.flush(file) }
        await fixture.queue.settle(file)
        #expect(fixture.store.openUploads.count == 1)
        fixture.store.setFaults(FaultPlan())
        fixture.store.resetRequests()
        try await fixture.queue.flush(file)
        #expect(fixture.store.bytes(at: "parts") == bytes(20 << 20))
        #expect(fixture.store.requests[.uploadPart] == 0)
        #expect(fixture.store.requests[.createUpload] == 0)
        #expect(fixture.store.openUploads.isEmpty)
    }

    /// demands.md, data-loss fault 3: one byte inside an object that was never read; the rest must stay.
    @Test(arguments: [100, 1 << 20, 40 << 20])
    func aChangeInsideKeepsTheRest(byteCount: Int) async throws {
        let fixture = try StagingFixture()
        defer { fixture.removeDirectory() }
        var content = bytes(byteCount)
        _ = fixture.store.write(content, at: "object")
        let file = try fixture.change("object")
        try file.write([99], at: byteCount / 2)
        content[byteCount / 2] = 99
        fixture.store.resetRequests()
        try await fixture.queue.flush(file)
        #expect(fixture.store.bytes(at: "object") == content)
        if byteCount > 16 << 20 {
            #expect(fixture.store.requests[.uploadPartCopy] > 0)
            #expect(fixture.store.requests.bytesSent < 20_000_000)
        }
    }

    /// What the server copies and what is sent to it do not wait for each other.
    @Test(arguments: [StoreOperation.uploadPart, .uploadPartCopy])
    func copiesAndPartsGoSideBySide(held: StoreOperation) async throws {
        let fixture = try StagingFixture(isSmall: true, partCountMax: 1)
        defer { fixture.removeDirectory() }
        var content = bytes(1 << 20)
        fixture.store.write(content, at: "object")
        let file = try fixture.change("object")
        try file.write([99], at: 1 << 19)
        content[1 << 19] = 99
        fixture.store.resetRequests()
        fixture.store.pause(held)
        let flushing = Task { try await fixture.queue.flush(file) }
        await fixture.store.untilHeld(held)
        let (other, otherCount) = held == .uploadPart ? (StoreOperation.uploadPartCopy, 2) : (.uploadPart, 1)
        while fixture.store.requests[other] < otherCount { await Task.yield() }
        fixture.store.resume(held)
        try await flushing.value
        #expect(fixture.store.bytes(at: "object") == content)
        #expect((fixture.store.requests[.uploadPartCopy], fixture.store.requests[.uploadPart]) == (2, 1))
    }

    /// A store says that a condition does not hold, and asked again it does: that is no conflict.
    @Test(arguments: [StoreOperation.putObject, .completeUpload, .uploadPartCopy])
    func regression_aConditionThatHeldIsNoConflict(operation: StoreOperation) async throws {
        let fixture = try StagingFixture(isSmall: true)
        defer { fixture.removeDirectory() }
        fixture.store.write(bytes(operation == .putObject ? 1000 : 1 << 20), at: "doc.txt")
        let file = try fixture.change("doc.txt")
        try file.write([1, 2, 3], at: 0)
        fixture.store.setFaults(FaultPlan().adding(.preconditionFailed, on: operation))
        try await fixture.queue.flush(file)
        #expect(fixture.store.keys() == ["doc.txt"])
        #expect(fixture.store.bytes(at: "doc.txt")?.prefix(4) == [1, 2, 3] + bytes(4).suffix(1))
        // One that says so again and again is believed.
        fixture.store.setFaults(FaultPlan().adding(.preconditionFailed, on: .putObject, when: .first(4)))
        let other = try fixture.newFile("new")
        try other.write([1], at: 0)
        await #expect(throws: StagingError.self) { try await fixture.queue.flush(other) }
        #expect(fixture.store.keys(under: "new.conflict-").count == 1)
    }

    /// Another client was faster: both versions survive, and the flush says so.
    @Test func theLoserOfAConflictIsKept() async throws {
        let fixture = try StagingFixture()
        defer { fixture.removeDirectory() }
        _ = fixture.store.write(bytes(1000), at: "doc.txt")
        let file = try fixture.change("doc.txt")
        try file.write([1, 2, 3], at: 0)
        // The base must be there to be kept whole.
        try await file.materialise(ByteRange(0, 1000)) { version, range throws(StoreError) in
            let sink = CollectingSink()
            _ = try await fixture.store.get(GetRequest(key: version.key, etag: version.etag, range: range), into: sink)
            return sink.bytes
        }
        _ = fixture.store.write("theirs", at: "doc.txt")
        await #expect(throws: StagingError.self) { try await fixture.queue.flush(file) }
        #expect(fixture.store.text(at: "doc.txt") == "theirs")
        let saved = try #require(fixture.store.keys(under: "doc.txt.conflict-").first)
        let ours: [UInt8] = [1, 2, 3] + bytes(1000).dropFirst(3)
        #expect(fixture.store.bytes(at: saved) == ours)
        #expect(fixture.conflicts.withLock { $0.map(\.string) } == [saved])
    }

    /// A mount was killed in the middle of an unlink(2): what it had deleted is no other client's doing.
    @Test(arguments: [(isDeleted: true, isWritten: false), (true, true), (false, false)])
    func regression_aRemovalThatWasKilledIsNoConflict(isDeleted: Bool, isWritten: Bool) async throws {
        let fixture = try StagingFixture()
        defer { fixture.removeDirectory() }
        _ = fixture.store.write("old", at: "doc")
        let file = try fixture.change("doc")
        try file.write([1, 2, 3], at: 0)
        file.note(.removal)
        if isDeleted { fixture.store.remove(at: "doc") }
        fixture.area.closeSession()
        let next = try fixture.successor()
        let adopted = try #require(next.area.adoptLeftovers().adopted.first)
        // Whoever changes what is shown again wants to have it.
        if isWritten { try adopted.write([4], at: 0) }
        try? await next.queue.flush(adopted)
        switch (isDeleted, isWritten) {
        case (true, false): #expect(next.store.keys().isEmpty && next.area.files.isEmpty)
        case (true, true): #expect(next.store.keys(under: "doc.conflict-").count == 1)
        default: #expect(next.store.bytes(at: "doc") == [1, 2, 3] && next.store.keys() == ["doc"])
        }
    }

    /// A removal that the store refused is none.
    @Test func aRemovalThatFailedIsForgotten() async throws {
        let fixture = try StagingFixture()
        defer { fixture.removeDirectory() }
        let file = try fixture.newFile("doc")
        try file.write([1], at: 0)
        try await fixture.queue.flush(file)
        try file.write([2], at: 0)
        file.note(.removal)
        file.note(nil)
        fixture.store.remove(at: "doc")
        fixture.area.closeSession()
        let next = try fixture.successor()
        let adopted = try #require(next.area.adoptLeftovers().adopted.first)
        await #expect(throws: StagingError.self) { try await next.queue.flush(adopted) }
        #expect(next.store.keys(under: "doc.conflict-").count == 1)
    }

    /// Two mounts of one machine meet the same conflict at the same time: each version gets a name of its own at once.
    @Test func regression_conflictsAtTheSameTimeGetNamesOfTheirOwn() async throws {
        let fixture = try StagingFixture(time: StandingClock())
        defer { fixture.removeDirectory() }
        for text in ["one", "two"] {
            let file = try fixture.newFile("doc")
            try file.write(Array(text.utf8), at: 0)
            _ = fixture.store.write("theirs", at: "doc")
            await #expect(throws: StagingError.self) { try await fixture.queue.flush(file) }
            #expect(!file.needsUpload)
        }
        let saved = fixture.store.keys(under: "doc.conflict-")
        #expect(saved.count == 2 && saved.allSatisfy { $0.components(separatedBy: ".conflict-").count == 2 })
        #expect(saved.map { fixture.store.text(at: $0) } == ["one", "two"])
    }

    /// The rest of the file is nowhere any more: the changes are kept by themselves, nobody is kept waiting, and whoever has
    /// the file open is told each time.
    @Test func theChangesOfALoserWithoutItsBaseAreKept() async throws {
        let fixture = try StagingFixture()
        defer { fixture.removeDirectory() }
        _ = fixture.store.write(bytes(100_000), at: "doc")
        let file = try fixture.change("doc")
        try file.write([1, 2, 3], at: 70_000)
        try file.write([9], at: 5)
        _ = fixture.store.write("theirs", at: "doc")
        await #expect(throws: StagingError.self) { try await fixture.queue.flush(file) }
        #expect(fixture.store.text(at: "doc") == "theirs")
        let changes = try #require(fixture.area.files.first)
        #expect(fixture.area.files.count == 1)
        try await fixture.queue.flush(changes)
        let saved = try #require(fixture.store.keys(under: "doc.conflict-").first)
        #expect(saved.hasSuffix(".changes"))
        let body = try #require(fixture.store.bytes(at: saved))
        #expect(body.suffix(4) == [9, 1, 2, 3])
        let head = String(decoding: body.dropLast(4), as: UTF8.self)
        #expect(head.hasSuffix("length: 100000 bytes\nrange: 1 bytes at 5\nrange: 3 bytes at 70000\n\n"))
        #expect(head.contains("\nfile: doc\n"))

        #expect(throws: StagingError.self) { _ = try file.write([7], at: 0) }
        #expect(throws: StagingError.self) { try file.truncate(to: 1) }
        await #expect(throws: StagingError.self) { try await fixture.queue.flush(file) }
        #expect(!file.needsUpload)
    }

    /// Another client removed the object, whose other bytes nobody has: the changes are kept, and nothing is asked for in vain
    /// for ever.
    @Test(arguments: [false, true])
    func regression_theChangesOfARemovedObjectAreKept(isCopiedByParts: Bool) async throws {
        let fixture = try StagingFixture(isSmall: true)
        defer { fixture.removeDirectory() }
        _ = fixture.store.write(bytes(isCopiedByParts ? 1 << 20 : 100_000), at: "doc")
        let file = try fixture.change("doc")
        try file.write([1, 2, 3], at: 70_000)
        fixture.store.remove(at: "doc")
        await #expect(throws: StagingError.self) { try await fixture.queue.flush(file) }
        for changes in fixture.area.files { try await fixture.queue.flush(changes) }
        let saved = try #require(fixture.store.keys(under: "doc.conflict-").first)
        #expect(saved.hasSuffix(".changes"))
        #expect(try #require(fixture.store.bytes(at: saved)).suffix(3) == [1, 2, 3])
        #expect(fixture.store.keys() == [saved])
        #expect(!file.needsUpload && !fixture.area.files.contains { $0 === file })
    }

    /// Attributes of an object that another client removed are dropped with it.
    @Test func regression_attributesOfARemovedObjectAreDropped() async throws {
        let fixture = try StagingFixture()
        defer { fixture.removeDirectory() }
        _ = fixture.store.write("old", at: "doc")
        let file = try fixture.change("doc")
        try file.setProperties(ObjectProperties(metadata: ["mode": "33279"]))
        fixture.store.remove(at: "doc")
        await #expect(throws: StagingError.conflict(savedAs: nil)) { try await fixture.queue.flush(file) }
        #expect(fixture.store.keys().isEmpty && fixture.area.files.isEmpty)
    }

    /// A server that says for a while that nothing is there has removed nothing.
    @Test func anObjectThatIsThereIsNotTakenForRemoved() async throws {
        let fixture = try StagingFixture()
        defer { fixture.removeDirectory() }
        _ = fixture.store.write(bytes(1000), at: "doc")
        let file = try fixture.change("doc")
        try file.write([1, 2, 3], at: 0)
        fixture.store.setFaults(FaultPlan().adding(.refused(.notFound), on: .getObject, when: .first(1)))
        await #expect(throws: StagingError.self) { try await fixture.queue.flush(file) }
        try await fixture.queue.flush(file)
        #expect(fixture.store.keys() == ["doc"])
        #expect(fixture.store.bytes(at: "doc") == [1, 2, 3] + bytes(1000).dropFirst(3))
    }

    /// Files that are to replace objects, and the copies of these that must be made before, share the places for sending.
    @Test func regression_copiesGoBeforeTheirSourceWithOnePlaceForAll() async throws {
        let fixture = try StagingFixture(fileCountMax: 1)
        defer { fixture.removeDirectory() }
        _ = fixture.store.write(bytes(1000), at: "source")
        let version = fixture.store.info(at: "source")!.version
        let copy = try fixture.newFile("copy")
        #expect(try copy.stand(on: version, from: 0, upTo: 1000))
        let file = try fixture.change("source")
        try file.write([1, 2, 3], at: 0)
        try await fixture.queue.flush(file)
        #expect(fixture.store.bytes(at: "copy") == bytes(1000))
        #expect(fixture.store.bytes(at: "source") == [1, 2, 3] + bytes(1000).dropFirst(3))
    }

    /// Another client has taken the name of the copy: that is its conflict alone.
    @Test func regression_aCopyInConflictIsNoConflictOfItsSource() async throws {
        let fixture = try StagingFixture()
        defer { fixture.removeDirectory() }
        _ = fixture.store.write(bytes(1000), at: "source")
        let copy = try fixture.newFile("copy")
        #expect(try copy.stand(on: fixture.store.info(at: "source")!.version, from: 0, upTo: 1000))
        let file = try fixture.change("source")
        try file.write([1, 2, 3], at: 0)
        _ = fixture.store.write("theirs", at: "copy")
        try await fixture.queue.flush(file)
        #expect(fixture.store.text(at: "copy") == "theirs")
        #expect(fixture.store.bytes(at: "source") == [1, 2, 3] + bytes(1000).dropFirst(3))
        #expect(fixture.store.keys(under: "source") == ["source"])
        let kept = try #require(fixture.store.keys(under: "copy.conflict-").first)
        #expect(fixture.store.bytes(at: kept) == bytes(1000))
    }

    /// A copy that cannot be made keeps its source as it is, and says so.
    @Test func aCopyThatFailsKeepsItsSource() async throws {
        let fixture = try StagingFixture(fileCountMax: 1)
        defer { fixture.removeDirectory() }
        _ = fixture.store.write(bytes(1000), at: "source")
        let copy = try fixture.newFile("copy")
        #expect(try copy.stand(on: fixture.store.info(at: "source")!.version, from: 0, upTo: 1000))
        let file = try fixture.change("source")
        try file.write([1, 2, 3], at: 0)
        fixture.store.setFaults(FaultPlan().adding(.accessDenied, on: .putObject, key: "copy", when: .always))
        await #expect(throws: StagingError.self) { try await fixture.queue.flush(file) }
        #expect(file.failure != nil)
        #expect(fixture.store.bytes(at: "source") == bytes(1000))
        fixture.store.setFaults(FaultPlan())
        try await fixture.queue.flush(file)
        #expect(fixture.store.bytes(at: "copy") == bytes(1000))
    }

    /// The changes of a loser are safe before the loser is given up: the next mount finds one of the two.
    @Test func theChangesOfALoserSurviveAKill() async throws {
        let fixture = try StagingFixture()
        defer { fixture.removeDirectory() }
        _ = fixture.store.write(bytes(1000), at: "doc")
        let file = try fixture.change("doc")
        try file.write([1, 2, 3], at: 70)
        _ = fixture.store.write("theirs", at: "doc")
        fixture.store.setFaults(FaultPlan().adding(.serverFault, on: .putObject, when: .always))
        await #expect(throws: StagingError.self) { try await fixture.queue.flush(file) }
        let changes = try #require(fixture.area.files.first)
        await fixture.queue.settle(changes)
        fixture.area.closeSession()
        fixture.store.setFaults(FaultPlan())
        let next = try fixture.successor()
        let adopted = next.area.adoptLeftovers().adopted
        #expect(adopted.map { $0.key.string.hasSuffix(".changes") } == [true])
        for file in adopted { try await next.queue.flush(file) }
        let saved = try #require(next.store.keys(under: "doc.conflict-").first)
        #expect(try #require(next.store.bytes(at: saved)).suffix(3) == [1, 2, 3])
    }

    /// O_EXCL across machines: of two new files of one name, one stands and the other is kept beside it.
    @Test func twoNewFilesOfOneName() async throws {
        let fixture = try StagingFixture()
        defer { fixture.removeDirectory() }
        let file = try fixture.newFile("new")
        try file.write([1], at: 0)
        _ = fixture.store.write("theirs", at: "new")
        await #expect(throws: StagingError.self) { try await fixture.queue.flush(file) }
        #expect(fixture.store.text(at: "new") == "theirs")
        #expect(fixture.store.keys(under: "new.conflict-").count == 1)
    }

    /// What is published is one state of the file, also when it is written to during the upload.
    @Test func writesDuringAnUploadNeverMix() async throws {
        let fixture = try StagingFixture()
        defer { fixture.removeDirectory() }
        let file = try fixture.newFile("busy")
        let size = 18 << 20
        try file.write([UInt8](repeating: 1, count: size), at: 0)
        let writer = Task.detached {
            for round in 2..<8 {
                // Each round rewrites everything in order, so a mix would show as a step.
                try file.write([UInt8](repeating: UInt8(round), count: size), at: 0)
                await Task.yield()
            }
        }
        for _ in 0..<3 {
            try await fixture.queue.flush(file)
            let seen = Set(fixture.store.bytes(at: "busy")!)
            #expect(seen.count == 1, "published a mix of \(seen.sorted())")
        }
        try await writer.value
        try await fixture.queue.flush(file)
        #expect(Set(fixture.store.bytes(at: "busy")!) == [7])
    }

    /// A request that publishes is not cut off by `settle`: it could take effect after the DELETE that follows.
    @Test func settleWaitsForWhatPublishes() async throws {
        let fixture = try StagingFixture()
        defer { fixture.removeDirectory() }
        let file = try fixture.newFile("settled")
        try file.write(bytes(100), at: 0)
        fixture.store.pause(.putObject)
        fixture.queue.submit(file)
        await fixture.store.untilHeld(.putObject)
        #expect(file.publicationIsUncertain)
        async let settled: Void = fixture.queue.settle(file)
        for _ in 0..<20 { await Task.yield() }
        fixture.store.resume(.putObject)
        await settled
        #expect(!file.publicationIsUncertain)
        #expect(fixture.store.bytes(at: "settled") == bytes(100))
        #expect(file.base != nil)
    }

    /// Parts publish nothing, so `settle` stops them at once.
    @Test func settleStopsParts() async throws {
        let fixture = try StagingFixture()
        defer { fixture.removeDirectory() }
        let file = try fixture.newFile("stopped")
        try file.write(bytes(17 << 20), at: 0)
        fixture.store.pause(.uploadPart)
        fixture.queue.submit(file)
        await fixture.store.untilHeld(.uploadPart)
        await fixture.queue.settle(file)
        fixture.store.resume(.uploadPart)
        #expect(!file.publicationIsUncertain)
        #expect(fixture.store.bytes(at: "stopped") == nil)
        #expect(file.needsUpload)
        try await fixture.queue.flush(file)
        let isWhole = fixture.store.bytes(at: "stopped") == bytes(17 << 20)
        #expect(isWhole)
        #expect(fixture.store.openUploads.isEmpty)
    }

    /// A lost answer leaves the outcome open, and says so.
    @Test func aLostAnswerIsUncertain() async throws {
        let fixture = try StagingFixture()
        defer { fixture.removeDirectory() }
        let file = try fixture.newFile("lost")
        try file.write(bytes(100), at: 0)
        fixture.store.setFaults(FaultPlan().adding(.lostAnswer, on: .putObject, when: .nth(1)))
        await #expect(throws: StagingError.self) { try await fixture.queue.flush(file) }
        #expect(file.publicationIsUncertain)
    }

    /// The answer to a PUT was lost, and the attempts after it ended in another way: the object of the first is ours all
    /// the same, and what is written next is no conflict with it.
    @Test(arguments: [StoreError.Kind.throttled, .accessDenied, .sourceFailed, .expiredCredentials])
    func regression_aLostAnswerIsOursHoweverTheCallEnds(kind: StoreError.Kind) async throws {
        let fixture = try StagingFixture()
        defer { fixture.removeDirectory() }
        _ = fixture.store.write(bytes(100), at: "lost")
        let file = try fixture.change("lost")
        try file.write(bytes(100, seed: 1), at: 0)
        // What tells our object from another client's.
        try file.setProperties(ObjectProperties(metadata: ["mtime": "1"]))
        fixture.store.setFaults(FaultPlan().adding(.answerLost(kind), on: .putObject, when: .nth(1)))
        await #expect(throws: StagingError.self) { try await fixture.queue.flush(file) }
        try file.write(bytes(100, seed: 2), at: 0)
        try await fixture.queue.flush(file)
        #expect(fixture.store.bytes(at: "lost") == bytes(100, seed: 2))
        #expect(fixture.store.keys(under: "lost.conflict-").isEmpty)
    }

    /// A flush that waits when the file is removed comes back.
    @Test func abandonEndsTheWait() async throws {
        let fixture = try StagingFixture()
        defer { fixture.removeDirectory() }
        let file = try fixture.newFile("gone")
        try file.write(bytes(100), at: 0)
        fixture.store.pause(.putObject)
        async let flushed: Void = fixture.queue.flush(file)
        await fixture.store.untilHeld(.putObject)
        file.abandon()
        try await flushed
        fixture.store.resume(.putObject)
        await fixture.queue.settle(file)
        #expect(Journal.isSpare(file.journalPath))
    }

    /// A held file is not sent, and is once the hold ends.
    @Test func heldFilesWait() async throws {
        let fixture = try StagingFixture()
        defer { fixture.removeDirectory() }
        let file = try fixture.newFile("held")
        try file.write(bytes(100), at: 0)
        await fixture.queue.hold(file)
        fixture.queue.submit(file)
        async let flushed: Void = fixture.queue.flush(file)
        for _ in 0..<20 { await Task.yield() }
        #expect(fixture.store.requests[.putObject] == 0)
        fixture.queue.resume(file)
        try await flushed
        #expect(fixture.store.bytes(at: "held") == bytes(100))
    }

    /// Changes of properties alone are one server-side copy, with no byte sent.
    @Test func propertiesAloneAreACopy() async throws {
        let fixture = try StagingFixture()
        defer { fixture.removeDirectory() }
        _ = fixture.store.write(bytes(5000), at: "p")
        let file = try fixture.change("p")
        var properties = file.properties
        properties.metadata["mode"] = "33279"
        try file.setProperties(properties)
        fixture.store.resetRequests()
        try await fixture.queue.flush(file)
        #expect(fixture.store.requests[.copyObject] == 1)
        #expect(fixture.store.requests.bytesSent == 0)
        #expect(fixture.store.info(at: "p")?.properties.metadata["mode"] == "33279")
        #expect(fixture.store.bytes(at: "p") == bytes(5000))
    }

    /// Five hundred files at once arrive all, and not more than the limit at a time.
    @Test func manyFilesAreBounded() async throws {
        let fixture = try StagingFixture()
        defer { fixture.removeDirectory() }
        var files: [StagedFile] = []
        for index in 0..<500 {
            let file = try fixture.newFile("many/\(index)")
            try file.write(bytes(100, seed: index), at: 0)
            files.append(file)
            fixture.queue.submit(file)
        }
        for file in files { try await fixture.queue.flush(file) }
        #expect(fixture.store.keys(under: "many/").count == 500)
        #expect(fixture.store.requests.inFlightPeak <= 64)
    }
}
