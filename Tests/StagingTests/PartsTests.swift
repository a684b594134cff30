// Multipart uploads that live long: sent ahead of close(), gone on with by the next mount, given up when unwanted, and their
// local bytes freed.

import Base
import FoundationEssentials
import Glibc
import MemoryStore
import ObjectModel
import ObjectStore
import Testing

@testable import Staging

@Suite(.timeLimit(.minutes(5)))
struct PartsTests {
    private static let unit = 16 << 10

    /// A file written from front to back, 640 KiB by 32 KiB, of which everything that can be was sent ahead.
    private func streamed(_ fixture: StagingFixture) async throws -> (StagedFile, [UInt8]) {
        let file = try fixture.newFile("streamed")
        var content: [UInt8] = []
        for step in 0..<20 {
            let piece = scrambled(2 * Self.unit, seed: step)
            try file.write(piece, at: content.count)
            content += piece
            fixture.queue.noteWritten(file)
        }
        await file.streamTask?.value
        return (file, content)
    }

    /// A file of 640 KiB whose multipart upload the store has begun, and has not answered.
    private func untilUploadIsBeingBegun(_ fixture: StagingFixture) async throws -> StagedFile {
        fixture.store.pause(.createUpload, at: .beforeAnswer)
        let file = try fixture.newFile("streamed")
        try file.write(scrambled(40 * Self.unit, seed: 1), at: 0)
        fixture.queue.noteWritten(file)
        await fixture.store.untilHeld(.createUpload, at: .beforeAnswer)
        return file
    }

    private func untilNoUploadIsOpen(_ store: MemoryStore) async -> Bool {
        for _ in 0..<100_000 where !store.openUploads.isEmpty { await Task.yield() }
        return store.openUploads.isEmpty
    }

    @Test func largeFilesAreSentWhileTheyAreWritten() async throws {
        let fixture = try StagingFixture(isSmall: true)
        defer { fixture.removeDirectory() }
        let (file, content) = try await streamed(fixture)
        let partsAhead = fixture.store.requests[.uploadPart]
        #expect(partsAhead >= 6)
        #expect(fixture.store.bytes(at: "streamed") == nil, "a file that is being written is not published")
        try await fixture.queue.flush(file)
        let isWhole = fixture.store.bytes(at: "streamed") == content
        #expect(isWhole)
        let sent = fixture.store.requests.bytesSent
        #expect(sent < content.count + 1024, "each byte is sent once: \(sent)")
        #expect(fixture.store.requests[.createUpload] == 1)
    }

    /// A file that was sent ahead and is cut to the empty object that it was: its upload is given up.
    @Test func regression_whatWasSentAheadOfAnEmptyObjectIsGivenUp() async throws {
        let fixture = try StagingFixture(isSmall: true)
        defer { fixture.removeDirectory() }
        fixture.store.write([UInt8](), at: "empty")
        let file = try fixture.change("empty")
        try file.write(scrambled(40 * Self.unit, seed: 1), at: 0)
        fixture.queue.noteWritten(file)
        await file.streamTask?.value
        #expect(fixture.store.openUploads.count == 1)
        try file.truncate(to: 0)
        try await fixture.queue.flush(file)
        #expect(fixture.store.bytes(at: "empty") == [])
        #expect(await untilNoUploadIsOpen(fixture.store))
    }

    /// The disk had no room for the records of an upload and its parts: their bytes are not given up until the journal has them.
    @Test(arguments: [StoreOperation.createUpload, .uploadPart])
    func regression_whatIsFreedIsInPartsThatTheJournalKnows(operation: StoreOperation) async throws {
        let disk = KillableDisk()
        let fixture = try StagingFixture(isSmall: true, disk: StagingDisk { disk.room($0) })
        defer { fixture.removeDirectory() }
        let file = try fixture.newFile("streamed")
        let content = scrambled(40 * Self.unit, seed: 1)
        try file.write(content, at: 0)
        fixture.store.pause(operation, at: .beforeAnswer)
        fixture.queue.noteWritten(file)
        await fixture.store.untilHeld(operation, at: .beforeAnswer)
        disk.setFull(true)
        fixture.store.resume(operation, at: .beforeAnswer)
        await file.streamTask?.value
        #expect(fixture.queue.freeDisk() == 0)
        disk.setFull(false)
        #expect(fixture.queue.freeDisk() > 0)
        let killed = try fixture.copyOfSession()
        defer { killed.removeDirectory() }
        let adopted = try #require(killed.area.adoptLeftovers().adopted.first)
        try await killed.queue.flush(adopted)
        let isWhole = fixture.store.bytes(at: "streamed") == content
        #expect(isWhole)
    }

