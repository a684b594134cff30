// What reading many files costs in requests.

import Base
import BlockCache
import MemoryStore
import ObjectModel
import Testing

@testable import FileSystem

@Suite(.timeLimit(.minutes(5)))
struct ReadingCountTests {
    private func mount(
        _ count: Int, _ byteCount: Int = 3000, _ configure: @escaping (inout FileSystemConfiguration) -> Void = { _ in }
    ) throws -> Mount {
        let mount = try Mount(configure)
        for index in 0..<count { mount.store.write(pattern(byteCount), at: Self.path(index)) }
        return mount
    }

    private static func path(_ index: Int) -> String { "d/f\(1000 + index)" }

    private func readHead(_ mount: Mount, _ index: Int) async throws {
        let file = try await mount.open(Self.path(index))
        let bytes = try await mount.read(file, at: 0, count: 100)
        #expect(bytes == Array(pattern(3000)[..<100]))
        try await mount.close(file)
    }

    /// A fresh listing: one GET brings attributes and bytes, with no HEAD.
    @Test(arguments: [AttributePolicy.adaptive, .listing, .exact], [false, true])
    func aListedFileIsOneGet(policy: AttributePolicy, isPosix: Bool) async throws {
        let mount = try mount(0) { $0.attributePolicy = policy }
        mount.store.write(
            pattern(3000), at: "d/f",
            properties: ObjectProperties(metadata: isPosix ? ["mode": String(0o100600), "uid": "1000"] : [:]))
        try await mount.withNode("d") { _ in
            _ = try await mount.names("d")
            let counts = try await mount.requests {
                let bytes = try await mount.read("d/f")
                #expect(bytes == pattern(3000))
            }
            #expect((counts[.getObject], counts.total) == (1, 1), "\(counts)")
            let mode = try await mount.status("d/f").attributes.permissions
            #expect(mode == (isPosix && policy != .listing ? 0o600 : 0o644))
        }
    }

    /// One GET and one LIST side by side: one round trip for a file of which nothing is known.
    @Test func anUnknownFileIsOneRoundTrip() async throws {
        let mount = try mount(1)
        try await mount.withNode("d") { _ in
            mount.store.resetRequests()
            mount.store.pause(.getObject)
            mount.store.pause(.listObjects)
            async let bytes = mount.read(Self.path(0))
            await mount.store.untilHeld(.getObject)
            await mount.store.untilHeld(.listObjects)
            mount.store.resume(.listObjects)
            mount.store.resume(.getObject)
            let found = try await bytes
            #expect(found == pattern(3000))
            await mount.settle()
            #expect(mount.store.requests[.getObject] == 1)
            #expect(mount.store.requests[.headObject] == 0)
        }
    }

    @Test func anEmptyFileIsStillFound() async throws {
        let mount = try mount(0)
        mount.store.write("", at: "d/empty")
        let bytes = try await mount.read("d/empty")
        #expect(bytes.isEmpty)
    }

    /// A large object: its first block comes with the attributes, the rest when it is read.
    @Test func theHeadsOfLargeFilesAreOneGetEach() async throws {
        let mount = try mount(20, 40_000) { $0.siblingBytesMax = 10_000 }
        try await mount.withNode("d") { _ in
            _ = try await mount.names("d")
            let counts = try await mount.requests {
                for index in 0..<20 { try await readHead(mount, index) }
            }
            // Read-ahead of a handle that begins at its start may bring a second piece.
            #expect(counts[.headObject] == 0 && counts[.listObjects] == 0, "\(counts)")
            #expect((20...40).contains(counts[.getObject]), "\(counts)")
        }
    }

