// A staged file against a plain array, with kill and reload in between.

import Base
import FoundationEssentials
import Glibc
import MemoryStore
import ObjectModel
import ObjectStore
import Testing

@testable import Staging

@Suite(.timeLimit(.minutes(5)))
struct StagedFileTests {
    /// Random writes, truncates and reloads of a file over a base object; after each step the bytes are the model's,
    /// and at the end what is published is the model's too.
    @Test(arguments: 1...60)
    func behavesLikeAnArray(seed: Int) async throws {
        var random = SplitMix64(seed: UInt64(seed))
        var fixture = try StagingFixture()
        defer { fixture.removeDirectory() }
        var model = (0..<Int.random(in: 0...300_000, using: &random)).map {
            UInt8(truncatingIfNeeded: $0 &* 31 &+ seed)
        }
        _ = fixture.store.write(model, at: "file")
        var file = try fixture.change("file")
        for step in 0..<25 {
            switch Int.random(in: 0..<10, using: &random) {
            case 0...5:
                let offset = Int.random(in: 0...(model.count + 5_000), using: &random)
                let bytes = (0..<Int.random(in: 1...20_000, using: &random)).map {
                    UInt8(truncatingIfNeeded: $0 &+ step)
                }
                try file.write(bytes, at: offset)
                if model.count < offset + bytes.count {
                    model += [UInt8](repeating: 0, count: offset + bytes.count - model.count)
                }
                model.replaceSubrange(offset..<offset + bytes.count, with: bytes)
            case 6, 7:
                let count = Int.random(in: 0...(model.count + 10_000), using: &random)
                try file.truncate(to: count)
                if count <= model.count {
                    model.removeSubrange(count...)
                } else {
                    model += [UInt8](repeating: 0, count: count - model.count)
                }
            case 8:
                let current = fixture
                try await file.materialise(ByteRange(0, file.byteCount)) { version, range throws(StoreError) in
                    let sink = CollectingSink()
                    _ = try await current.store.get(
                        GetRequest(key: version.key, etag: version.etag, range: range), into: sink)
                    return sink.bytes
                }
            default:
                // As after kill -9: nothing of the objects' state is used, only the directory. What has no change yet is
                // not there afterwards.
                guard file.needsUpload else { continue }
                fixture.area.closeSession()
                let next = try fixture.successor()
                let adopted = next.area.adoptLeftovers().adopted
                try #require(adopted.count == 1, "seed \(seed) step \(step)")
                fixture = next
                file = adopted[0]
            }
            let isEqual = try await file.contents(fixture) == model
            try #require(isEqual, "seed \(seed) step \(step)")
        }
        try await fixture.queue.flush(file)
        let isPublished = fixture.store.bytes(at: "file") == model
        #expect(isPublished, "seed \(seed)")
        #expect(fixture.store.openUploads.isEmpty)
    }

    /// The journal cut at every length: what is read back is the state after some prefix of the operations, and whatever
    /// was cut is not believed.
    @Test func tornJournalsAreNeverBelieved() async throws {
        let fixture = try StagingFixture()
        defer { fixture.removeDirectory() }
        let file = try fixture.newFile("torn")
        let journal = URL(fileURLWithPath: file.journalPath)
        var states: [(journalBytes: Int, byteCount: Int)] = [(try Data(contentsOf: journal).count, 0)]
        for step in 1...8 {
            try file.write([UInt8](repeating: UInt8(step), count: 1000), at: (step - 1) * 1000)
            states.append((try Data(contentsOf: journal).count, step * 1000))
        }
        let whole = try Data(contentsOf: journal)
        let data = try Data(contentsOf: URL(fileURLWithPath: file.dataPath))
        for cut in stride(from: states[0].journalBytes, through: whole.count, by: 7) {
            let next = try StagingFixture(store: fixture.store)
            defer { next.removeDirectory() }
            _ = try next.leaveSession(journal: whole.prefix(cut), data: data)
            let adopted = try #require(next.area.adoptLeftovers().adopted.first)
            let expected = states.last { $0.journalBytes <= cut }!.byteCount
            #expect(adopted.byteCount == expected, "cut at \(cut)")
            let bytes = try await adopted.contents(next)
            let wanted: [UInt8] = (0..<expected).map { UInt8($0 / 1000 + 1) }
            #expect(bytes == wanted, "cut at \(cut)")
        }
    }