    /// What was sent ahead has the attributes of its beginning; those of the end follow by a copy on the server.
    @Test func theLastAttributesCount() async throws {
        let fixture = try StagingFixture(isSmall: true)
        defer { fixture.removeDirectory() }
        let (file, _) = try await streamed(fixture)
        try file.setProperties(ObjectProperties(metadata: ["mtime": "7"]))
        try await fixture.queue.flush(file)
        while file.needsUpload { try await fixture.queue.flush(file) }
        #expect(fixture.store.info(at: "streamed")?.properties.metadata == ["mtime": "7"])
        #expect(fixture.store.requests[.copyObject] == 1)
    }

    @Test func uploadsGoOnAfterARestart() async throws {
        let fixture = try StagingFixture(isSmall: true)
        defer { fixture.removeDirectory() }
        let (_, content) = try await streamed(fixture)
        fixture.area.closeSession()
        fixture.store.resetRequests()
        let next = try fixture.successor()
        let adopted = try #require(next.area.adoptLeftovers().adopted.first)
        try await next.queue.flush(adopted)
        let isWhole = fixture.store.bytes(at: "streamed") == content
        #expect(isWhole)
        #expect(fixture.store.requests[.listParts] == 1, "what the journal says is asked for")
        #expect(fixture.store.requests.bytesSent < 3 * (64 << 10))
        #expect(fixture.store.openUploads.isEmpty)
    }

    /// A store drops uploads after some days: what is local is sent again.
    @Test func uploadsThatTheStoreHasDroppedAreBegunAgain() async throws {
        let fixture = try StagingFixture(isSmall: true)
        defer { fixture.removeDirectory() }
        let (_, content) = try await streamed(fixture)
        fixture.area.closeSession()
        let upload = try #require(fixture.store.openUploads.first)
        try await fixture.store.abortUpload(upload.id, key: upload.key)
        let next = try fixture.successor()
        let adopted = try #require(next.area.adoptLeftovers().adopted.first)
        try await next.queue.flush(adopted)
        let isWhole = fixture.store.bytes(at: "streamed") == content
        #expect(isWhole)
    }

    /// A part that an ended process had sent comes late, over what was acknowledged: the completion is refused.
    @Test func regression_spoiledUploadsAreGivenUp() async throws {
        let fixture = try StagingFixture(isSmall: true)
        defer { fixture.removeDirectory() }
        let (file, content) = try await streamed(fixture)
        let upload = try #require(fixture.store.openUploads.first)
        _ = try await fixture.store.uploadPart(
            upload.id, key: upload.key, number: 1, body: ByteArraySource(Array(repeating: 7, count: 2 * Self.unit)))
        try await fixture.queue.flush(file)
        let isWhole = fixture.store.bytes(at: "streamed") == content
        #expect(isWhole)
        #expect(await untilNoUploadIsOpen(fixture.store))
    }

    /// Bytes whose only home were a part that an older body may still replace would be lost with it.
    @Test func regression_partsThatMayBeReplacedKeepTheirBytesHere() async throws {
        let fixture = try StagingFixture(limitBytes: 64 * Self.unit, isSmall: true)
        defer { fixture.removeDirectory() }
        var (file, content) = try await streamed(fixture)
        let upload = try #require(fixture.store.openUploads.first)
        let first = try #require(upload.parts.first)
        let old = Array(content[..<first.byteCount])
        try file.write([9], at: 5)
        content[5] = 9
        fixture.queue.stream(file, isUrgent: true)
        await file.streamTask?.value
        let sentAgain = try #require(fixture.store.openUploads.first?.parts.first)
        #expect(sentAgain.etag != first.etag)
        fixture.queue.freeSentParts()
        #expect(!file.isInTransit(ByteRange(0, 10)))
        #expect(file.hasBytesInTransit, "the other parts are given up")
        // An attempt of the first request arrives.
        _ = try await fixture.store.uploadPart(upload.id, key: upload.key, number: 1, body: ByteArraySource(old))
        try await fixture.queue.flush(file)
        let isWhole = fixture.store.bytes(at: "streamed") == content
        #expect(isWhole)
        #expect(fixture.store.openUploads.isEmpty)
    }

