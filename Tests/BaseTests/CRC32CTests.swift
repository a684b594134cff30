import Testing

@testable import Base

@Suite(.timeLimit(.minutes(3)))
struct CRC32CTests {
    /// RFC 3720, appendix B.4, and the check value of the CRC catalogue.
    @Test(
        arguments: [
            (Array("123456789".utf8), 0xe306_9283), ([], 0), ([UInt8](repeating: 0, count: 32), 0x8a91_36aa),
            ([UInt8](repeating: 0xff, count: 32), 0x62a8_ab43), (Array(0..<32), 0x46dd_794e),
            (Array((0..<32).reversed()), 0x113f_db5c),
        ] as [([UInt8], UInt32)])
    func publishedValues(_ bytes: [UInt8], _ value: UInt32) {
        #expect(CRC32C.of(bytes) == value)
    }

    /// The table-driven steps agree with the definition, bit by bit, however the bytes are cut.
    @Test(arguments: 0..<40 as Range<UInt64>)
    func againstTheDefinition(_ seed: UInt64) {
        var dice = Dice(seed: seed)
        // Long ones are summed in stretches side by side.
        let countMax = seed % 2 == 0 ? 200 : 20_000
        let bytes = (0..<Int.random(in: 0...countMax, using: &dice)).map { _ in UInt8.random(in: 0...255, using: &dice)
        }
        var wanted: UInt32 = 0xffff_ffff
        for byte in bytes {
            wanted ^= UInt32(byte)
            for _ in 0..<8 { wanted = wanted & 1 == 1 ? (wanted >> 1) ^ 0x82f6_3b78 : wanted >> 1 }
        }
        var crc = CRC32C()
        var offset = 0
        bytes.withUnsafeBytes { all in
            while offset < bytes.count {
                let count = Int.random(in: 0...min(countMax / 5, bytes.count - offset), using: &dice)
                crc.update(UnsafeRawBufferPointer(rebasing: all[offset..<(offset + count)]))
                offset += count
            }
        }
        #expect(crc.value == ~wanted)
        #expect(CRC32C.of(bytes) == ~wanted)
        var byTable = CRC32C()
        bytes.withUnsafeBytes { byTable.updateByTable($0) }
        #expect(byTable.value == ~wanted, "the way of processors without the instruction")
    }
}
