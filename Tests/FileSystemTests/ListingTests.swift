// Listings page by page: names, order, positions, and the directories that come ahead.

import Base
import MemoryStore
import ObjectModel
import ObjectStore
import Testing

@testable import FileSystem

@Suite(.timeLimit(.minutes(5)))
struct ListingTests {
    private func object(_ key: String, byteCount: Int = 1) -> ListedObject {
        let version = ObjectVersion(key: ObjectKey(key)!, etag: ETag("e")!, byteCount: byteCount)
        return ListedObject(version: version, lastModified: Timestamp(seconds: 1))
    }

    /// Who comes to a listing that is about to stop begins another one; who comes before keeps it going.
    @Test func regression_aReaderIsNotLostToAListingThatStops() {
        let left = ListingFlight(startedAt: 1)
        #expect(left.want(pageCount: 1, isReader: true))
        left.add([])
        left.removeReader()
        guard case .stop = left.next else { return #expect(Bool(false), "nobody reads it") }
        #expect(!left.want(pageCount: 1, isReader: true))
        let kept = ListingFlight(startedAt: 1)
        #expect(kept.want(pageCount: 1, isReader: true))
        kept.add([])
        guard case .fetch = kept.next else { return #expect(Bool(false), "somebody reads it") }
    }

    /// Pages of any size give the same names, each once: whatever follows a key a page later.
    @Test(arguments: 1...9)
    func pagesOfAnySizeGiveTheSame(pageCount: Int) async throws {
        let store = MemoryStore()
        for key in [
            "p/", "p/a", "p/a b", "p/a!", "p/a/b", "p/a-1", "p/a.txt", "p/b", "p/b0", "p/b_", "p/c_$folder$", "p/c",
            "p/d/",
            "p/d_$folder$", "p/e//f", "p/./x", "p/\u{e9}", "p/e\u{301}", "p/a/b/c",
        ] { store.write(key.hasSuffix("$") || key.hasSuffix("/") ? "" : "x", at: key) }
        var builder = ListingBuilder(prefix: "p/")
        var names: [String] = []
        var directories: Set<String> = []
        var request = ListRequest(prefix: "p/", delimited: true, entryCountMax: pageCount)
        repeat {
            let page = try await store.list(request)
            request.continuation = page.continuation
            for item in builder.add(
                objects: page.objects, commonPrefixes: page.commonPrefixes, isLast: page.continuation == nil)
            {
                names.append(item.name.string)
                if item.entry == .directory { directories.insert(item.name.string) }
            }
        } while request.continuation != nil
        #expect(
            names.sorted()
                == [
                    "%pail-dot", "%pail-file-a", "%pail-file-c", "a", "a b", "a!", "a-1", "a.txt", "b", "b0", "b_", "c",
                    "d",
                    "e", "e\u{301}", "\u{e9}",
                ].sorted())
        #expect(directories == ["a", "c", "d", "e", "%pail-dot"])
        #expect(builder.marker?.key.string == "p/")
    }

    /// A listing without delimiter gives for each directory what its own listing gives.
    @Test(arguments: 0..<60)
    func aSubtreeIsTheListingsOfItsDirectories(seed: UInt64) async throws {
        var generator = SeededGenerator(seed: seed)
        let store = MemoryStore()
        let alphabet = ["a", "b", "c", "a b", "a-", "a/", "b/", "c/", "d/", "/", ".", "_$folder$"]
        for _ in 0..<60 {
            var key = "p/"
            for _ in 0..<Int.random(in: 1...6, using: &generator) { key += alphabet.randomElement(using: &generator)! }
            store.write(Bool.random(using: &generator) ? "" : "x", at: key)
        }
        var subtree = SubtreeListing(prefix: "p/", startedAt: 5)
        var request = ListRequest(
            prefix: "p/", delimited: false, entryCountMax: Int.random(in: 1...40, using: &generator))
        repeat {
            let page = try await store.list(request)
            subtree.add(page.objects)
            request.continuation = page.continuation
            // What is whole after any page is whole.
            for (name, directory) in subtree.children { try await compare(name, directory, in: "p/", store) }
        } while request.continuation != nil
        subtree.finish()
        #expect(subtree.isInOrder)
        var above = ListingBuilder(prefix: "p/")
        let page = try await store.list(ListRequest(prefix: "p/", delimited: true))
        let top = above.add(objects: page.objects, commonPrefixes: page.commonPrefixes, isLast: true)
        let markers = Set(page.commonPrefixes.map { $0.dropFirst(2).string })
        for item in top
        where item.entry == .directory && markers.contains(NameCodec.segment(for: item.name).string + "/") {
            let directory = try #require(subtree.children[item.name])
            try await compare(item.name, directory, in: "p/", store)
        }
    }

    private func compare(
        _ name: FileName, _ directory: ListedDirectory, in prefix: ByteString, _ store: MemoryStore
    ) async throws {
        let below = prefix + NameCodec.segment(for: name) + "/"
        var builder = ListingBuilder(prefix: below)
        let page = try await store.list(ListRequest(prefix: below, delimited: true))
        let own = builder.add(objects: page.objects, commonPrefixes: page.commonPrefixes, isLast: true)
        #expect(
            Dictionary(uniqueKeysWithValues: own.map { ($0.name, $0.entry) })
                == Dictionary(uniqueKeysWithValues: directory.names.map { ($0.name, $0.entry) }), "\(below)")
        #expect(builder.marker == directory.marker)
        for (name, next) in directory.below { try await compare(name, next, in: below, store) }
    }