    /// The header of a file is often written last.
    @Test func whatIsWrittenAgainIsSentAgain() async throws {
        let fixture = try StagingFixture(isSmall: true)
        defer { fixture.removeDirectory() }
        var (file, content) = try await streamed(fixture)
        try file.write([9, 9, 9], at: 5)
        content.replaceSubrange(5..<8, with: [9, 9, 9])
        try file.write([8], at: 17 * Self.unit)
        content[17 * Self.unit] = 8
        try await fixture.queue.flush(file)
        let isWhole = fixture.store.bytes(at: "streamed") == content
        #expect(isWhole)
    }

    @Test func removedFilesGiveTheirUploadsUp() async throws {
        let fixture = try StagingFixture(isSmall: true)
        defer { fixture.removeDirectory() }
        let (file, _) = try await streamed(fixture)
        await fixture.queue.hold(file)
        file.abandon()
        let isGone = await untilNoUploadIsOpen(fixture.store)
        #expect(isGone)
    }

    /// The store has begun the upload, and its answer is on its way.
    @Test func regression_removedFilesGiveUpTheUploadThatIsBeingBegun() async throws {
        let fixture = try StagingFixture(isSmall: true)
        defer { fixture.removeDirectory() }
        let file = try await untilUploadIsBeingBegun(fixture)
        async let held: Void = fixture.queue.hold(file)
        for _ in 0..<1000 { await Task.yield() }
        fixture.store.resume(.createUpload, at: .beforeAnswer)
        await held
        file.abandon()
        let isGone = await untilNoUploadIsOpen(fixture.store)
        #expect(isGone)
    }

    /// A mount that ends stops what is being sent, though more could be: that took the processor for ever.
    @Test func regression_sendingAheadEndsWhenItIsToldTo() async throws {
        let fixture = try StagingFixture(isSmall: true)
        defer { fixture.removeDirectory() }
        let file = try await untilUploadIsBeingBegun(fixture)
        let task = try #require(file.streamTask)
        async let settled: Void = fixture.queue.settle(file)
        while !task.isCancelled { await Task.yield() }
        fixture.store.resume(.createUpload, at: .beforeAnswer)
        await settled
        #expect(file.streamTask == nil)
    }

    /// The file is cut and sent as a whole while its upload is just being begun.
    @Test func regression_anUploadThatIsBegunTooLateIsGivenUp() async throws {
        let fixture = try StagingFixture(isSmall: true)
        defer { fixture.removeDirectory() }
        fixture.store.pause(.putObject, at: .beforeAnswer)
        let file = try await untilUploadIsBeingBegun(fixture)
        try file.truncate(to: 0)
        async let flushed: Void = fixture.queue.flush(file)
        await fixture.store.untilHeld(.putObject, at: .beforeAnswer)
        fixture.store.resume(.createUpload, at: .beforeAnswer)
        for _ in 0..<100_000 where file.openUpload == nil { await Task.yield() }
        #expect(file.openUpload != nil)
        fixture.store.resume(.putObject, at: .beforeAnswer)
        try await flushed
        let isGone = await untilNoUploadIsOpen(fixture.store)
        #expect(isGone)
    }

