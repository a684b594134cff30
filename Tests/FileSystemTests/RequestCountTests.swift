// What things cost in requests.

import Base
import MemoryStore
import ObjectModel
import Testing

@testable import FileSystem

@Suite(.timeLimit(.minutes(5)))
struct RequestCountTests {
    @Test func anUnlistedNameIsOneGetAndOneListing() async throws {
        let mount = try Mount()
        mount.store.write("x", at: "file")
        func absent() async { #expect(await failure { _ = try await mount.status("none") } == .notFound) }
        let first = try await mount.requests { await absent() }
        #expect((first[.getObject], first[.listObjects], first.total) == (1, 1, 2))
        let again = try await mount.requests { await absent() }
        #expect(again.total == 0, "absence is remembered")
        let found = try await mount.requests { _ = try await mount.status("file") }
        #expect((found[.getObject], found[.listObjects], found.total) == (1, 1, 2))
        mount.expire()
        let later = try await mount.requests { await absent() }
        #expect(later.total > 0, "not for ever")
    }

    /// While somebody holds the node (an open file, a shell in the directory), a second look is free.
    @Test func aSecondLookIsFree() async throws {
        let mount = try Mount()
        mount.store.write("x", at: "d/file")
        try await mount.withNode("d/file") { _ in
            let again = try await mount.requests { _ = try await mount.status("d/file") }
            #expect(again.total == 0)
        }
    }

    @Test(arguments: [0, 1, 999, 1000, 1001, 2500])
    func listingIsOneRequestPerThousand(count: Int) async throws {
        let mount = try Mount { $0.attributePolicy = .adaptive }
        for index in 0..<count { mount.store.write("", at: "f\(index)") }
        let counts = try await mount.requests {
            let found = try await mount.names("").count
            #expect(found == count)
        }
        #expect(counts[.listObjects] == max(1, (count + 999) / 1000))
        #expect(counts.total == counts[.listObjects], "no HEADs")
        let again = try await mount.requests { _ = try await mount.names("") }
        #expect(again.total == 0)
    }

    @Test func namesOfAFreshListingAreFree() async throws {
        let mount = try Mount { $0.attributePolicy = .listing }
        for index in 0..<20 { mount.store.write("x", at: "f\(index)") }
        mount.store.write("x", at: "sub/x")
        _ = try await mount.names("")
        let counts = try await mount.requests {
            for name in try await mount.names("") { _ = try await mount.status(name) }
            let absent = await failure { _ = try await mount.status("none") }
            #expect(absent == .notFound)
        }
        #expect(counts.total == 0, "\(counts)")
    }

    /// `ls -l` of another tool's objects: HEADs for a sample, then none.
    @Test func foreignObjectsAreSampled() async throws {
        let mount = try Mount()
        for index in 100..<300 { mount.store.write("x", at: "f\(index)") }
        let counts = try await mount.requests {
            for name in try await mount.names("") { _ = try await mount.status(name) }
        }
        #expect(counts[.listObjects] == 1)
        #expect((60...64).contains(counts[.headObject]), "\(counts)")
        let again = try await mount.requests {
            for name in try await mount.names("") { _ = try await mount.status(name) }
        }
        #expect(again.total == 0, "\(again)")
    }

    @Test func readingASmallFileIsOneGet() async throws {
        let mount = try Mount()
        mount.store.write(pattern(3000), at: "f")
        let counts = try await mount.requests {
            let bytes = try await mount.read("f")
            #expect(bytes == pattern(3000))
        }
        #expect((counts[.getObject], counts[.listObjects], counts.total) == (1, 1, 2))
        let file = try await mount.open("f")
        let inMemory = try await mount.requests {
            let bytes = try await mount.readAll(file)
            #expect(bytes == pattern(3000))
        }
        #expect(inMemory.total == 0)
        let again = try await mount.requests { _ = try await mount.readAll(file) }
        #expect(again.total == 0)
        try await mount.close(file)
    }

    /// Who makes a file makes more, often: the directory is listed meanwhile, and no other name is asked for.
    @Test func aNewFileHasItsDirectoryListed() async throws {
        let mount = try Mount()
        mount.store.write("x", at: "d/old")
        try await mount.withNode("d") { directory in
            let first = try await mount.requests {
                let file = try await mount.create("d/new")
                try await mount.write(file, pattern(100), at: 0)
                try await mount.fileSystem.fillListing(directory.number)
                for index in 0..<50 { #expect(try await mount.statusIfPresent("d/none\(index)") == nil) }
                try await mount.close(file)
                await mount.drain()
            }
            #expect(
                (first[.getObject], first[.listObjects], first[.putObject], first.total) == (1, 2, 1, 4), "\(first)")
            let names = try await mount.names("d")
            #expect(names.sorted() == ["new", "old"])
        }
    }

    /// What another client makes of a new file is not missed for a minute because of that listing.
    @Test func whatIsListedForNewFilesIsBelievedForAMoment() async throws {
        let mount = try Mount()
        mount.store.write("x", at: "d/old")
        try await mount.withNode("d") { directory in
            let file = try await mount.create("d/question")
            while mount.fileSystem.tree.withLock({ $0[directory.number]?.directory?.listing == nil }) {
                await Task.yield()
            }
            mount.time.advance(seconds: 1)
            mount.store.write("x", at: "d/answer")
            #expect(try await mount.statusIfPresent("d/answer") != nil)
            mount.store.write("x", at: "d/another")
            #expect(try await mount.names("d").sorted() == ["another", "answer", "old", "question"])
            try await mount.close(file)
        }
    }

    /// A directory that was found to be large is not listed for each new file.
    @Test func aNewFileInALargeDirectoryIsOnePut() async throws {
        let mount = try Mount()
        for index in 0..<4001 { mount.store.write("", at: "d/f\(index)") }
        try await mount.prove()
        try await mount.withNode("d") { _ in
            try await mount.write("d/first", pattern(100))
            // Waits for the pages that were begun.
            _ = try await mount.statusIfPresent("d/none")
            await mount.drain()
            let counts = try await mount.requests {
                try await mount.write("d/second", pattern(100))
                await mount.drain()
            }
            #expect((counts[.getObject], counts[.listObjects], counts[.putObject]) == (1, 1, 1), "\(counts)")
        }
    }

    @Test func aNewFileIsOnePut() async throws {
        let mount = try Mount()
        try await mount.prove()
        _ = try await mount.names("")
        let counts = try await mount.requests {
            try await mount.write("new", pattern(10_000))
            await mount.drain()
        }
        #expect((counts[.putObject], counts.total) == (1, 1), "\(counts)")
    }

    /// What tar and `cp -p` do: the attributes go with the bytes.
    @Test func aNewFileWithAttributesIsOnePut() async throws {
        let mount = try Mount()
        try await mount.prove()
        _ = try await mount.names("")
        let counts = try await mount.requests {
            let file = try await mount.create("new", mode: 0o600)
            try await mount.write(file, pattern(100), at: 0)
            try await mount.chmod("new", 0o640)
            try await mount.setModified("new", .init(seconds: 1_000_000_000, nanoseconds: 5))
            try await mount.close(file)
            await mount.drain()
        }
        #expect((counts[.putObject], counts.total) == (1, 1), "\(counts)")
        #expect(mount.store.info(at: "new")?.properties.metadata["mode"] == String(0o100640))
        #expect(mount.store.info(at: "new")?.properties.metadata["mtime"] == "1000000000.000000005")
    }

    @Test func aNewDirectoryIsOnePut() async throws {
        let mount = try Mount()
        _ = try await mount.names("")
        let counts = try await mount.requests { try await mount.makeDirectory("d") }
        #expect((counts[.putObject], counts.total) == (1, 1), "\(counts)")
    }

    /// tar and cp give a directory the mode and owner that it has. Only its time of change moves, as by changes of its entries.
    @Test func attributesThatADirectoryHasCostNothing() async throws {
        let mount = try Mount()
        try await mount.makeDirectory("d", mode: 0o750)
        // Held, as by the tar that has just made it.
        try await mount.withNode("d") { _ in
            let counts = try await mount.requests {
                mount.time.advance(seconds: 3)
                try await mount.chmod("d", 0o750)
                try await mount.change("d") { ($0.uid, $0.gid) = (1000, 1000) }
            }
            #expect(counts.total == 0, "\(counts)")
            let attributes = try await mount.status("d").attributes
            #expect(attributes.changed.seconds >= attributes.modified.seconds + 3)
        }
        // Others are in the marker, but not one by one.
        let others = try await mount.requests {
            try await mount.chmod("d", 0o700)
            await mount.drain()
            try await mount.setModified("d", .init(seconds: 5))
            await mount.drain()
        }
        #expect(others[.putObject] == 2)
        try await mount.remount()
        #expect(try await mount.status("d").attributes.permissions == 0o700)
    }

    /// What other mounts may show otherwise is written down.
    @Test func attributesOfAnImpliedDirectoryAreWritten() async throws {
        let mount = try Mount()
        mount.store.write("x", at: "d/f")
        let mode = try await mount.status("d").attributes.permissions
        try await mount.chmod("d", mode)
        #expect(mount.store.keys() == ["d/", "d/f"])
    }
}
