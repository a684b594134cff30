// Encodings, checksums and dates against known values.

import Base
import Testing

@testable import S3Protocol

@Suite(.timeLimit(.minutes(3)))
struct EncodingTests {
    @Test(arguments: [
        ("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("foobar", "Zm9vYmFy"),
        ("\u{ff}\u{fe}?", "w7/Dvj8="),
    ])
    func base64(_ plain: String, _ encoded: String) {
        #expect(Base64.encode(Array(plain.utf8)) == encoded)
        #expect(Base64.decode(encoded) == Array(plain.utf8))
    }

    @Test(arguments: ["Zg=", "Z", "====", "Zg==Zg==", "Z*==", "Zm9v\n"])
    func badBase64(_ text: String) {
        #expect(Base64.decode(text) == nil)
    }

    @Test func hex() {
        #expect(Hex.encode([0, 0x0f, 0xa5, 0xff]) == "000fa5ff")
        #expect(Hex.decode("000FA5ff") == [0, 0x0f, 0xa5, 0xff])
        #expect(Hex.decode("0") == nil)
        #expect(Hex.decode("0g") == nil)
    }

    @Test(arguments: [
        ("plain/key-1._~", "plain/key-1._~"), ("a b+c%", "a%20b%2Bc%25"), ("\u{e9}", "%C3%A9"), ("e\u{301}", "e%CC%81"),
        ("//./..", "//./.."), ("a?b#c&d=e", "a%3Fb%23c%26d%3De"), ("\u{1}\n\u{7f}", "%01%0A%7F"),
    ])
    func percentEncoding(_ plain: String, _ encoded: String) throws {
        #expect(PercentEncoding.encodePath(plain) == encoded)
        let back = try #require(PercentEncoding.decodePath(encoded))
        #expect(back.utf8.elementsEqual(plain.utf8))
        let listed = try #require(PercentEncoding.decodeListed(PercentEncoding.encodeQuery(plain)))
        #expect(listed.utf8.elementsEqual(plain.utf8))
    }

    @Test(arguments: [("a+b", "a b"), ("a%2Bb", "a+b"), ("100%", "100%"), ("%zz%4", "%zz%4"), ("%c3%a9", "\u{e9}")])
    func listedKeys(_ encoded: String, _ plain: String) {
        #expect(PercentEncoding.decodeListed(encoded) == plain)
    }

    @Test func keysThatAreNotUTF8AreRefused() {
        #expect(PercentEncoding.decodeListed("a%FFb") == nil)
    }

    @Test(arguments: [
        "plain", "", "a b", " lead", "trail ", "two  blanks", "tab\there", "line\r\nend", "Grüße", "日本語", "e\u{301}",
        "\u{e9}", "=?UTF-8?B?aGk=?=", "=?", "a=?b", "😀 and text", "\u{0}\u{1}", "100% + 5",
    ])
    func metadataRoundTrip(_ value: String) {
        let encoded = MetadataCoding.encode(value)
        #expect(encoded.utf8.allSatisfy { (0x20...0x7E).contains($0) })
        #expect(MetadataCoding.decode(encoded).utf8.elementsEqual(value.utf8))
    }

    @Test(arguments: [
        ("33188", "33188"), ("=?UTF-8?Q?caf=C3=A9_au_lait?=", "café au lait"),
        ("=?utf-8?b?Y2Fm?= =?UTF-8?B?w6k=?=", "café"), ("a =?UTF-8?B?w6k=?= b", "a é b"),
        ("=?ISO-8859-1?Q?caf=E9?=", "café"), ("=?UTF-8*en?B?w6k=?=", "é"), ("=?UTF-8?B?/w==?=", "=?UTF-8?B?/w==?="),
        ("=?UTF-8?X?abc?=", "=?UTF-8?X?abc?="), ("=?UTF-8?Q?=ZZ?=", "=?UTF-8?Q?=ZZ?="), ("a=b", "a=b"), ("=?", "=?"),
        ("=?UTF-8?B?aGk=?=  ", "hi  "),
    ])
    func metadataOfOthers(_ received: String, _ value: String) {
        #expect(MetadataCoding.decode(received) == value)
    }

    @Test func digests() {
        #expect(Hex.encode(Digest.of(Array("abc".utf8), .md5)) == "900150983cd24fb0d6963f7d28e17f72")
        #expect(
            Hex.encode(Digest.of(Array("abc".utf8), .sha256))
                == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
        #expect(Hex.encode(Digest.of([], .md5)) == "d41d8cd98f00b204e9800998ecf8427e")
        var running = Digest(.sha256)
        for byte in "abc".utf8 { withUnsafeBytes(of: byte) { running.update($0) } }
        #expect(running.finish() == Digest.of(Array("abc".utf8), .sha256))
    }

    @Test func crc64() {
        #expect(CRC64NVME.of(Array("123456789".utf8)) == 0xae8b_1486_0a79_9888)
        #expect(CRC64NVME.of([]) == 0)
        let bytes = (0..<1000).map { UInt8(truncatingIfNeeded: $0 &* 7) }
        var pieces = CRC64NVME()
        for range in [0..<3, 3..<11, 11..<500, 500..<1000] {
            Array(bytes[range]).withUnsafeBytes { pieces.update($0) }
        }
        #expect(pieces.value == CRC64NVME.of(bytes))
    }

    @Test func checksumFields() {
        #expect(BodyChecksum.md5(Digest.of([], .md5)).field == ("Content-MD5", "1B2M2Y8AsgTpgAmY7PhCfg=="))
        #expect(BodyChecksum.crc32c(0xe306_9283).field == ("x-amz-checksum-crc32c", "4waSgw=="))
        #expect(
            BodyChecksum.crc64NVME(0xae8b_1486_0a79_9888).field == ("x-amz-checksum-crc64nvme", "rosUhgp5mIg="))
    }
}