    @Test func keysOutOfOrderAreNoticed() {
        var subtree = SubtreeListing(prefix: "", startedAt: 0)
        subtree.add([object("b/1"), object("a/1")])
        #expect(!subtree.isInOrder)
    }

    // MARK: On a mount

    /// The names of the first page are there while the second one is not.
    @Test func theFirstEntriesComeWithTheFirstPage() async throws {
        let mount = try Mount()
        for index in 0..<2500 { mount.store.write("x", at: "f\(10000 + index)") }
        let root = try await mount.status("")
        let handle = try await mount.fileSystem.openDirectory(root.number).get()
        mount.store.pause(.listObjects)
        async let first = mount.fileSystem.entries(handle, from: 0, countMax: 100).get()
        await mount.store.untilHeld(.listObjects)
        mount.store.resumeOne(.listObjects)
        let entries = try await first
        #expect(entries.prefix(3).map(\.name) == [".", "..", "f10000"])
        await mount.store.untilHeld(.listObjects)
        // What has come is known, without another request.
        let counts = mount.requestsNow {
            let known = mount.fileSystem.find(
                parent: root.number, name: FileName("f10005")!, isReferenced: false, acceptsStale: false)
            if case .absent = known { Issue.record("a listed name is absent") }
        }
        #expect(counts.total == 0)
        mount.store.resume(.listObjects)
        var names = entries.map(\.name)
        while true {
            let piece = try await mount.fileSystem.entries(handle, from: names.count, countMax: 333).get()
            if piece.isEmpty { break }
            names += piece.map(\.name)
        }
        #expect(names.count == 2502)
        #expect(Set(names).count == 2502)
    }

    /// Whoever stops reading a large directory stops its listing.
    @Test func aListingThatNobodyFollowsStops() async throws {
        let mount = try Mount()
        for index in 0..<50_000 { mount.store.write("", at: "f\(100_000 + index)") }
        let counts = try await mount.requests {
            let root = try await mount.status("")
            let handle = try await mount.fileSystem.openDirectory(root.number).get()
            let entries = try await mount.fileSystem.entries(handle, from: 0, countMax: 100).get()
            #expect(entries.count == 102)
        }
        #expect((1...12).contains(counts[.listObjects]), "a few pages ahead, then no more: \(counts)")
        #expect(try await mount.names("").count == 50_000)
    }

    /// `ls -l`: the reader looks names up, and the listing waits for the reader.
    @Test func regression_lookupsDoNotWaitForAListingThatWaitsForThem() async throws {
        let mount = try Mount()
        for index in 0..<12_000 { mount.store.write("x", at: "f\(100_000 + index)") }
        let root = try await mount.status("")
        let handle = try await mount.fileSystem.openDirectory(root.number).get()
        let entries = try await mount.fileSystem.entries(handle, from: 0, countMax: 100).get()
        for entry in entries.dropFirst(2) {
            let status = try await mount.fileSystem.lookup(parent: root.number, name: entry.name).get()
            mount.fileSystem.forget(status.number, count: 1)
        }
    }

