// The checksum of everything that pail writes to a local disk for itself (journal records, cached blocks).

internal import CLinux

/// CRC-32C (Castagnoli, RFC 3720 appendix B.4), reflected, as iSCSI, ext4 and S3's `x-amz-checksum-crc32c` use it.
public struct CRC32C: Sendable {
    private var state: UInt32 = 0xffff_ffff

    public init() {}

    public var value: UInt32 { ~state }

    public mutating func update(_ bytes: UnsafeRawBufferPointer) {
        if Self.isInstruction {
            state = pail_crc32c(state, bytes.baseAddress, Int64(bytes.count))
        } else {
            updateByTable(bytes)
        }
    }

    /// Whether the processor has an instruction for it: some 20 GB/s for each core, where the table gives 1 to 2.
    private static let isInstruction = pail_prepare_crc32c() != 0

    /// For processors without the instruction. Gives the same value, whichever of the two is used in between.
    mutating func updateByTable(_ bytes: UnsafeRawBufferPointer) {
        var crc = state
        Self.tables.withUnsafeBufferPointer { table in
            var index = 0
            let count = bytes.count
            // Slicing by eight: one step for eight bytes.
            while index + 8 <= count {
                let word =
                    UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: index, as: UInt64.self)) ^ UInt64(crc)
                var next: UInt32 = 0
                for lane in 0..<8 {
                    next ^= table[(7 - lane) &* 256 &+ Int((word &>> UInt64(lane &* 8)) & 0xff)]
                }
                crc = next
                index &+= 8
            }
            while index < count {
                crc = table[Int((crc ^ UInt32(bytes[index])) & 0xff)] ^ (crc &>> 8)
                index &+= 1
            }
        }
        state = crc
    }

    public static func of(_ bytes: UnsafeRawBufferPointer) -> UInt32 {
        var crc = CRC32C()
        crc.update(bytes)
        return crc.value
    }

    public static func of(_ bytes: [UInt8]) -> UInt32 {
        bytes.withUnsafeBytes { of($0) }
    }

    private static let tables: [UInt32] = {
        var tables = [UInt32](repeating: 0, count: 8 * 256)
        for index in 0..<256 {
            var crc = UInt32(index)
            for _ in 0..<8 { crc = crc & 1 == 1 ? (crc >> 1) ^ 0x82f6_3b78 : crc >> 1 }
            tables[index] = crc
        }
        for lane in 1..<8 {
            for index in 0..<256 {
                let previous = tables[(lane - 1) * 256 + index]
                tables[lane * 256 + index] = tables[Int(previous & 0xff)] ^ (previous >> 8)
            }
        }
        return tables
    }()
}