    /// Only what a journal names is given up, and until it is, a journal names it.
    @Test func theNextMountGivesUpWhatThisOneCouldNot() async throws {
        let fixture = try StagingFixture(isSmall: true)
        defer { fixture.removeDirectory() }
        let (file, _) = try await streamed(fixture)
        let other = try await fixture.store.createUpload(
            MemoryStore.objectKey("of another program"), properties: ObjectProperties())
        await fixture.queue.hold(file)
        fixture.store.setFaults(FaultPlan().adding(.accessDenied, on: .abortUpload, when: .always))
        file.abandon()
        fixture.area.closeSession()
        fixture.store.setFaults(FaultPlan())
        let next = try fixture.successor()
        #expect(next.area.adoptLeftovers().adopted.isEmpty)
        for _ in 0..<100_000 where fixture.store.openUploads.count > 1 { await Task.yield() }
        #expect(fixture.store.openUploads.map(\.id) == [other])
    }

    /// The object under the key is ours, of a request before the upload was begun whose answer was lost. It has none of the
    /// bytes that are in the upload alone, however alike its attributes are.
    @Test func regression_anObjectOfAnEarlierRequestIsNotTheUploads() async throws {
        let fixture = try StagingFixture(limitBytes: 64 * Self.unit, isSmall: true)
        defer { fixture.removeDirectory() }
        let file = try fixture.newFile("log")
        try file.setProperties(ObjectProperties(metadata: ["mtime": "1700000000.5"]))
        var content = scrambled(4096, seed: 1)
        try file.write(content, at: 0)
        fixture.store.setFaults(FaultPlan().adding(.lostAnswer, on: .putObject))
        await #expect(throws: StagingError.self) { try await fixture.queue.flush(file) }
        await fixture.queue.settle(file)
        fixture.store.setFaults(FaultPlan())
        #expect(fixture.store.bytes(at: "log") == content)
        for step in 0..<20 {
            let more = scrambled(2 * Self.unit, seed: step)
            try file.write(more, at: content.count)
            content += more
        }
        fixture.queue.noteWritten(file)
        await file.streamTask?.value
        fixture.queue.freeSentParts()
        #expect(file.hasBytesInTransit)
        try await fixture.queue.flush(file)
        let isWhole = fixture.store.bytes(at: "log") == content
        #expect(isWhole)
        #expect(await untilNoUploadIsOpen(fixture.store))
    }

    /// Short of room, local bytes of sent parts go; they are read, and changed, from the object that the parts become.
    @Test func sentPartsGiveTheirRoomBack() async throws {
        let fixture = try StagingFixture(limitBytes: 64 * Self.unit, isSmall: true)
        defer { fixture.removeDirectory() }
        var (file, content) = try await streamed(fixture)
        #expect(fixture.area.isFull(adding: 30 * Self.unit))
        fixture.queue.freeSentParts()
        #expect(!fixture.area.isFull(adding: 30 * Self.unit))
        var status = stat()
        #expect(stat(file.dataPath, &status) == 0)
        #expect(Int(status.st_blocks) * 512 < 20 * Self.unit)
        #expect(file.isInTransit(ByteRange(0, 10)))
        #expect(throws: StagingError.inTransit) { try file.write([1], at: 3) }
        #expect(throws: StagingError.inTransit) { try file.truncate(to: 3) }
        try await fixture.queue.flush(file)
        #expect(!file.isInTransit(ByteRange(0, content.count)))
        try file.write([1], at: 3)
        content[3] = 1
        let seen = try await file.contents(fixture)
        #expect(seen == content)
        try await fixture.queue.flush(file)
        let isWhole = fixture.store.bytes(at: "streamed") == content
        #expect(isWhole)
    }

    /// The map said that the bytes are in the data file; they stay there until the read has them. Given up in between, they
    /// were read as zeros.
    @Test func regression_bytesThatAreBeingReadAreNotGivenUp() async throws {
        let fixture = try StagingFixture(isSmall: true)
        defer { fixture.removeDirectory() }
        let (file, content) = try await streamed(fixture)
        guard case .local(let read) = file.beginRead(ByteRange(0, 100)) else {
            Issue.record("the bytes are local")
            return
        }
        fixture.queue.freeSentParts()
        #expect(try read.bytes() == Array(content[0..<100]))
        #expect(!file.isInTransit(ByteRange(0, 100)))
        #expect(file.hasBytesInTransit, "the other parts are given up")
        try await fixture.queue.flush(file)
    }

