// Listings: order, pages, delimiter, prefixes.

import Base
import MemoryStore
import ObjectModel
import ObjectStore
import Testing

extension Conformance {
    @Suite(.timeLimit(.minutes(5)))
    struct Listings {
        @Test(arguments: StoreUnderTest.all)
        func manyKeys(_ target: StoreUnderTest) async throws {
            try await Bench.check("list.manyKeys", on: target) { bench in
                // 2,500 keys: 500 beside 1,000 directories of two, spread so that both kinds alternate.
                let names = (0..<1500).flatMap { index in
                    index % 3 == 0 ? ["n\(index)"] : ["n\(index)/one", "n\(index)/two"]
                }
                try await inParallel(names.count, width: 32) { index in
                    try await bench.put(bench.key(names[index]), [UInt8](repeating: 7, count: index % 5))
                }
                let wanted = names.map(bench.key).sorted()

                let flat = try await bench.listAll(bench.prefix)
                #expect(flat.pageCount == 3)
                #expect(flat.prefixes == [])
                let isSame = flat.objects.map(\.key) == wanted
                #expect(isSame, "keys in the order of their bytes, each once")
                let sizes = Dictionary(uniqueKeysWithValues: names.enumerated().map { (bench.key($1), $0 % 5) })
                #expect(flat.objects.allSatisfy { sizes[$0.key] == $0.version.byteCount })

                let wantedFiles = (0..<1500).filter { $0 % 3 == 0 }.map { bench.key("n\($0)") }.sorted()
                let wantedDirectories = (0..<1500).filter { $0 % 3 != 0 }
                    .map { bench.key("n\($0)/").bytes }.sorted().map(\.string)
                for (entryCountMax, pageCount) in [(1000, 2), (500, 3), (77, 20)] {
                    let tree = try await bench.listAll(bench.prefix, delimited: true, entryCountMax: entryCountMax)
                    #expect(tree.objects.map(\.key) == wantedFiles)
                    #expect(tree.prefixes == wantedDirectories)
                    // Real servers may cut a page early.
                    #expect(
                        target.isServer ? tree.pageCount >= pageCount : tree.pageCount == pageCount,
                        "full pages, and none empty after the last")
                }
            }
        }

        @Test(arguments: StoreUnderTest.all)
        func byteOrder(_ target: StoreUnderTest) async throws {
            try await Bench.check("list.byteOrder", on: target) { bench in
                // UTF-16 would put U+10000 before U+FFFD; a tree of directories `a/1` before `a b`; a locale `a` before `Z`.
                let names = [
                    "a", "Z", "z", "a b", "a-1", "a.txt", "a/1", "a0", "\u{e9}", "e\u{301}", "\u{fffd}", "\u{10000}",
                ]
                for name in names { try await bench.put(bench.key(name), []) }
                let wanted = names.map(bench.key).sorted()
                #expect(try await bench.listAll(bench.prefix).objects.map(\.key) == wanted)
                #expect(try await bench.listAll(bench.prefix, entryCountMax: 1).objects.map(\.key) == wanted)
            }
        }

        @Test(arguments: StoreUnderTest.all)
        func fileBesideDirectory(_ target: StoreUnderTest) async throws {
            try await Bench.check("list.fileBesideDirectory", on: target) { bench in
                for name in ["a", "a/", "a/b", "a/b/c", "a-"] { try await bench.put(bench.key(name), []) }
                let top = try await bench.listAll(bench.prefix, delimited: true)
                #expect(top.objects.map(\.key) == ["a", "a-"].map(bench.key))
                #expect(top.prefixes == [bench.prefix + "a/"])
                let inner = try await bench.listAll(bench.prefix + "a/", delimited: true)
                #expect(inner.objects.map(\.key) == ["a/", "a/b"].map(bench.key))
                #expect(inner.prefixes == [bench.prefix + "a/b/"])
            }
        }

        @Test(arguments: StoreUnderTest.all)
        func emptyComponent(_ target: StoreUnderTest) async throws {
            try await Bench.check("list.emptyComponent", on: target) { bench in
                for name in ["x//y", "x/z"] { try await bench.put(bench.key(name), []) }
                let listing = try await bench.listAll(bench.prefix + "x/", delimited: true)
                #expect(listing.objects.map(\.key) == [bench.key("x/z")])
                #expect(listing.prefixes == [bench.prefix + "x//"])
            }
        }