    /// `create` makes the journal first: whatever of it a kill has left, without data, was acknowledged to nobody. Beside a data
    /// file it is damage.
    @Test func aFileThatWasJustBeingBegunIsNothing() throws {
        let fixture = try StagingFixture()
        defer { fixture.removeDirectory() }
        let whole = try Data(contentsOf: URL(fileURLWithPath: try fixture.newFile("begun").journalPath))
        for cut in 0...whole.count {
            for hasData in [false, true] where !(hasData && cut == whole.count) {
                let next = try StagingFixture(store: fixture.store)
                defer { next.removeDirectory() }
                let session = try next.leaveSession(
                    journal: whole.prefix(cut), data: hasData ? Data("text".utf8) : nil)
                let found = next.area.adoptLeftovers()
                // Eight bytes say that the files are free to be used.
                let isDamaged = hasData && cut != 8
                #expect(found.adopted.isEmpty, "cut at \(cut)")
                #expect(found.damaged.count == (isDamaged ? 1 : 0), "cut at \(cut)")
                #expect(FileManager.default.fileExists(atPath: session) == isDamaged, "cut at \(cut)")
            }
        }
    }

    /// The files of one that is gone are used for the next, and nothing of it is in them; what is found of them by another
    /// mount is nothing.
    @Test func filesOfTheDiskAreUsedAgain() async throws {
        let fixture = try StagingFixture()
        defer { fixture.removeDirectory() }
        func dataPath() throws -> String {
            let file = try fixture.newFile("first")
            try file.write([UInt8](repeating: 1, count: 100_000), at: 0)
            file.abandon()
            // Still open, it is read and written.
            try file.write([2], at: 3)
            var bytes = [UInt8](repeating: 9, count: 5)
            try file.readLocal(into: &bytes, at: 0)
            #expect(bytes == [1, 1, 1, 2, 1])
            return file.dataPath
        }
        let first = try dataPath()
        do {
            let copy = try fixture.copyOfSession()
            defer { copy.removeDirectory() }
            let found = copy.area.adoptLeftovers()
            #expect(found.adopted.isEmpty && found.damaged.isEmpty)
        }
        let second = try fixture.newFile("second")
        #expect(second.dataPath == first)
        try second.truncate(to: 10)
        #expect(try await second.contents(fixture) == [UInt8](repeating: 0, count: 10))
        fixture.area.closeSession()
        let adopted = try fixture.successor().area.adoptLeftovers().adopted
        #expect(adopted.map(\.key) == [MemoryStore.objectKey("second")] && adopted.map(\.byteCount) == [10])
    }

    /// A session whose files are all gone leaves nothing.
    @Test func spareFilesGoWithTheSession() throws {
        let fixture = try StagingFixture()
        defer { fixture.removeDirectory() }
        do {
            let files = try (0..<3).map { try fixture.newFile("f\($0)") }
            for file in files { file.abandon() }
        }
        let open = try fixture.newFile("open")
        open.abandon()
        fixture.area.closeSession()
        let left = try FileManager.default.contentsOfDirectory(atPath: fixture.directory + "/staging")
        #expect(left.isEmpty)
    }

    /// That the store had nothing is worth something for a moment, and under the key that it was asked for.
    @Test func whatWasSeenToBeAbsent() throws {
        let fixture = try StagingFixture()
        defer { fixture.removeDirectory() }
        let file = try fixture.newFile("new")
        #expect(!file.isSeenAbsent(file.key, now: 1))
        file.noteAbsence(askedAt: 1_000)
        #expect(file.isSeenAbsent(file.key, now: 1_000) && file.isSeenAbsent(file.key, now: 500_000_999))
        #expect(!file.isSeenAbsent(file.key, now: 500_001_000) && !file.isSeenAbsent(file.key, now: 999))
        #expect(!file.isSeenAbsent(MemoryStore.objectKey("other"), now: 1_000))
    }

