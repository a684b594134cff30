import ObjectModel
import Testing

@Suite(.timeLimit(.minutes(3)))
struct ETagTests {
    @Test(
        arguments: [
            ("\"abc\"", "abc"), ("abc", "abc"), ("W/\"abc\"", "abc"), ("\"d41d8cd9-12\"", "d41d8cd9-12"),
            ("\"a/b+c==\"", "a/b+c=="), ("W", "W"), ("\"gr\u{fc}n\"", "gr\u{fc}n"), ("\"\u{301}x\"", "\u{301}x"),
        ] as [(String, String)])
    func accepted(_ text: String, _ value: String) throws {
        let etag = try #require(ETag(text))
        #expect(Array(etag.value.utf8) == Array(value.utf8))
        #expect(etag.quoted == "\"\(value)\"" && "\(etag)" == value)
        #expect(ETag(etag.quoted) == etag)
    }

    @Test(arguments: ["", "\"\"", "\"", "W/", "W/\"\"", "\"a", "a\"", "a b", "\"a\"b\"", "a\n", "a\u{7f}", "\"a\" "])
    func refused(_ text: String) {
        #expect(ETag(text) == nil)
    }

    @Test func identityIsBytes() {
        #expect(ETag("\"abc\"") == ETag("abc"))
        #expect(ETag("abc") != ETag("ABC"))
        #expect(ETag("\u{e9}") != ETag("e\u{301}"))
        #expect(Set([ETag("\u{e9}"), ETag("e\u{301}"), ETag("\"\u{e9}\"")]).count == 2)
    }
}