    @Test(arguments: [true, false], [AttributePolicy.adaptive, .listing])
    func neighboursComeBeforeTheyAreAskedFor(isListed: Bool, policy: AttributePolicy) async throws {
        let mount = try mount(200) { $0.attributePolicy = policy }
        try await mount.withNode("d") { _ in
            if isListed { _ = try await mount.names("d") }
            let counts = try await mount.requests {
                for index in 0..<200 { try await readHead(mount, index) }
            }
            // Three single lookups list the directory.
            #expect(counts[.getObject] == 200, "\(counts)")
            #expect(counts[.headObject] == 0 && counts[.listObjects] <= (isListed ? 0 : 3), "\(counts)")
            let figures = mount.fileSystem.prefetchStatistics
            #expect(figures.used >= 150 && figures.prefetched >= figures.used && figures.wasted == 0, "\(figures)")
            #expect(mount.cache.statistics.hits >= 150, "\(mount.cache.statistics)")
        }
    }

    @Test func neighboursComeBackwardToo() async throws {
        let mount = try mount(100)
        try await mount.withNode("d") { _ in
            _ = try await mount.names("d")
            let counts = try await mount.requests {
                for index in (0..<100).reversed() { try await readHead(mount, index) }
            }
            #expect((counts[.getObject], counts.total) == (100, 100), "\(counts)")
            #expect(mount.fileSystem.prefetchStatistics.used >= 60, "\(mount.fileSystem.prefetchStatistics)")
        }
    }

    @Test func randomOpensBringNothingElse() async throws {
        let mount = try mount(500)
        try await mount.withNode("d") { _ in
            _ = try await mount.names("d")
            let counts = try await mount.requests {
                for index in 0..<60 { try await readHead(mount, index * 131 % 500) }
            }
            #expect(counts.total == 60, "\(counts)")
            #expect(mount.fileSystem.prefetchStatistics.prefetched == 0)
        }
    }

    @Test func itCanBeSwitchedOff() async throws {
        let mount = try mount(50) { $0.prefetchesSiblings = false }
        try await mount.withNode("d") { _ in
            _ = try await mount.names("d")
            let counts = try await mount.requests {
                for index in 0..<40 { try await readHead(mount, index) }
            }
            #expect((counts[.getObject], counts.total) == (40, 40), "\(counts)")
            #expect(mount.fileSystem.prefetchStatistics == PrefetchStatistics())
        }
    }

    /// Neighbours that were replaced since the listing are seen as they are now.
    @Test func aNeighbourReplacedMeanwhileIsTheNewOne() async throws {
        let mount = try mount(20)
        try await mount.withNode("d") { _ in
            _ = try await mount.names("d")
            for index in 10..<20 { mount.store.write(pattern(500), at: Self.path(index)) }
            for index in 0..<20 {
                let bytes = try await mount.read(Self.path(index))
                #expect(bytes == pattern(index < 10 ? 3000 : 500), "file \(index)")
            }
        }
    }

    /// Looking without opening goes back to HEADs, many at once.
    @Test func lookingAtAllAttributesIsNotReading() async throws {
        let mount = try mount(60, 40_000)
        try await mount.withNode("d") { _ in
            let names = try await mount.names("d")
            let counts = try await mount.requests {
                for name in names { _ = try await mount.status("d/\(name)") }
            }
            #expect(counts[.getObject] == 1 && counts[.headObject] == 59, "\(counts)")
        }
    }

    @Test func anOpenAfterTheTTLIsOneRequest() async throws {
        let mount = try mount(1)
        let file = try await mount.open(Self.path(0))
        mount.expire()
        // Of what is in memory only the attributes are asked for.
        let cached = try await mount.requests { _ = try await mount.fileSystem.status(file.number).get() }
        #expect(cached.total == 0, "an open file is what it was")
        let opened = try await mount.requests {
            mount.fileSystem.release(try await mount.fileSystem.open(file.number, mayWrite: false).get())
        }
        #expect((opened[.headObject], opened.total) == (1, 1), "\(opened)")
        mount.expire()
        mount.cache.forget(MemoryStore.objectKey(Self.path(0)))
        let again = try await mount.requests {
            mount.fileSystem.release(try await mount.fileSystem.open(file.number, mayWrite: false).get())
        }
        #expect((again[.getObject], again.total) == (1, 1), "\(again)")
        try await mount.close(file)
    }
}
