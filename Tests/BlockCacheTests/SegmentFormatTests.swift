// The header and the names of segment files: round trips, damage, and whatever bytes there may be.

import Base
import ObjectModel
import Testing

@testable import BlockCache

@Suite(.timeLimit(.minutes(3)))
struct SegmentFormatTests {
    static func identity(
        _ key: String = "a/b", etag: String = "e1", bucket: String = "http://server bucket",
        byteCount: Int = 1_000_000, number: Int = 1
    ) -> SegmentIdentity {
        let version = ObjectVersion(key: ObjectKey(key)!, etag: ETag(etag)!, byteCount: byteCount)
        return SegmentIdentity(bucket: bucket, version: version, blockBytes: 4096, number: number)
    }

    static func header() -> SegmentHeader {
        var header = SegmentHeader(identity("ключ/ü"), bornSeconds: 1_700_000_000)
        header.lastUseSeconds = 1_700_000_100
        header.useCount = 7
        for position in stride(from: 0, to: 100, by: 3) { header.table[position] = UInt32(position) &* 0x9e37_79b9 | 1 }
        return header
    }

    @Test func headersComeBack() throws {
        let header = Self.header()
        let page = header.encoded()
        #expect(page.count == 4096)
        #expect(SegmentHeader.parse(page) == header)
    }

    @Test func theLongestTextsFit() throws {
        let key = String(repeating: "k", count: 1024)
        let bucket = String(repeating: "b", count: SegmentHeader.textBytesMax - 1026)
        let identity = Self.identity(key, etag: "e1", bucket: bucket)
        #expect(SegmentHeader.canDescribe(identity.version, bucket: bucket))
        #expect(!SegmentHeader.canDescribe(identity.version, bucket: bucket + "b"))
        #expect(SegmentHeader.parse(SegmentHeader(identity, bornSeconds: 0).encoded())?.identity == identity)
    }

    /// A changed bit in what is written once is noticed; elsewhere it never changes what the file claims to hold.
    @Test func everyFlippedBitIsHarmless() {
        let header = Self.header()
        let page = header.encoded()
        let once = Set(Array(0..<48) + Array(576..<576 + 20 + 11 + 2))
        for position in page.indices {
            var damaged = page
            damaged[position] ^= 1 << UInt8(position % 8)
            let parsed = SegmentHeader.parse(damaged)
            let isHarmless = once.contains(position) ? parsed == nil : parsed?.identity == header.identity
            if !isHarmless { Issue.record("byte \(position)") }
        }
    }

    @Test func tornPagesAreNoHeaders() {
        let page = Self.header().encoded()
        for count in 0..<page.count where SegmentHeader.parse(Array(page[..<count])) != nil {
            Issue.record("a page of \(count) bytes")
        }
        for count in 0..<576 + 33 {
            #expect(SegmentHeader.parse(page[..<count] + [UInt8](repeating: 0, count: 4096 - count)) == nil)
        }
    }

    /// Random pages, and sound ones with random numbers and a checksum that fits: parsed or refused, never trapped.
    @Test(arguments: 0..<8 as Range<UInt64>)
    func whateverTheBytes(seed: UInt64) {
        var dice = Dice(state: seed)
        let sound = Self.header().encoded()
        for _ in 0..<400 {
            var page = sound
            for _ in 0..<Int.random(in: 1...6, using: &dice) {
                let field = [12, 16, 20, 24, 28, 30, 32, 36, 576, 600].randomElement(using: &dice)!
                page[field + Int.random(in: 0..<4, using: &dice)] = UInt8.random(in: 0...255, using: &dice)
            }
            let lengths = [28, 30, 32].map { Int(page[$0]) | Int(page[$0 + 1]) << 8 }
            let textBytes = min(lengths.reduce(0, +), SegmentHeader.textBytesMax)
            let crc = CRC32C.of(Array(page[..<44]) + Array(page[576..<576 + textBytes]))
            for byte in 0..<4 { page[44 + byte] = UInt8(truncatingIfNeeded: crc >> (8 * UInt32(byte))) }
            guard let parsed = SegmentHeader.parse(page) else { continue }
            // What is taken for a header can be worked with.
            #expect(parsed.storedBytes >= SegmentHeader.byteCount)
            #expect(!parsed.identity.blocks.isEmpty)
            #expect(SegmentHeader.parse(parsed.encoded()) == parsed)
        }
    }

    @Test func namesTellVersionsApart() {
        let identities = [
            Self.identity(), Self.identity(number: 0), Self.identity("a/c"), Self.identity(etag: "e2"),
            Self.identity(bucket: "http://server bucket2"), Self.identity(byteCount: 1_000_001),
            // Without lengths between them these would be one text.
            Self.identity("a", etag: "1e1"), Self.identity("a1", etag: "e1"),
        ]
        let names = identities.map { SegmentName($0) }
        #expect(Set(names).count == identities.count)
        for name in names {
            let parts = name.path.split(separator: "/").map(String.init)
            #expect(SegmentName(directory: parts[0], file: parts[1]) == name)
        }
    }

    @Test(arguments: [
        ("ab", ""), ("ab", "-"), ("ab", "x-0"), ("ab", String(repeating: "c", count: 30)),
        ("ab", String(repeating: "c", count: 30) + "-"), ("ab", String(repeating: "c", count: 30) + "-00"),
        ("ab", String(repeating: "C", count: 30) + "-0"), ("ab", String(repeating: "c", count: 30) + "-100000000"),
        ("ab", "+" + String(repeating: "c", count: 29) + "-0"), ("a", String(repeating: "c", count: 31) + "-0"),
        ("ab", String(repeating: "c", count: 30) + "-0-0"), ("новое", "x"),
    ])
    func otherNamesAreNone(directory: String, file: String) {
        #expect(SegmentName(directory: directory, file: file) == nil)
    }
}
