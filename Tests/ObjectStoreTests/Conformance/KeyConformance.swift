// Keys that URLs, XML and signatures spell in special ways.

import Base
import MemoryStore
import ObjectModel
import ObjectStore
import Testing

/// A key's last part, and the name of its check.
struct OddKey: Sendable, CustomTestStringConvertible {
    let name: String
    let suffix: String

    var testDescription: String { name }

    static let all: [OddKey] = [
        .init(name: "space", suffix: "a b  c"),
        .init(name: "spaceAtEnds", suffix: " a "),
        .init(name: "plus", suffix: "a+b+"),
        .init(name: "percent", suffix: "100%"),
        .init(name: "percentEscape", suffix: "a%20b%2Fc%zz"),
        .init(name: "tilde", suffix: "~user.~1~"),
        .init(name: "quotes", suffix: "it's \"quoted\" `so`"),
        .init(name: "ampersand", suffix: "a&b&amp;c=d"),
        .init(name: "angles", suffix: "<a>]]><![CDATA["),
        .init(name: "query", suffix: "a?b=c#d"),
        .init(name: "reserved", suffix: "!*'();:@&=+$,[]{}|^"),
        .init(name: "backslash", suffix: "a\\b"),
        .init(name: "unicode", suffix: "gr\u{fc}n/\u{65e5}\u{672c}\u{8a9e}/\u{1f600}"),
        .init(name: "nfc", suffix: "caf\u{e9}"),
        .init(name: "nfd", suffix: "cafe\u{301}"),
        .init(name: "control", suffix: "a\u{1}b\u{1f}c\u{7f}"),
        .init(name: "tab", suffix: "a\tb"),
        .init(name: "newline", suffix: "a\nb\r\nc"),
        .init(name: "noncharacter", suffix: "a\u{fffe}b\u{ffff}c"),
        .init(name: "slashAtEnd", suffix: "marker/"),
        .init(name: "doubleSlash", suffix: "a//b"),
        .init(name: "dot", suffix: "a/./b"),
        .init(name: "dotDot", suffix: "a/../b"),
        .init(name: "component255", suffix: String(repeating: "n", count: 255)),
        .init(name: "component256", suffix: String(repeating: "n", count: 256)),
    ]
}

extension Conformance {
    @Suite(.timeLimit(.minutes(5)))
    struct Keys {
        /// Each call that names a key must name exactly this one.
        @Test(arguments: StoreUnderTest.all, OddKey.all)
        func odd(_ target: StoreUnderTest, odd: OddKey) async throws {
            try await Bench.check("key.\(odd.name)", on: target) { bench in
                try await Self.everyCall(bench, bench.key(odd.suffix))
            }
        }

        @Test(arguments: StoreUnderTest.all, [("ascii", "k"), ("threeByte", "\u{65e5}")])
        func longest(_ target: StoreUnderTest, kind: (name: String, unit: String)) async throws {
            try await Bench.check("key.longest-\(kind.name)", on: target) { bench in
                // Components of at most 200 bytes, so that only the whole key is extreme.
                var text = bench.prefix
                while text.utf8.count + kind.unit.utf8.count <= 1024 {
                    let componentBytes = text.split(separator: "/", omittingEmptySubsequences: false).last!.utf8.count
                    text += componentBytes >= 200 ? "/" : kind.unit
                }
                while text.utf8.count < 1024 { text += "z" }
                try await Self.everyCall(bench, MemoryStore.objectKey(text))
            }
        }

        private static func everyCall(_ bench: Bench, _ key: ObjectKey) async throws {
            let bytes = randomBytes(50, seed: 3)
            let etag = try await bench.put(key, bytes)
            #expect(try await bench.store.head(key).version == ObjectVersion(key: key, etag: etag, byteCount: 50))
            #expect(try await bench.get(key, etag: etag, range: ByteRange(10, 20)).bytes == Array(bytes[10..<20]))
            #expect(try await bench.listAll(bench.prefix).objects.map(\.key) == [key])
            #expect(try await bench.listAll(key.string).objects.map(\.key) == [key])

            // As the source and the destination of a copy.
            let plain = bench.key("copy")
            let source = ObjectVersion(key: key, etag: etag, byteCount: 50)
            let copied = try await bench.store.copy(CopyRequest(source: source, destination: plain))
            try await bench.expectBody(plain, bytes)
            try await bench.store.delete(key)
            let back = ObjectVersion(key: plain, etag: copied, byteCount: 50)
            _ = try await bench.store.copy(CopyRequest(source: back, destination: key))
            try await bench.expectBody(key, bytes)

            // As an upload.
            let upload = try await bench.store.createUpload(key, properties: .init())
            let part = try await bench.store.uploadPart(upload, key: key, number: 1, body: ByteArraySource([1, 2]))
            #expect(try await bench.store.listParts(upload, key: key).map(\.etag) == [part])
            _ = try await bench.store.completeUpload(
                upload, key: key, parts: [.init(number: 1, etag: part, byteCount: 2)], condition: .none)
            try await bench.expectBody(key, [1, 2])

            // In a bulk delete, whose body is XML.
            #expect(try await bench.store.delete([key, plain]).isEmpty)
            #expect(try await bench.listAll(bench.prefix).objects.map(\.key) == [])
        }

        /// Spellings that only look alike are different objects.
        @Test(
            arguments: StoreUnderTest.all,
            [
                ("normalization", ["caf\u{e9}", "cafe\u{301}"]), ("case", ["Name", "name"]),
                ("slash", ["a", "a/", "a/b"]), ("slashes", ["x/y", "x//y"]), ("escape", ["a b", "a+b", "a%20b"]),
            ])
        func distinct(_ target: StoreUnderTest, group: (name: String, suffixes: [String])) async throws {
            try await Bench.check("key.distinct-\(group.name)", on: target) { bench in
                for (index, suffix) in group.suffixes.enumerated() {
                    try await bench.put(bench.key(suffix), [UInt8(index)])
                }
                for (index, suffix) in group.suffixes.enumerated() {
                    try await bench.expectBody(bench.key(suffix), [UInt8(index)])
                }
                #expect(
                    try await bench.listAll(bench.prefix).objects.map(\.key) == group.suffixes.map(bench.key).sorted())
                try await bench.store.delete(bench.key(group.suffixes[0]))
                try await bench.expectBody(bench.key(group.suffixes[1]), [1])
            }
        }

        @Test(arguments: StoreUnderTest.all)
        func markerWithProperties(_ target: StoreUnderTest) async throws {
            try await Bench.check("key.marker", on: target) { bench in
                let key = bench.key("directory/")
                let metadata = ["mode": "16877", "mtime": "1700000000.5"]
                try await bench.put(key, [], properties: .init(metadata: metadata))
                #expect(try await bench.store.head(key).properties.metadata == metadata)
                await bench.expectFailure(.notFound) { () throws(StoreError) in
                    try await bench.store.head(bench.key("directory"))
                }
            }
        }

        /// A directory without a marker is no object.
        @Test(arguments: StoreUnderTest.all)
        func implicitDirectory(_ target: StoreUnderTest) async throws {
            try await Bench.check("key.implicitDirectory", on: target) { bench in
                try await bench.put(bench.key("directory/file"), [1])
                for suffix in ["directory", "directory/"] {
                    await bench.expectFailure(.notFound) { () throws(StoreError) in
                        try await bench.store.head(bench.key(suffix))
                    }
                }
                try await bench.store.delete(bench.key("directory/file"))
                #expect(try await bench.listAll(bench.prefix, delimited: true).prefixes == [])
            }
        }
    }
}