        @Test(
            arguments: StoreUnderTest.all,
            [
                ("", ["ab/1", "ab/2", "abc", "b"]), ("a", ["ab/1", "ab/2", "abc"]), ("ab", ["ab/1", "ab/2", "abc"]),
                ("ab/", ["ab/1", "ab/2"]), ("abc", ["abc"]), ("abcd", []), ("c", []),
            ])
        func prefix(_ target: StoreUnderTest, table: (prefix: String, found: [String])) async throws {
            try await Bench.check("list.prefix", on: target) { bench in
                for name in ["ab/1", "ab/2", "abc", "b"] { try await bench.put(bench.key(name), []) }
                let listing = try await bench.listAll(bench.prefix + table.prefix)
                #expect(listing.objects.map(\.key) == table.found.map(bench.key))
                #expect(listing.pageCount == 1)
            }
        }

        @Test(
            arguments: StoreUnderTest.all,
            [("space", "a b"), ("plus", "a+b"), ("percent", "a%2Fb"), ("unicode", "\u{e9}\u{65e5}"), ("xml", "<&>\"'")])
        func oddPrefix(_ target: StoreUnderTest, odd: (name: String, text: String)) async throws {
            try await Bench.check("list.oddPrefix-\(odd.name)", on: target) { bench in
                try await inParallel(3) { try await bench.put(bench.key("\(odd.text)/\(odd.text)\($0)/x"), []) }
                let outer = try await bench.listAll(bench.prefix, delimited: true)
                #expect(outer.prefixes.map { ByteString($0) } == [ByteString(bench.prefix + odd.text + "/")])
                let inner = try await bench.listAll(
                    bench.prefix + odd.text + "/", delimited: true, entryCountMax: 2)
                #expect(
                    inner.prefixes.map { ByteString($0) }
                        == (0..<3).map { ByteString("\(bench.prefix)\(odd.text)/\(odd.text)\($0)/") })
                #expect(inner.pageCount == 2)
            }
        }

        @Test(arguments: StoreUnderTest.all)
        func startAfter(_ target: StoreUnderTest) async throws {
            try await Bench.check("list.startAfter", on: target) { bench in
                let names = ["a", "b", "b c", "d", "\u{e9}"]
                for name in names { try await bench.put(bench.key(name), []) }
                for (start, wanted) in [
                    ("a", 1), ("aa", 1), ("b", 2), ("b c", 3), ("0", 0), ("\u{e9}", 5), ("z", 4),
                ] {
                    let listing = try await bench.listAll(
                        bench.prefix, startAfter: bench.key(start), entryCountMax: 2)
                    #expect(listing.objects.map(\.key) == names[wanted...].map(bench.key), "after \(start)")
                }
            }
        }

        @Test(arguments: StoreUnderTest.all)
        func fullLastPage(_ target: StoreUnderTest) async throws {
            try await Bench.check("list.fullLastPage", on: target) { bench in
                for name in ["a", "b", "c/x", "d/x"] { try await bench.put(bench.key(name), []) }
                let page = try await bench.store.list(
                    ListRequest(prefix: ByteString(bench.prefix), delimited: true, entryCountMax: 4))
                #expect(page.objects.count == 2 && page.commonPrefixes.count == 2)
                #expect(page.continuation == nil)
            }
        }

        /// After an answer, every listing shows it.
        @Test(arguments: StoreUnderTest.all)
        func consistency(_ target: StoreUnderTest) async throws {
            try await Bench.check("list.consistency", on: target) { bench in
                for round in 0..<20 {
                    let key = bench.key("object-\(round)")
                    let etag = try await bench.put(key, [UInt8(round)])
                    let listing = try await bench.listAll(bench.prefix)
                    #expect(listing.objects.map(\.version) == [.init(key: key, etag: etag, byteCount: 1)])
                    try await bench.store.delete(key)
                    #expect(try await bench.listAll(bench.prefix).objects == [])
                }
            }
        }
    }
}
