// What somebody else sees of the data that an ended mount left.

import FoundationEssentials
import ObjectModel
import ObjectStore
import Testing

@testable import Staging

@Suite(.timeLimit(.minutes(3)))
struct StagedRestTests {
    private func file(_ fixture: StagingFixture, _ key: String, _ count: Int) throws -> StagedFile {
        let file = try fixture.newFile(key)
        try file.write([UInt8](repeating: 1, count: count), at: 0)
        return file
    }

    /// While a mount lives its data is its own business; after its death each pending file is told, and nothing changes.
    @Test func whatAKilledMountLeft() throws {
        let fixture = try StagingFixture()
        defer { fixture.removeDirectory() }
        let session = fixture.area.sessionDirectory
        _ = try file(fixture, "dir/a", 3)
        _ = try file(fixture, "b", 4)
        fixture.area.forget(try file(fixture, "uploaded", 5))
        #expect(StagedRest.isInUse(session) && StagedRest.ofBucket(of: session).isEmpty)
        fixture.area.closeSession()
        #expect(!StagedRest.isInUse(session))
        let names = StagingArea.entries(of: session)
        for _ in 0..<2 {
            let rest = StagedRest.ofBucket(of: session)
            #expect(rest.files.compactMap { $0.key?.string }.sorted() == ["b", "dir/a"] && rest.dirtyByteCount == 7)
            #expect(StagedRest.ofBucket(named: "bucket", stateDirectory: fixture.directory) == rest)
            #expect(StagedRest.ofBucket(named: "ucket", stateDirectory: fixture.directory).isEmpty)
        }
        #expect(StagingArea.entries(of: session) == names)
        // The next mount has it now.
        let next = try fixture.successor()
        #expect(next.area.adoptLeftovers().adopted.count == 2)
        #expect(StagedRest.ofBucket(of: session).isEmpty)
    }

    @Test func nothingIsLeftWhereNothingIs() throws {
        let fixture = try StagingFixture()
        defer { fixture.removeDirectory() }
        let session = fixture.area.sessionDirectory
        fixture.area.closeSession()
        #expect(!StagedRest.isInUse(session) && StagedRest.ofBucket(of: session).isEmpty)
        #expect(StagedRest.ofBucket(named: "bucket", stateDirectory: "/nowhere").isEmpty)
    }

    /// What mounts of other buckets left has a name that can be mounted; of one that lives nothing is left.
    @Test func whatOthersLeft() throws {
        let fixture = try StagingFixture()
        defer { fixture.removeDirectory() }
        _ = try file(fixture, "a", 3)
        let other = try StagingArea(
            stateDirectory: fixture.directory, bucketIdentity: "http://h other", mountpoint: "/mnt/line\nbreak",
            limitBytes: nil)
        #expect(StagedRest.ofOthers(than: other.sessionDirectory).isEmpty)
        fixture.area.closeSession()
        let found = try #require(StagedRest.ofOthers(than: other.sessionDirectory).first)
        #expect(found.bucketIdentity == "memory bucket" && found.mountpoint.isEmpty)
        #expect(found.fileCount == 1 && found.byteCount == 3 && found.directory == fixture.area.sessionDirectory)
        let key = try file(fixture, "b", 1).key
        _ = try other.create(
            StagedIdentity(
                key: key, base: nil, baseByteCount: 0, byteCount: 0, condition: .ifAbsent, properties: .init()),
            isChanged: true)
        other.closeSession()
        let next = try fixture.successor()
        #expect(StagedRest.ofOthers(than: next.area.sessionDirectory).map(\.mountpoint) == ["/mnt/line\\nbreak"])
        #expect(next.area.adoptLeftovers().foreign.map(\.mountpoint) == ["/mnt/line\\nbreak"])
    }

    /// Where no mount lives, too; and what a living one has is its own.
    @Test func whatAllLeft() throws {
        let fixture = try StagingFixture()
        defer { fixture.removeDirectory() }
        _ = try file(fixture, "a", 3)
        #expect(StagedRest.ofAll(stateDirectory: fixture.directory).isEmpty)
        fixture.area.closeSession()
        let found = StagedRest.ofAll(stateDirectory: fixture.directory)
        #expect(found.map(\.bucketIdentity) == ["memory bucket"] && found.map(\.fileCount) == [1])
        #expect(StagedRest.ofAll(stateDirectory: "/nowhere").isEmpty)
        let next = try fixture.successor()
        #expect(next.area.adoptLeftovers().adopted.count == 1, "looking has taken nothing")
    }

    @Test func aDamagedJournalIsOneFile() throws {
        let fixture = try StagingFixture()
        defer { fixture.removeDirectory() }
        let session = try fixture.leaveSession(journal: Data("something else".utf8), data: Data("data".utf8))
        #expect(StagedRest.ofBucket(of: session).files == [StagedRest.File(key: nil, dirtyByteCount: 0)])
    }

    @Test func locksAreReadFromTheTableOfTheKernel() {
        let text = """
            1: FLOCK  ADVISORY  WRITE 1234 08:01:131 0 EOF
            2: POSIX  ADVISORY  WRITE 77 08:01:132 0 EOF
            3: FLOCK  ADVISORY  READ 5 00:2f:18446744073709551615 0 EOF
            3: -> FLOCK  ADVISORY  WRITE 6 00:2f:9 0 EOF
            """
        #expect(StagedRest.lockedInodes(text) == [131, .max])
    }
}