    /// Once there is a new file, the files of the next ones are made before they are wanted; a change of an object makes none.
    @Test(.timeLimit(.minutes(1))) func spareFilesAreMadeAhead() async throws {
        let fixture = try StagingFixture(aheadCount: 3)
        defer { fixture.removeDirectory() }
        let session = fixture.area.sessionDirectory
        func names() throws -> Set<String> {
            Set(try FileManager.default.contentsOfDirectory(atPath: session).filter { $0.hasSuffix(".data") })
        }
        let file = try fixture.newFile("first")
        while try names().count < 4 { await Task.yield() }
        let made = try names()
        let second = try fixture.newFile("second")
        #expect(made.contains(String(second.dataPath.split(separator: "/").last!)) && second.dataPath != file.dataPath)
        #expect(try await second.contents(fixture) == [])
        // What kill -9 would leave of them is nothing.
        let copy = try fixture.copyOfSession()
        defer { copy.removeDirectory() }
        let found = copy.area.adoptLeftovers()
        #expect(Set(found.adopted.map(\.key)) == [file.key, second.key] && found.damaged.isEmpty)
        file.abandon()
        second.abandon()
        fixture.area.closeSession()
        #expect(try FileManager.default.contentsOfDirectory(atPath: fixture.directory + "/staging").isEmpty)
    }

    /// A session that ends while files are made ahead leaves nothing.
    @Test func noFileIsMadeAheadInASessionThatHasEnded() throws {
        for _ in 0..<20 {
            let fixture = try StagingFixture(aheadCount: 200)
            defer { fixture.removeDirectory() }
            try fixture.newFile("first").abandon()
            fixture.area.closeSession()
            #expect(try FileManager.default.contentsOfDirectory(atPath: fixture.directory + "/staging").isEmpty)
        }
    }

    /// A power cut may leave both files empty: what was in them is not known, and so is not nothing.
    @Test func emptyFilesAreDamage() throws {
        let fixture = try StagingFixture()
        defer { fixture.removeDirectory() }
        _ = try fixture.leaveSession(journal: Data(), data: Data())
        let found = fixture.area.adoptLeftovers()
        #expect(found.adopted.isEmpty && found.damaged.count == 1)
    }

    /// A file that is published and not changed again costs its journal no second inode; one that is changed again has a
    /// journal on the new base before the change is acknowledged.
    @Test func thePublishedFilesJournalIsWrittenAnewByTheNextChange() async throws {
        let fixture = try StagingFixture()
        defer { fixture.removeDirectory() }
        func inode(_ path: String) -> ino_t {
            var status = stat()
            return stat(path, &status) == 0 ? status.st_ino : 0
        }
        let file = try fixture.newFile("again")
        let journal = inode(file.journalPath)
        try file.write([UInt8](repeating: 1, count: 1000), at: 0)
        try await fixture.queue.flush(file)
        #expect(inode(file.journalPath) == journal)
        do {
            let copy = try fixture.copyOfSession()
            defer { copy.removeDirectory() }
            let found = copy.area.adoptLeftovers()
            #expect(found.adopted.isEmpty && found.damaged.isEmpty)
        }
        try file.write([2, 2], at: 10)
        #expect(inode(file.journalPath) != journal)
        let base = file.base
        fixture.area.closeSession()
        let next = try fixture.successor()
        let adopted = try #require(next.area.adoptLeftovers().adopted.first)
        #expect(adopted.base == base)
        let bytes = try await adopted.contents(next)
        let wanted = [UInt8](repeating: 1, count: 10) + [2, 2] + [UInt8](repeating: 1, count: 988)
        #expect(bytes == wanted)
        #expect(adopted.dirtyByteCount == 2)
    }