    /// A file that is cut while it is read is shorter, and not damaged.
    @Test func regression_aReadMeetsATruncate() async throws {
        let fixture = try StagingFixture()
        defer { fixture.removeDirectory() }
        let file = try fixture.newFile("cut")
        try file.write([UInt8](repeating: 7, count: 1000), at: 0)
        guard case .local(let read) = file.beginRead(ByteRange(0, 1000)) else {
            Issue.record("the bytes are local")
            return
        }
        try file.truncate(to: 300)
        #expect(try read.bytes() == [UInt8](repeating: 7, count: 300))
        try file.truncate(to: 0)
        #expect(try read.bytes().isEmpty)
        guard case .empty = file.beginRead(ByteRange(0, 1000)) else {
            Issue.record("nothing is left to read")
            return
        }
    }

    /// kill -9 between the journal and the data: what the write was to change is what it was, whether it was dirty, clean in
    /// a part that was sent, or in one that the server copied.
    @Test(arguments: [8, 30_000, 500_000])
    func regression_aWriteIsTakenForDoneOnlyWithItsData(offset: Int) async throws {
        let disk = KillableDisk()
        let fixture = try StagingFixture(isSmall: true, disk: StagingDisk(room: disk.room))
        defer { fixture.removeDirectory() }
        var content = scrambled(64 * Self.unit, seed: 1)
        _ = fixture.store.write(content, at: "object")
        let file = try fixture.change("object")
        for position in [10, content.count - 1] {
            try file.write([7], at: position)
            content[position] = 7
        }
        fixture.store.setFaults(FaultPlan().adding(.serverFault, on: .completeUpload, when: .always))
        await #expect(throws: StagingError.self) { try await fixture.queue.flush(file) }
        await fixture.queue.settle(file)
        #expect(try #require(file.openUpload).parts.values.contains { $0.source == .base })

        let written = [UInt8](repeating: 9, count: 4096)
        disk.copyDirectory(fixture.directory, before: written.count)
        try file.write(written, at: offset)
        let copy: String = try #require(disk.copy)
        let next = try StagingFixture(store: fixture.store, directory: copy, isSmall: true)
        defer { next.removeDirectory() }
        let found = next.area.adoptLeftovers()
        #expect(found.damaged.isEmpty)
        let adopted = try #require(found.adopted.first)
        let isWhole = try await adopted.contents(next) == content
        #expect(isWhole)
        fixture.store.setFaults(FaultPlan())
        try await next.queue.flush(adopted)
        let isPublished = fixture.store.bytes(at: "object") == content
        #expect(isPublished)
    }

    /// Of the same write, once it is acknowledged.
    @Test(arguments: [8, 30_000, 500_000])
    func aWriteIntoASentPartSurvivesAKill(offset: Int) async throws {
        let fixture = try StagingFixture(isSmall: true)
        defer { fixture.removeDirectory() }
        var content = scrambled(64 * Self.unit, seed: 1)
        _ = fixture.store.write(content, at: "object")
        let file = try fixture.change("object")
        try file.write([7], at: 10)
        content[10] = 7
        fixture.store.setFaults(FaultPlan().adding(.serverFault, on: .completeUpload, when: .always))
        await #expect(throws: StagingError.self) { try await fixture.queue.flush(file) }
        await fixture.queue.settle(file)
        let written = [UInt8](repeating: 9, count: 4096)
        try file.write(written, at: offset)
        content.replaceSubrange(offset..<offset + written.count, with: written)
        let next = try fixture.copyOfSession()
        defer { next.removeDirectory() }
        fixture.store.setFaults(FaultPlan())
        let adopted = try #require(next.area.adoptLeftovers().adopted.first)
        try await next.queue.flush(adopted)
        let isPublished = fixture.store.bytes(at: "object") == content
        #expect(isPublished)
    }

