// The checksum that S3 keeps of each new object.

/// CRC-64/NVME (NVM Express base specification), reflected, as `x-amz-checksum-crc64nvme` carries it.
public struct CRC64NVME: Sendable {
    private var state: UInt64 = .max

    public init() {}

    public var value: UInt64 { ~state }

    public mutating func update(_ bytes: UnsafeRawBufferPointer) {
        var crc = state
        Self.tables.withUnsafeBufferPointer { table in
            var index = 0
            let count = bytes.count
            // Slicing by eight: one step for eight bytes.
            while index &+ 8 <= count {
                let word = UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: index, as: UInt64.self)) ^ crc
                var next: UInt64 = 0
                for lane in 0..<8 {
                    next ^= table[(7 &- lane) &* 256 &+ Int((word &>> UInt64(lane &* 8)) & 0xff)]
                }
                crc = next
                index &+= 8
            }
            while index < count {
                crc = table[Int((crc ^ UInt64(bytes[index])) & 0xff)] ^ (crc &>> 8)
                index &+= 1
            }
        }
        state = crc
    }

    public static func of(_ bytes: [UInt8]) -> UInt64 {
        var crc = CRC64NVME()
        bytes.withUnsafeBytes { crc.update($0) }
        return crc.value
    }

    private static let tables: [UInt64] = {
        var tables = [UInt64](repeating: 0, count: 8 * 256)
        for index in 0..<256 {
            var crc = UInt64(index)
            for _ in 0..<8 { crc = crc & 1 == 1 ? (crc >> 1) ^ 0x9a6c_9329_ac4b_c9b5 : crc >> 1 }
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
