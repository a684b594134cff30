import Base
import Testing

@Suite(.timeLimit(.minutes(3)))
struct ByteStringTests {
    @Test func identityIsBytes() {
        let composed: ByteString = "caf\u{e9}"
        let decomposed: ByteString = "cafe\u{301}"
        #expect(composed.string == decomposed.string, "what String thinks")
        #expect(composed != decomposed)
        #expect(composed.count == 5 && decomposed.count == 6)
        #expect(Set([composed, decomposed, "caf\u{e9}"]).count == 2)
        #expect(composed.hashValue == ByteString("caf" + "\u{e9}").hashValue)
    }

    @Test(
        arguments: [
            ("", "a"), ("a", "aa"), ("Z", "a"), ("a", "\u{e9}"), ("a b", "a/1"), ("e\u{301}", "\u{e9}"),
            ("\u{fffd}", "\u{10000}"), ("\u{7f}", "\u{80}"),
        ] as [(ByteString, ByteString)])
    func order(_ smaller: ByteString, _ larger: ByteString) {
        #expect(smaller < larger && !(larger < smaller) && smaller != larger)
    }

    /// Order, equality, prefix, suffix, cuts and joint agree with plain byte arrays.
    @Test(arguments: 0..<20 as Range<UInt64>)
    func againstByteArrays(_ seed: UInt64) {
        var dice = Dice(seed: seed)
        let alphabet = ["a", "b", "/", "e", "\u{301}", "\u{e9}", "\u{65e5}", "\u{1f600}", "\u{fffd}", "\u{600}"]
        func text() -> String {
            (0..<Int.random(in: 0...4, using: &dice)).map { _ in alphabet.randomElement(using: &dice)! }.joined()
        }
        for _ in 0..<300 {
            let (left, right) = (text(), text())
            let (leftBytes, rightBytes) = (Array(left.utf8), Array(right.utf8))
            let (leftText, rightText) = (ByteString(left), ByteString(right))
            #expect((leftText < rightText) == leftBytes.lexicographicallyPrecedes(rightBytes))
            #expect((leftText == rightText) == (leftBytes == rightBytes))
            #expect(leftText.hasPrefix(rightText) == leftBytes.starts(with: rightBytes))
            #expect(leftText.hasSuffix(rightText) == leftBytes.reversed().starts(with: rightBytes.reversed()))
            #expect(left.pathComponents().map { Array($0.utf8) } == leftBytes.split(separator: 0x2f).map { Array($0) })
            let joined = leftText + rightText
            #expect(Array(joined.utf8) == leftBytes + rightBytes)
            #expect(joined.hasPrefix(leftText))
            #expect(joined.dropFirst(leftText.count) == rightText && joined.dropLast(rightText.count) == leftText)
            #expect(leftText.hasSuffix(rightText) == leftBytes.suffix(rightBytes.count).elementsEqual(rightBytes))
            #expect(leftText.isEmpty == leftBytes.isEmpty && leftText.count == leftBytes.count)
        }
    }
}
