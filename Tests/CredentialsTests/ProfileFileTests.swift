// The file format: tables of what it means and what is wrong with it, and random text.

import Testing

@testable import Credentials

@Suite(.timeLimit(.minutes(3)))
struct ProfileFileTests {
    /// `profile.key=value` of all profiles, sorted.
    private func flat(_ file: ProfileFile) -> [String] {
        file.profiles.flatMap { name, section in
            section.properties.map { "\(name).\($0.key)=\($0.value.value)" }
        }.sorted()
    }

    @Test(arguments: [
        ("[default]\nregion=eu-west-1\n", ["default.region=eu-west-1"]),
        ("[default]\r\nregion = eu-west-1\r\n", ["default.region=eu-west-1"]),
        ("\u{FEFF}[default]\nregion=a", ["default.region=a"]),
        (
            "# c\n; d\n  # e\n[default] # f\n\nregion = a # g\noutput = b ;h\n",
            ["default.output=b", "default.region=a"]
        ),
        ("[default]\nurl = http://h/#frag;x\n", ["default.url=http://h/#frag;x"]),
        ("[default]\nREGION = a\nregion = b\n", ["default.region=b"]),
        ("[profile x]\na=1\n[ profile\t x ]\nb=2\n", ["x.a=1", "x.b=2"]),
        ("[profile \"two words\"]\na=1\n", ["two words.a=1"]),
        ("[x]\na=1\n[profile y]\na=2\n", ["y.a=2"]),
        ("[profile default]\na=1\n[default]\na=2\nb=3\n", ["default.a=1"]),
        ("[default]\n  a = 1\n  b = 2\n", ["default.a=1", "default.b=2"]),
        ("[default]\na : 1\nb = c:d\n", ["default.a=1", "default.b=c:d"]),
        ("[default]\na = 1\n  2\n  3\nb=4", ["default.a=1\n2\n3", "default.b=4"]),
        (
            "[default]\ns3 =\n  addressing_style = path\n  x=1\nregion=a",
            ["default.region=a", "default.s3.addressing_style=path", "default.s3.x=1", "default.s3="]
        ),
        ("[default]\na =\nb = = =\n", ["default.a=", "default.b== ="]),
        ("[profile empty]\n", []),
        ("", []),
    ])
    func configMeans(text: String, expected: [String]) throws {
        #expect(flat(try ProfileFile(parsing: text, kind: .config)) == expected.sorted())
    }

    @Test func credentialsSectionsAreProfiles() throws {
        let text = "[default]\na=1\n[profile x]\na=2\n[ y ]\na=3\n"
        let file = try ProfileFile(parsing: text, kind: .credentials)
        #expect(flat(file) == ["default.a=1", "profile x.a=2", "y.a=3"])
    }

    @Test func otherSectionsAreKept() throws {
        let file = try ProfileFile(
            parsing: "[services local]\ns3 =\n  endpoint_url = http://h\n[sso-session  \"x\"]\n", kind: .config)
        #expect(file.others["services local"]?["s3.endpoint_url"]?.value == "http://h")
        #expect(file.others["sso-session x"] != nil)
        #expect(file.profiles.isEmpty)
    }

    @Test func emptyProfileExists() throws {
        #expect(try ProfileFile(parsing: "[profile x]", kind: .config).profiles["x"] != nil)
    }

    @Test(arguments: [
        ("a = 1\n", 1), ("\n\n  a = 1\n", 3), ("[default\na=1", 1), ("[default]\nnonsense\n", 2), ("[]\n", 1),
        ("[  ]\n", 1), ("[default] x\n", 1), ("[default]\n= 1\n", 2), ("[profile]\n", 1), ("[profile \"\"]\n", 1),
        ("[default]\ns3 =\n  nonsense\n", 3), ("[default]\r\na=1\r\nSECRET\r\n", 3),
    ])
    func malformedNamesTheLine(text: String, line: Int) {
        let error = #expect(throws: ProfileFile.Malformed.self) { try ProfileFile(parsing: text, kind: .config) }
        #expect(error?.line == line)
        #expect(error?.problem.contains("SECRET") == false)
    }

    /// Random text of the format's own characters: parses or says which line, and never traps.
    @Test(arguments: UInt64(1)...20)
    func randomText(seed: UInt64) {
        var random = SeededRandom(seed: seed)
        let pieces = [
            "[", "]", "=", ":", "#", ";", " ", "\t", "\n", "\r\n", "a", "profile ", "default", "\"", "é", "s3", "\0",
            "[default]\n", "[profile x]\n", "key = value\n", "  nested = 1\n", "\u{301}", "\u{FEFF}",
        ]
        for _ in 0..<2000 {
            let count = Int.random(in: 0..<30, using: &random)
            let text = (0..<count).map { _ in pieces.randomElement(using: &random)! }.joined()
            for kind in [ProfileFile.Kind.config, .credentials] {
                do {
                    let file = try ProfileFile(parsing: text, kind: kind)
                    #expect(file.profiles.values.allSatisfy { $0.properties.keys.allSatisfy { !$0.isEmpty } })
                } catch {
                    #expect(error.line >= 1 && error.line <= text.utf8.count { $0 == 0x0A } + 1)
                }
            }
        }
    }

    /// Profiles written in any style read back the same.
    @Test(arguments: UInt64(1)...20)
    func roundTrip(seed: UInt64) throws {
        var random = SeededRandom(seed: seed)
        func space() -> String { ["", " ", "\t", "  "].randomElement(using: &random)! }
        for _ in 0..<100 {
            var expected: [String] = []
            var text = ""
            let end = Bool.random(using: &random) ? "\n" : "\r\n"
            for profile in 0..<Int.random(in: 0..<4, using: &random) {
                text += "[\(space())profile p\(profile)\(space())]\(space())\(end)"
                let indent = space()
                for key in 0..<Int.random(in: 0..<4, using: &random) {
                    let value = String((0..<8).map { _ in "abcXYZ019/+#;=:é".randomElement(using: &random)! })
                    if Bool.random(using: &random) { text += "\(space())# a comment = 1\(end)" }
                    let comment = ["", " # end", "\t;end"].randomElement(using: &random)!
                    text += "\(indent)K\(key)\(space())=\(space())\(value)\(comment)\(end)"
                    // After white space the value would begin with a comment.
                    let isComment = value.hasPrefix("#") || value.hasPrefix(";")
                    expected.append("p\(profile).k\(key)=\(isComment ? "?" : value)")
                }
            }
            let found = flat(try ProfileFile(parsing: text, kind: .config)).map { line in
                let cut = line.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
                let isComment = cut[1].isEmpty || cut[1].hasPrefix("#") || cut[1].hasPrefix(";")
                return "\(cut[0])=\(isComment ? "?" : cut[1])"
            }
            #expect(found == expected.sorted(), "\(text.debugDescription)")
        }
    }
}

/// The same numbers for the same seed (SplitMix64).
struct SeededRandom: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var value = state
        value = (value ^ (value >> 30)) &* 0xBF58_476D_1CE4_E5B9
        value = (value ^ (value >> 27)) &* 0x94D0_49BB_1331_11EB
        return value ^ (value >> 31)
    }
}
