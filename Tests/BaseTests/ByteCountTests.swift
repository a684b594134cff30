import Base
import Testing

@Suite(.timeLimit(.minutes(3)))
struct ByteCountTests {
    @Test(
        arguments: [
            ("0", 0), ("123", 123), ("7b", 7), ("64K", 64 << 10), ("64k", 64 << 10), ("64KB", 64 << 10),
            ("64KiB", 64 << 10), ("5m", 5 << 20), ("5MiB", 5 << 20), ("10G", 10 << 30), ("1T", 1 << 40),
            ("2tib", 2 << 40),
            ("9223372036854775807", Int.max), ("8388607T", 8_388_607 << 40), ("007", 7),
        ] as [(String, Int)])
    func parsed(_ text: String, _ bytes: Int) {
        #expect(ByteCount.parse(text) == bytes)
    }

    @Test(arguments: [
        "", "K", "-1", "+1", "1.5G", "1 G", " 1", "1 ", "1P", "1KK", "0x10", "1e3", "\u{664}", "9223372036854775808",
        "8388608T", "99999999999999999999G", "1GiBs",
    ])
    func refused(_ text: String) {
        #expect(ByteCount.parse(text) == nil)
    }

    @Test(
        arguments: [
            (0, "0 B"), (1, "1 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1536, "1.5 KiB"), (1587, "1.5 KiB"),
            (1588, "1.6 KiB"), (10 << 20, "10.0 MiB"), (3 << 30, "3.0 GiB"), (5 << 40, "5.0 TiB"), (1 << 50, "1.0 PiB"),
            (Int.max, "8192.0 PiB"), (-5, "-5 B"),
            // Never "1024.0" of a unit.
            ((1 << 20) - 1, "1.0 MiB"), ((1 << 20) - 60, "1023.9 KiB"), ((1 << 30) - 1, "1.0 GiB"),
            ((1 << 40) - 1, "1.0 TiB"),
        ] as [(Int, String)])
    func described(_ bytes: Int, _ text: String) {
        #expect(ByteCount.describe(bytes) == text)
    }
}