    /// The upload is bound to the name: whoever has taken it meanwhile is kept beside.
    @Test func aConflictWithFreedPartsKeepsBoth() async throws {
        let fixture = try StagingFixture(isSmall: true)
        defer { fixture.removeDirectory() }
        let (file, content) = try await streamed(fixture)
        fixture.queue.freeSentParts()
        var theirs = ObjectProperties()
        theirs.storageClass = "STANDARD_IA"
        fixture.store.write("theirs", at: "streamed", properties: theirs)
        try await fixture.queue.flush(file)
        let isOurs = fixture.store.bytes(at: "streamed") == content
        #expect(isOurs)
        let beside = try #require(fixture.store.keys(under: "streamed.conflict-").first)
        #expect(fixture.store.text(at: beside) == "theirs")
        #expect(fixture.store.info(at: beside)?.properties.storageClass == "STANDARD_IA")
    }

    /// The copy that keeps the other version must not replace one that was kept in the same millisecond.
    @Test func regression_versionsKeptAtTheSameTimeGetNamesOfTheirOwn() async throws {
        let fixture = try StagingFixture(isSmall: true, time: StandingClock())
        defer { fixture.removeDirectory() }
        for round in 0..<2 {
            fixture.store.remove(at: "streamed")
            let (file, _) = try await streamed(fixture)
            fixture.queue.freeSentParts()
            _ = fixture.store.write("theirs \(round)", at: "streamed")
            try await fixture.queue.flush(file)
        }
        let kept = fixture.store.keys(under: "streamed.conflict-theirs-")
        #expect(kept.map { fixture.store.text(at: $0) } == ["theirs 0", "theirs 1"])
    }

    /// A write that fails after others were acknowledged: what is staged is no file that a program made.
    @Test func anIncompleteFileIsNotSent() async throws {
        let fixture = try StagingFixture(isSmall: true)
        defer { fixture.removeDirectory() }
        _ = fixture.store.write("old", at: "object")
        let file = try fixture.change("object")
        try file.write([UInt8](repeating: 1, count: 100), at: 0)
        file.noteFailedWrite(at: 100)
        await #expect(throws: StagingError.incomplete) { try await fixture.queue.flush(file) }
        #expect(fixture.store.text(at: "object") == "old")
        await fixture.queue.settle(file)
        fixture.area.closeSession()
        let next = try fixture.successor()
        let again = try #require(next.area.adoptLeftovers().adopted.first)
        await #expect(throws: StagingError.incomplete) { try await next.queue.flush(again) }
        // Written whole, or cut to what there is, it is one again.
        try again.truncate(to: again.byteCount)
        try await next.queue.flush(again)
        #expect(fixture.store.bytes(at: "object") == [UInt8](repeating: 1, count: 100))
    }

    /// A file that is changed for days has a journal in proportion to its ranges.
    @Test func journalsStayShort() throws {
        let fixture = try StagingFixture(isSmall: true)
        defer { fixture.removeDirectory() }
        let file = try fixture.newFile("log")
        var count = 0
        for step in 0..<20_000 {
            try file.write([UInt8(truncatingIfNeeded: step)], at: count)
            count += 1
        }
        let journal = try Data(contentsOf: URL(fileURLWithPath: file.journalPath))
        #expect(journal.count < 200_000)
        fixture.area.closeSession()
        let again = try #require(try fixture.successor().area.adoptLeftovers().adopted.first)
        #expect(again.byteCount == count)
    }

    /// A record in the middle that was changed on the disk hides what follows: damage, not the end.
    @Test func aDamagedMiddleIsNoTornEnd() throws {
        let fixture = try StagingFixture(isSmall: true)
        defer { fixture.removeDirectory() }
        let file = try fixture.newFile("middle")
        for step in 0..<5 { try file.write([UInt8](repeating: 1, count: 10), at: step * 1000) }
        fixture.area.closeSession()
        let journal = URL(fileURLWithPath: file.journalPath)
        var bytes = try Data(contentsOf: journal)
        bytes[bytes.count - 60] ^= 0xff
        try bytes.write(to: journal)
        let found = try fixture.successor().area.adoptLeftovers()
        #expect(found.adopted.isEmpty)
        #expect(found.damaged.count == 1)
        #expect(try Data(contentsOf: journal) == bytes, "left as it is")
    }
}
