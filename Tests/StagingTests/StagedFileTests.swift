// A staged file against a plain array, with kill and reload in between.

import Base
import FoundationEssentials
import Glibc
import MemoryStore
import ObjectModel
import ObjectStore
import Testing

@testable import Staging

@Suite(.timeLimit(.minutes(2)))
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
            let session = next.directory + "/staging/1-old"
            try FileManager.default.createDirectory(atPath: session, withIntermediateDirectories: true)
            try Data("memory bucket\n".utf8).write(to: URL(fileURLWithPath: session + "/owner"))
            try whole.prefix(cut).write(to: URL(fileURLWithPath: session + "/1.journal"))
            try data.write(to: URL(fileURLWithPath: session + "/1.data"))
            let adopted = try #require(next.area.adoptLeftovers().adopted.first)
            let expected = states.last { $0.journalBytes <= cut }!.byteCount
            #expect(adopted.byteCount == expected, "cut at \(cut)")
            let bytes = try await adopted.contents(next)
            let wanted: [UInt8] = (0..<expected).map { UInt8($0 / 1000 + 1) }
            #expect(bytes == wanted, "cut at \(cut)")
        }
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
