import Base
import ObjectModel
import Testing

@Suite(.timeLimit(.minutes(3)))
struct ObjectKeyTests {
    @Test(
        arguments: [
            ("a", true), ("", false), ("/", true), ("//", true), (String(repeating: "k", count: 1024), true),
            (String(repeating: "k", count: 1025), false), (String(repeating: "\u{e9}", count: 512), true),
            (String(repeating: "\u{e9}", count: 512) + "k", false), ("\u{1}", true),
        ] as [(String, Bool)])
    func validity(_ text: String, _ isKey: Bool) {
        #expect((ObjectKey(text) != nil) == isKey)
        #expect((ObjectKey(ByteString(text)) != nil) == isKey)
        if let key = ObjectKey(text) {
            #expect(Array(key.string.utf8) == Array(text.utf8) && Array(key.description.utf8) == Array(text.utf8))
        }
    }

    @Test func identityIsBytes() throws {
        let composed = try #require(ObjectKey("\u{e9}"))
        let decomposed = try #require(ObjectKey("e\u{301}"))
        #expect(composed != decomposed && Set([composed, decomposed]).count == 2)
        #expect(decomposed < composed)
    }

    @Test func orderOfListings() {
        let names = [
            "A", "a", "a b", "a-1", "a.txt", "a/", "a/1", "a0", "e\u{301}", "z", "\u{e9}", "\u{fffd}", "\u{10000}",
        ]
        #expect(names.shuffled().map { ObjectKey($0)! }.sorted().map(\.string) == names)
    }
}
