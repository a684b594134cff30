// The file format of the disk tier: what stands before the blocks of a segment. Pure; doc/design/disk-cache.md has the
// layout and the reasons.

internal import Base
internal import ObjectModel

/// Which stretch of which object version a file holds.
struct SegmentIdentity: Sendable, Equatable {
    /// Blocks of one segment; the unit of eviction.
    static let blockCount = 128

    /// Tells the bucket from any other: endpoint and bucket name.
    let bucket: String
    let version: ObjectVersion
    let blockBytes: Int
    /// Counts the segments of the object from 0.
    let number: Int

    /// The blocks of the object that belong to it.
    var blocks: Range<Int> {
        let total = (version.byteCount + blockBytes - 1) / blockBytes
        return number * Self.blockCount..<min((number + 1) * Self.blockCount, total)
    }

    /// The length of a block of the object in bytes.
    func byteCount(ofBlock index: Int) -> Int { min(blockBytes, version.byteCount - index * blockBytes) }

    /// Where a block stands in the file.
    func fileOffset(ofBlock index: Int) -> Int {
        SegmentHeader.byteCount + (index - blocks.lowerBound) * blockBytes
    }
}

/// The first page of a segment file.
///
/// All but the table and the use is written once, before the file has its name, and carries a CRC of its own. A table
/// entry is written after the bytes of its block.
struct SegmentHeader: Sendable, Equatable {
    static let byteCount = 4096
    static let formatVersion: UInt32 = 1
    static let magic: [UInt8] = Array("PAILBLK\n".utf8)

    /// Positions in the page; numbers are little-endian.
    enum Field {
        static let formatVersion = 8, blockBytes = 12, objectBytes = 16, number = 24
        static let bucketBytes = 28, keyBytes = 30, etagBytes = 32
        static let bornSeconds = 36, checksum = 44
        static let lastUseSeconds = 48, useCount = 52
        static let table = 64, text = 64 + 4 * SegmentIdentity.blockCount
    }

    /// What identity, key and ETag may have together; versions with longer ones are not kept on disk.
    static let textBytesMax = byteCount - Field.text

    let identity: SegmentIdentity
    /// When the file was made, in seconds since 1970.
    let bornSeconds: UInt32
    /// When a block of it was last found again, and how often, counted at intervals.
    var lastUseSeconds: UInt32 = 0
    var useCount: UInt32 = 0
    /// For each block the mark of its bytes; 0 for one that is not there.
    var table = [UInt32](repeating: 0, count: SegmentIdentity.blockCount)

    init(_ identity: SegmentIdentity, bornSeconds: UInt32) {
        self.identity = identity
        self.bornSeconds = bornSeconds
    }

    /// The table entry of a block with these bytes: their CRC-32C, never 0.
    static func mark(_ bytes: UnsafeRawBufferPointer) -> UInt32 { max(1, CRC32C.of(bytes)) }

    /// Whether a version can be described by a header at all.
    static func canDescribe(_ version: ObjectVersion, bucket: String) -> Bool {
        bucket.utf8.count + version.key.bytes.count + version.etag.value.utf8.count <= textBytesMax
            && version.byteCount > 0
    }

    /// What the file takes on disk with the blocks that are there, in bytes.
    var storedBytes: Int {
        identity.blocks.reduce(Self.byteCount) { sum, index in
            guard table[index - identity.blocks.lowerBound] != 0 else { return sum }
            return sum + (identity.byteCount(ofBlock: index) + 4095) & ~4095
        }
    }

    // MARK: Bytes

    /// The page.
    func encoded() -> [UInt8] {
        var page = [UInt8](repeating: 0, count: Self.byteCount)
        func put(_ value: some FixedWidthInteger, _ offset: Int) {
            page.withUnsafeMutableBytes {
                $0.storeBytes(of: value.littleEndian, toByteOffset: offset, as: type(of: value))
            }
        }
        let texts = [identity.bucket, identity.version.key.string, identity.version.etag.value]
        page.replaceSubrange(0..<Self.magic.count, with: Self.magic)
        put(Self.formatVersion, Field.formatVersion)
        put(UInt32(identity.blockBytes), Field.blockBytes)
        put(UInt64(identity.version.byteCount), Field.objectBytes)
        put(UInt32(identity.number), Field.number)
        for (text, field) in zip(texts, [Field.bucketBytes, Field.keyBytes, Field.etagBytes]) {
            put(UInt16(text.utf8.count), field)
        }
        put(bornSeconds, Field.bornSeconds)
        var offset = Field.text
        for text in texts {
            page.replaceSubrange(offset..<offset + text.utf8.count, with: text.utf8)
            offset += text.utf8.count
        }
        put(Self.checksum(page, textBytes: offset - Field.text), Field.checksum)
        put(lastUseSeconds, Field.lastUseSeconds)
        put(useCount, Field.useCount)
        for (position, mark) in table.enumerated() { put(mark, Field.table + 4 * position) }
        return page
    }

    /// Reads a page; nil for anything but a whole header of this format.
    static func parse(_ page: [UInt8]) -> SegmentHeader? {
        guard page.count == byteCount, page.starts(with: magic) else { return nil }
        func number<Value: FixedWidthInteger>(_ offset: Int, _: Value.Type) -> Value {
            page.withUnsafeBytes { Value(littleEndian: $0.loadUnaligned(fromByteOffset: offset, as: Value.self)) }
        }
        guard number(Field.formatVersion, UInt32.self) == formatVersion else { return nil }
        let lengths = [Field.bucketBytes, Field.keyBytes, Field.etagBytes].map { Int(number($0, UInt16.self)) }
        let textBytes = lengths.reduce(0, +)
        guard textBytes <= textBytesMax,
            number(Field.checksum, UInt32.self) == checksum(page, textBytes: textBytes)
        else { return nil }
        var texts: [String] = []
        var offset = Field.text
        for length in lengths {
            guard let text = String(validating: page[offset..<offset + length], as: UTF8.self) else { return nil }
            texts.append(text)
            offset += length
        }
        let blockBytes = Int(number(Field.blockBytes, UInt32.self))
        let objectBytes = number(Field.objectBytes, UInt64.self)
        let segment = Int(number(Field.number, UInt32.self))
        // No object of S3 has more than 50 TB, and no product below overflows.
        guard (4096...1 << 26).contains(blockBytes), (1...1 << 46).contains(objectBytes),
            segment * SegmentIdentity.blockCount * blockBytes < Int(objectBytes),
            let key = ObjectKey(texts[1]), let etag = ETag(texts[2]), etag.value == texts[2]
        else { return nil }
        let version = ObjectVersion(key: key, etag: etag, byteCount: Int(objectBytes))
        var header = SegmentHeader(
            SegmentIdentity(bucket: texts[0], version: version, blockBytes: blockBytes, number: segment),
            bornSeconds: number(Field.bornSeconds, UInt32.self))
        header.lastUseSeconds = number(Field.lastUseSeconds, UInt32.self)
        header.useCount = number(Field.useCount, UInt32.self)
        header.table = (0..<SegmentIdentity.blockCount).map { number(Field.table + 4 * $0, UInt32.self) }
        return header
    }

    /// Of everything that is written once: the numbers before the checksum, and the text.
    private static func checksum(_ page: [UInt8], textBytes: Int) -> UInt32 {
        page.withUnsafeBytes { page in
            var crc = CRC32C()
            crc.update(UnsafeRawBufferPointer(rebasing: page[..<Field.checksum]))
            crc.update(UnsafeRawBufferPointer(rebasing: page[Field.text..<Field.text + textBytes]))
            return crc.value
        }
    }
}
