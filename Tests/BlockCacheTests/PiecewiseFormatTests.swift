// Formats that are read in pieces.

import BlockCache
import MemoryStore
import ObjectModel
import Testing

@Suite(.timeLimit(.minutes(3)))
struct PiecewiseFormatTests {
    @Test(
        arguments: [
            ([0x89, 0x48, 0x44, 0x46, 0x0d, 0x0a, 0x1a, 0x0a, 0, 0], true), ([0x43, 0x44, 0x46, 1, 0], true),
            ([0x43, 0x44, 0x46, 5], true), ([0x43, 0x44, 0x46, 3], false), ([0x43, 0x44, 0x46], false),
            ([0x89, 0x48, 0x44], false), (Array("a,b,c\n1,2,3\n".utf8), false),
        ] as [([UInt8], Bool)])
    func theFirstBytesTell(beginning: [UInt8], isIt: Bool) async throws {
        let fixture = Fixture()
        fixture.store.write(beginning, at: "k")
        let version = fixture.store.info(at: "k")!.version
        #expect(!fixture.cache.isReadInPieces(version), "not known yet")
        _ = try await fixture.cache.read(version, range: ByteRange(0, version.byteCount))
        #expect(fixture.cache.isReadInPieces(version) == isIt)
    }

    /// Its first run brings no more ahead than was read, where another object's brings four times as much.
    @Test(arguments: [true, false]) func lessComesAheadOfThem(isIt: Bool) async throws {
        let fixture = Fixture(blockCount: 8192)
        var bytes = Fixture.bytes(16 << 20)
        if isIt { bytes.replaceSubrange(0..<8, with: [0x89, 0x48, 0x44, 0x46, 0x0d, 0x0a, 0x1a, 0x0a]) }
        fixture.store.write(bytes, at: "k")
        let version = fixture.store.info(at: "k")!.version
        _ = try await fixture.cache.read(version, range: ByteRange(0, 4096))
        let stream = ReadStream(version: version)
        for offset in stride(from: 0, to: 2 << 20, by: 128 << 10) {
            try await fixture.expectRead(stream, ByteRange(offset, offset + (128 << 10)), of: bytes)
        }
        await fixture.settle()
        let end = fixture.ranges.map(\.upperBound).max()!
        #expect(isIt ? end <= 5 << 20 : end > 8 << 20, "\(end)")
    }
}