    /// What came ahead of a walk is still there when the listing that it belongs to has expired.
    @Test func regression_whatCameAheadDoesNotOutliveItsListing() async throws {
        let mount = try Mount()
        for directory in 0..<8 { for file in 0..<3 { mount.store.write("x", at: "w/d\(directory)/f\(file)") } }
        try await mount.withNode("w") { _ in
            _ = try await mount.names("w")
            for directory in 0..<3 { _ = try await mount.names("w/d\(directory)") }
            mount.expire()
            #expect(try await mount.status("w/d6").kind == .directory)
            #expect(try await mount.names("w/d6").count == 3)
        }
    }

    /// Positions mean the same while names come and go, and each name that stays is there once.
    @Test(arguments: [0, 1500])
    func positionsStayWhileTheDirectoryChanges(more: Int) async throws {
        let mount = try Mount()
        for index in 0..<100 { mount.store.write("x", at: "f\(1000 + index)") }
        for index in 0..<more { mount.store.write("x", at: "g\(1000 + index)") }
        let root = try await mount.status("")
        let handle = try await mount.fileSystem.openDirectory(root.number).get()
        let first = try await mount.fileSystem.entries(handle, from: 0, countMax: 50).get()
        let mark = try #require(first.last?.nextPosition)
        var following = try await mount.fileSystem.entries(handle, from: mark, countMax: 5).get().map(\.name)
        for name in first.map(\.name).dropFirst(2).prefix(20) { try await mount.unlink(name) }
        try await mount.write("a new one", "x")
        try await mount.write("f1005 too", "x")
        #expect(try await mount.fileSystem.entries(handle, from: mark, countMax: 5).get().map(\.name) == following)
        try await mount.unlink(following.removeFirst())
        #expect(
            try await mount.fileSystem.entries(handle, from: mark, countMax: 5).get().map(\.name).prefix(4)
                == following.prefix(4))
        var rest: [String] = []
        var position = mark
        while true {
            let piece = try await mount.fileSystem.entries(handle, from: position, countMax: 100).get()
            guard let last = piece.last else { break }
            rest += piece.map(\.name)
            position = last.nextPosition
        }
        let listed = Set(rest)
        #expect(listed.count == rest.count, "no name twice")
        for index in 0..<more { #expect(listed.contains("g\(1000 + index)")) }
        // From the beginning again: everything as it is now.
        let again = try await mount.names("")
        #expect(again.count == 100 + more - 21 + 2)
    }

    /// A file that was there before the directory was opened, and whose upload ended after the store had listed it.
    @Test(arguments: [false, true])
    func regression_whatIsPublishedWhileAListingComesIsInIt(isClosed: Bool) async throws {
        let mount = try Mount { $0.ttlNanoseconds = 0 }
        mount.store.write("x", at: "b")
        let file = try await mount.create("a")
        try await mount.write(file, Array("new".utf8), at: 0)
        mount.store.pause(.listObjects, at: .beforeAnswer)
        async let names = mount.names("")
        await mount.store.untilHeld(.listObjects, at: .beforeAnswer)
        try await mount.synchronise(file)
        if isClosed { try await mount.close(file) }
        mount.store.resume(.listObjects, at: .beforeAnswer)
        #expect(try await names.sorted() == ["a", "b"])
        if !isClosed { try await mount.close(file) }
    }