    /// The disk has no room for the journal of the new key: the file is what it was, here, in the bucket, and for the next
    /// mount.
    @Test(arguments: ["rekey", "moveBase", "conflict"])
    func regression_aKeyThatIsNotJournalledIsNotTaken(how: String) async throws {
        let disk = KillableDisk()
        let fixture = try StagingFixture(disk: StagingDisk(room: disk.room))
        defer { fixture.removeDirectory() }
        _ = fixture.store.write("target", at: "target")
        _ = fixture.store.write("old", at: "base")
        let target = fixture.store.info(at: "target")!.version
        let file = how == "rekey" ? try fixture.newFile("new") : try fixture.change("base")
        let (key, base) = (file.key, file.base)
        try file.write([1, 2, 3], at: 0)
        disk.setFull(true)
        #expect(throws: StagingError.self) {
            switch how {
            case "rekey": try file.rekey(target.key, condition: .none)
            case "moveBase": try file.moveBase(to: target)
            default: try file.becomeConflictCopy(MemoryStore.objectKey("beside"))
            }
        }
        #expect(file.key == key && file.base == base)
        disk.setFull(false)
        do {
            let copy = try fixture.copyOfSession()
            defer { copy.removeDirectory() }
            #expect(copy.area.adoptLeftovers().adopted.map(\.key) == [key])
        }
        try await fixture.queue.flush(file)
        #expect(fixture.store.bytes(at: key.string) == [1, 2, 3])
        #expect(fixture.store.text(at: "target") == "target")
    }

    /// What the journal was told of, and the disk then refused, is no loss of bytes for the next mount.
    @Test func regression_aTruncateThatTheDiskRefusedIsNoDamage() async throws {
        let fixture = try StagingFixture()
        defer { fixture.removeDirectory() }
        let file = try fixture.newFile("refused")
        try file.write([UInt8](repeating: 1, count: 1000), at: 0)
        // A descriptor that is not for writing refuses what a limit of the filesystem would.
        let (writable, readOnly) = (dup(file.descriptor), open(file.dataPath, O_RDONLY | O_CLOEXEC))
        dup2(readOnly, file.descriptor)
        #expect(throws: StagingError.self) { try file.truncate(to: 5000) }
        dup2(writable, file.descriptor)
        close(writable)
        close(readOnly)
        #expect(file.byteCount == 1000)
        try file.write([2], at: 1000)
        let next = try fixture.copyOfSession()
        defer { next.removeDirectory() }
        let found = next.area.adoptLeftovers()
        #expect(found.damaged.isEmpty)
        let bytes = try await #require(found.adopted.first).contents(next)
        #expect(bytes == [UInt8](repeating: 1, count: 1000) + [2])
    }

    /// Data that has lost bytes is reported, never filled up with zeros.
    @Test func shortDataIsDamage() throws {
        let fixture = try StagingFixture()
        defer { fixture.removeDirectory() }
        let file = try fixture.newFile("short")
        try file.write([UInt8](repeating: 7, count: 5000), at: 0)
        fixture.area.closeSession()
        truncate(file.dataPath, 3000)
        let found = try fixture.successor().area.adoptLeftovers()
        #expect(found.adopted.isEmpty)
        #expect(found.damaged.count == 1)
        #expect(FileManager.default.fileExists(atPath: file.dataPath))
    }

    @Test func anotherBucketsLeftoversAreReportedAndKept() throws {
        let fixture = try StagingFixture()
        defer { fixture.removeDirectory() }
        try fixture.newFile("kept").write([1, 2, 3], at: 0)
        fixture.area.closeSession()
        let other = try StagingArea(
            stateDirectory: fixture.directory, bucketIdentity: "another bucket", limitBytes: nil)
        let found = other.adoptLeftovers()
        #expect(found.adopted.isEmpty)
        #expect(found.foreign.map(\.bucketIdentity) == ["memory bucket"])
        #expect(found.foreign.map(\.fileCount) == [1])
        #expect(try fixture.successor().area.adoptLeftovers().adopted.count == 1)
    }

    /// A session that another process has open is not touched.
    @Test func aLiveSessionIsNotAdopted() throws {
        let fixture = try StagingFixture()
        defer { fixture.removeDirectory() }
        try fixture.newFile("live").write([1], at: 0)
        #expect(try fixture.successor().area.adoptLeftovers().adopted.isEmpty)
    }

    /// Another mount finds the directory of one that has made it, and not locked it yet: it is removed as an empty one, and the
    /// lock that comes too late is none.
    @Test func regression_aSessionThatIsRemovedWhileItBeginsIsNotUsed() throws {
        let fixture = try StagingFixture()
        defer { fixture.removeDirectory() }
        let session = fixture.directory + "/staging/1-new"
        let owner = session + "/owner"
        try FileManager.default.createDirectory(atPath: session, withIntermediateDirectories: true)
        let descriptor = open(owner, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
        defer { close(descriptor) }
        _ = fixture.area.adoptLeftovers()
        #expect(!FileManager.default.fileExists(atPath: session))
        #expect(!StagingArea.isLocked(descriptor, of: owner))
        // Nor if the name has come back.
        try FileManager.default.createDirectory(atPath: session, withIntermediateDirectories: true)
        let other = open(owner, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
        defer { close(other) }
        #expect(!StagingArea.isLocked(descriptor, of: owner))
        #expect(StagingArea.isLocked(other, of: owner))
    }

    @Test func filesAndDirectoriesAreTheUsersAlone() throws {
        let fixture = try StagingFixture()
        defer { fixture.removeDirectory() }
        let file = try fixture.newFile("private")
        for (path, mode) in [
            (file.dataPath, 0o600), (file.journalPath, 0o600), (fixture.directory + "/staging", 0o700),
        ] {
            var status = stat()
            #expect(stat(path, &status) == 0)
            let found = Int(status.st_mode & 0o777)
            #expect(found == mode, "\(path)")
        }
    }

    /// Objects may look alike: as long as the base stands, nothing was replaced. Without a mark only the ETag tells.
    @Test func whatWasReplacedIsTold() {
        let key = MemoryStore.objectKey("doc")
        func info(_ etag: String, _ metadata: [String: String]) -> ObjectInfo {
            ObjectInfo(
                version: ObjectVersion(key: key, etag: ETag(etag)!, byteCount: 9), lastModified: Timestamp(seconds: 1),
                properties: ObjectProperties(metadata: metadata))
        }
        let marked = Departure.replacement(PublicationMark(byteCount: 9, metadata: ["mtime": "1"]), ETag("source")!)
        let unmarked = Departure.replacement(PublicationMark(byteCount: 9, metadata: [:]), ETag("source")!)
        let base = info("base", ["mtime": "1"])
        #expect(!marked.isDone(leaving: base, base: base.version))
        #expect(marked.isDone(leaving: info("copy", ["mtime": "1"]), base: base.version))
        #expect(!marked.isDone(leaving: info("source", ["mtime": "2"]), base: base.version))
        #expect(unmarked.isDone(leaving: info("source", [:]), base: base.version))
        #expect(!unmarked.isDone(leaving: info("other", [:]), base: base.version))
        #expect(!marked.isDone(leaving: nil, base: base.version))
        #expect(Departure.removal.isDone(leaving: nil, base: nil))
        #expect(!Departure.removal.isDone(leaving: base, base: nil))
    }

    /// Records survive their encoding; mutated bytes never crash the reader nor give a record that was not written.
    @Test(arguments: 1...300)
    func damagedRecordsAreRefused(seed: Int) {
        var random = SplitMix64(seed: UInt64(seed))
        let version = ObjectVersion(key: MemoryStore.objectKey("ключ"), etag: ETag("abc-2")!, byteCount: 77)
        let records: [JournalRecord] = [
            .begin(
                StagedIdentity(
                    key: version.key, base: version, baseByteCount: 70, byteCount: 90,
                    condition: .ifMatch(version.etag),
                    properties: ObjectProperties(metadata: ["mode": "33188"], contentType: "text/csv"))),
            .wrote(ByteRange(5, 17)), .truncated(3), .properties(ObjectProperties(metadata: ["a": "ü"])),
            .departing(.removal), .departing(.replacementByStaged("1-a/2")), .departing(nil),
            .departing(.savedAs(version.key)),
            .departing(.replacement(PublicationMark(byteCount: 9, metadata: ["mtime": "1"]), version.etag)),
        ]
        var bytes = records.flatMap { $0.encoded() }
        #expect(JournalRecord.decode(bytes).records == records)
        for _ in 0..<Int.random(in: 1...4, using: &random) {
            bytes[Int.random(in: 0..<bytes.count, using: &random)] = UInt8.random(in: 0...255, using: &random)
        }
        let decoded = JournalRecord.decode(bytes).records
        #expect(decoded == Array(records.prefix(decoded.count)), "seed \(seed)")
    }
}
