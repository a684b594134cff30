// Whatever a server sends: decoders end with a value or an error, never with a trap.

import Base
import ObjectModel
import Testing

@testable import S3Protocol

@Suite(.timeLimit(.minutes(3)))
struct MutationTests {
    /// xorshift64*: the same bytes for the same seed on every machine.
    struct Random: RandomNumberGenerator {
        var state: UInt64

        mutating func next() -> UInt64 {
            state ^= state >> 12
            state ^= state << 25
            state ^= state >> 27
            return state &* 0x2545_f491_4f6c_dd1d
        }
    }

    static let bodies = [
        ResponseTests.list, "<Error><Code>NoSuchKey</Code><Message>m</Message><Region>r</Region></Error>",
        "<DeleteResult><Error><Key>b</Key><Code>c</Code></Error></DeleteResult>",
        "<ListPartsResult><Part><PartNumber>1</PartNumber><ETag>\"a\"</ETag><Size>5</Size></Part></ListPartsResult>",
        "<CopyObjectResult><ETag>&quot;e&quot;</ETag></CopyObjectResult>",
    ]

    @Test(arguments: 1...8)
    func mutatedXML(_ seed: Int) {
        var random = Random(state: UInt64(seed) &* 0x9e37_79b9_7f4a_7c15)
        for _ in 0..<400 {
            var bytes = Array(Self.bodies.randomElement(using: &random)!.utf8)
            for _ in 0..<Int.random(in: 1...8, using: &random) where !bytes.isEmpty {
                let at = Int.random(in: 0..<bytes.count, using: &random)
                switch Int.random(in: 0..<5, using: &random) {
                case 0: bytes[at] = UInt8.random(in: .min ... .max, using: &random)
                case 1: bytes.remove(at: at)
                case 2: bytes.removeSubrange(at...)
                case 3: bytes.insert(contentsOf: bytes[at...].prefix(20), at: at)
                default: bytes.insert(contentsOf: Array("]]>&<![CDATA[<?%".utf8).shuffled(using: &random), at: at)
                }
            }
            _ = try? ListAnswer(body: bytes)
            _ = try? PartsAnswer(body: bytes)
            _ = try? UploadsAnswer(body: bytes)
            _ = try? WriteAnswers.deleteFailures(bytes)
            _ = try? WriteAnswers.copyETag(bytes)
            _ = S3ErrorResponse(status: 400, headers: HeaderFields(), body: bytes)
        }
    }

    @Test(arguments: 1...8)
    func mutatedTexts(_ seed: Int) {
        var random = Random(state: UInt64(seed) &* 0xd134_2543_de82_ef95)
        let texts = [
            "Fri, 24 May 2013 00:00:00 GMT", "2013-05-24T00:00:00.000+01:00", "bytes 0-9/1000", "\"abc\"",
            "=?UTF-8?B?w6k=?= =?ISO-8859-1?Q?=E9_?=", "https://s3.eu-west-1.amazonaws.com:443/a/b", "http://[::1]:90",
            "a%20b%C3%A9+",
        ]
        let alphabet = Array(" ,:-+./=?%\"&<>[]0189aAzZBQé\u{301}😀\r\n\u{0}".unicodeScalars)
        for _ in 0..<2000 {
            var scalars = Array(texts.randomElement(using: &random)!.unicodeScalars)
            for _ in 0..<Int.random(in: 1...5, using: &random) where !scalars.isEmpty {
                let at = Int.random(in: 0..<scalars.count, using: &random)
                switch Int.random(in: 0..<3, using: &random) {
                case 0: scalars[at] = alphabet.randomElement(using: &random)!
                case 1: scalars.remove(at: at)
                default: scalars.insert(alphabet.randomElement(using: &random)!, at: at)
                }
            }
            let text = String(String.UnicodeScalarView(scalars))
            _ = Timestamp(httpDate: text)
            _ = Timestamp(iso8601: text)
            _ = ContentRange(text)
            _ = ETag(text)
            _ = try? Endpoint(parsing: text)
            _ = PercentEncoding.decodeListed(text)
            _ = ObjectProperties(HeaderFields([("x-amz-meta-a", text), (text, text)]))
            // Values that we made ourselves come back, whatever they are.
            #expect(MetadataCoding.decode(MetadataCoding.encode(text)).utf8.elementsEqual(text.utf8), "seed \(seed)")
            let path = PercentEncoding.decodePath(PercentEncoding.encodePath(text))
            #expect(path?.utf8.elementsEqual(text.utf8) == true, "seed \(seed)")
        }
    }
}