    /// `ls -l` of a hundred thousand objects of other tools.
    @Test func aLargeForeignDirectoryCostsItsPagesAndASample() async throws {
        let mount = try Mount(remembers: true)
        for index in 0..<100_000 { mount.store.write("x", at: "d/f\(100_000 + index)") }
        let counts = try await mount.requests {
            try await mount.withNode("d") { found in
                let handle = try await mount.fileSystem.openDirectory(found.number).get()
                var position = 0
                var count = 0
                while true {
                    let piece = try await mount.fileSystem.entries(handle, from: position, countMax: 200).get()
                    guard let last = piece.last else { break }
                    position = last.nextPosition
                    for entry in piece where entry.fileName != nil {
                        let status = try await mount.fileSystem.lookup(parent: found.number, name: entry.name).get()
                        mount.fileSystem.forget(status.number, count: 1)
                        count += 1
                    }
                }
                #expect(count == 100_000)
            }
        }
        // The directory itself is asked for by one more listing.
        #expect(counts[.listObjects] <= 101, "\(counts)")
        #expect(counts[.headObject] + counts[.getObject] <= 65, "\(counts)")
    }

    /// `find`: 200 directories of ten files, and two levels, cost a few listings.
    @Test(arguments: [false, true])
    func aWalkCostsFewListings(hasMarkers: Bool) async throws {
        let mount = try Mount { $0.attributePolicy = hasMarkers ? .listing : .adaptive }
        for directory in 100..<300 {
            if hasMarkers { mount.store.write("", at: "d\(directory)/") }
            for file in 0..<10 { mount.store.write("x", at: "d\(directory)/s/f\(file)") }
        }
        var found = 0
        let counts = try await mount.requests { found = try await self.walk(mount, "") }
        #expect(found == 200 + 200 + 2000)
        #expect(counts[.listObjects] <= 10, "\(counts)")
        #expect(counts[.headObject] <= 2, "\(counts)")
        // What changes in between is seen.
        mount.store.write("x", at: "d150/s/new")
        mount.expire()
        #expect(try await walk(mount, "") == 2401)
    }

    /// Walks as find does: all names of a directory, then the directories among them.
    private func walk(_ mount: Mount, _ path: String) async throws -> Int {
        try await mount.withNode(path) { _ in
            let entries = try await mount.list(path)
            var count = entries.count
            for entry in entries where entry.kind == .directory {
                count += try await self.walk(mount, path.isEmpty ? entry.name : "\(path)/\(entry.name)")
            }
            return count
        }
    }

    /// What this mount makes while a listing comes ahead is not lost by it.
    /// What a walk's listing brings that began before everything was forgotten is not believed.
    @Test func regression_aWalkDoesNotOutliveARefresh() async throws {
        let mount = try Mount()
        for index in 0..<5 { mount.store.write("x", at: "d\(index)/f") }
        _ = try await mount.names("")
        let last = try await mount.fileSystem.lookup(parent: 1, name: "d4").get()
        mount.store.pause(.listObjects, at: .beforeAnswer)
        let walking = Task { try await mount.status("d0") }
        await mount.store.untilHeld(.listObjects, at: .beforeAnswer)
        mount.store.write("x", at: "d4/new")
        mount.fileSystem.refresh(path: "")
        mount.store.resume(.listObjects, at: .beforeAnswer)
        _ = try? await walking.value
        #expect(try await mount.names("d4") == ["f", "new"])
        mount.fileSystem.forget(last.number, count: 1)
    }

    @Test func aWalkSeesWhatWasMadeMeanwhile() async throws {
        let mount = try Mount { $0.attributePolicy = .listing }
        for directory in 10..<20 { mount.store.write("x", at: "d\(directory)/f") }
        _ = try await mount.names("")
        _ = try await mount.names("d10")
        mount.store.pause(.listObjects, at: .beforeAnswer)
        async let second = mount.names("d11")
        await mount.store.untilHeld(.listObjects, at: .beforeAnswer)
        mount.store.resume(.listObjects, at: .beforeAnswer)
        async let made: Void = mount.write("d15/new", "x")
        _ = try await second
        try await made
        await mount.drain()
        #expect(try await mount.names("d15").sorted() == ["f", "new"])
        try await mount.unlink("d16/f")
        #expect(try await mount.names("d16") == [])
    }
}

/// Numbers that follow from a seed.
private struct SeededGenerator: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) { state = seed &* 0x9e37_79b9_7f4a_7c15 &+ 0x1234_5678 }

    mutating func next() -> UInt64 {
        state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        return StableHash.of(String(state).utf8)
    }
}