@Suite(.timeLimit(.minutes(3)))
struct DateTests {
    @Test(arguments: [
        (0, "19700101T000000Z", "Thu, 01 Jan 1970 00:00:00 GMT"),
        (1_369_353_600, "20130524T000000Z", "Fri, 24 May 2013 00:00:00 GMT"),
        (951_827_696, "20000229T123456Z", "Tue, 29 Feb 2000 12:34:56 GMT"),
        (1_709_251_199, "20240229T235959Z", "Thu, 29 Feb 2024 23:59:59 GMT"),
        (4_107_542_400, "21000301T000000Z", "Mon, 01 Mar 2100 00:00:00 GMT"),
        (-1, "19691231T235959Z", "Wed, 31 Dec 1969 23:59:59 GMT"),
    ])
    func spellings(_ seconds: Int64, _ amz: String, _ http: String) {
        let timestamp = Timestamp(seconds: seconds)
        #expect(timestamp.amzDate == amz)
        #expect(timestamp.httpDate == http)
        #expect(Timestamp(httpDate: http) == timestamp)
    }

    @Test(arguments: [
        ("2013-05-24T00:00:00.000Z", Timestamp(seconds: 1_369_353_600)),
        ("2013-05-24T00:00:00Z", Timestamp(seconds: 1_369_353_600)),
        ("2013-05-24T00:00:00.123456789Z", Timestamp(seconds: 1_369_353_600, nanoseconds: 123_456_789)),
        ("2013-05-24T00:00:00.5Z", Timestamp(seconds: 1_369_353_600, nanoseconds: 500_000_000)),
        ("2013-05-24T02:30:00+02:30", Timestamp(seconds: 1_369_353_600)),
        ("2013-05-23T23:00:00-0100", Timestamp(seconds: 1_369_353_600)),
    ])
    func iso8601(_ text: String, _ timestamp: Timestamp) {
        #expect(Timestamp(iso8601: text) == timestamp)
    }

    @Test(arguments: [
        "", "T", "2013-05-24", "2013-02-29T00:00:00Z", "2013-13-01T00:00:00Z", "2013-05-24T24:00:00Z",
        "2013-05-24T00:00:00", "2013-05-24T00:00:00.Z", "2013-05-24T00:00:00.1x3Z", "+013-05-24T00:00:00Z",
    ])
    func badISO8601(_ text: String) {
        #expect(Timestamp(iso8601: text) == nil)
    }

    @Test(arguments: [
        "", ",", "Fri, 24 May 2013 00:00:00", "Fri, 24 Mai 2013 00:00:00 GMT", "Fri, 32 May 2013 00:00:00 GMT",
        "Fri, 24 May 2013 00:61:00 GMT", "Fri, 24 May 2013 00:00:00 PST",
    ])
    func badHTTPDates(_ text: String) {
        #expect(Timestamp(httpDate: text) == nil)
    }

    @Test func everyDayOfFourCenturiesGoesThereAndBack() {
        for day in stride(from: -80_000, to: 80_000, by: 1) {
            let timestamp = Timestamp(seconds: Int64(day) * 86_400 + 4_321)
            #expect(CivilTime(timestamp).timestamp == timestamp)
        }
    }
}
