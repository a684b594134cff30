// The format of `~/.aws/config` and `~/.aws/credentials`. Pure: text in, sections out; knows no path.
// https://docs.aws.amazon.com/cli/latest/userguide/cli-configure-files.html, and where that is silent, what botocore
// reads: keys may be indented, `:` serves for `=`, a deeper indented line continues a value or nests in an empty one.

/// The parsed form of one of the two files.
struct ProfileFile: Sendable, Equatable {
    enum Kind: Sendable {
        /// Profiles are `[default]` and `[profile NAME]`; other sections have a type or name of their own.
        case config
        /// Profiles are `[NAME]`.
        case credentials
    }

    struct Property: Sendable, Equatable {
        var value: String
        /// Where it stands, from 1.
        var line: Int
    }

    struct Section: Sendable, Equatable {
        /// By lower-case key; one nested below an empty `s3 =` is `s3.KEY`.
        var properties: [String: Property] = [:]

        /// The value of a key; an empty one counts as missing.
        subscript(_ key: String) -> Property? {
            properties[key].flatMap { $0.value.isEmpty ? nil : $0 }
        }
    }

    /// What is wrong, and where. Never quotes the line: it may hold a secret.
    struct Malformed: Error, Equatable {
        /// From 1.
        var line: Int
        var problem: String
    }

    private(set) var profiles: [String: Section] = [:]
    /// The sections of a config file that are no profiles, by their whole name: `services local`.
    private(set) var others: [String: Section] = [:]

    /// A section that appears twice is merged; a later key wins.
    init(parsing text: String, kind: Kind) throws(Malformed) {
        var parser = ProfileFileParser(kind: kind)
        var number = 0
        // Split by bytes: `\r\n` is one character to Swift.
        for line in text.utf8.split(separator: 0x0A, omittingEmptySubsequences: false) {
            number += 1
            try parser.take(line, number: number)
        }
        profiles = parser.profiles
        others = parser.others
    }
}

/// The state between two lines: the section, the key that a deeper line would continue.
private struct ProfileFileParser {
    private enum Place {
        case profile(String)
        /// Of lower rank: `[profile default]` wins over `[default]`.
        case plainDefault
        case other(String)
    }

    private struct OpenKey {
        var name: String
        var indent: Int
    }

    private let kind: ProfileFile.Kind
    private var place: Place?
    private var openKey: OpenKey?
    private var named: [String: ProfileFile.Section] = [:]
    private var plainDefault: ProfileFile.Section?
    private(set) var others: [String: ProfileFile.Section] = [:]

    init(kind: ProfileFile.Kind) {
        self.kind = kind
    }

    var profiles: [String: ProfileFile.Section] {
        guard let plainDefault, named["default"] == nil else { return named }
        var all = named
        all["default"] = plainDefault
        return all
    }

    mutating func take(_ bytes: Substring.UTF8View, number: Int) throws(ProfileFile.Malformed) {
        let line = Substring(bytes)
        let text = Self.trim(number == 1 && line.hasPrefix("\u{FEFF}") ? line.dropFirst() : line)
        guard let first = text.utf8.first, first != UInt8(ascii: "#"), first != UInt8(ascii: ";") else { return }
        let indent = bytes.prefix { $0 == 0x20 || $0 == 0x09 }.count
        if let openKey, indent > openKey.indent {
            return try takeContinuation(of: openKey.name, text, number: number)
        }
        if first == UInt8(ascii: "[") { return try takeHeader(text, number: number) }
        guard place != nil else {
            throw ProfileFile.Malformed(line: number, problem: "a setting before the first [section]")
        }
        let (key, value) = try Self.splitSetting(text, number: number)
        set(key, ProfileFile.Property(value: value, line: number))
        openKey = OpenKey(name: key, indent: indent)
    }

    private mutating func takeHeader(_ text: Substring, number: Int) throws(ProfileFile.Malformed) {
        guard let end = text.utf8.firstIndex(of: UInt8(ascii: "]")) else {
            throw ProfileFile.Malformed(line: number, problem: "a section header without ']'")
        }
        let rest = Self.trim(text[text.utf8.index(after: end)...])
        guard rest.isEmpty || rest.hasPrefix("#") || rest.hasPrefix(";") else {
            throw ProfileFile.Malformed(line: number, problem: "text after the section header")
        }
        let name = Self.trim(text[..<end].dropFirst())
        guard !name.isEmpty else { throw ProfileFile.Malformed(line: number, problem: "a section without a name") }
        openKey = nil
        place = try placeOfSection(name, number: number)
        // Also an empty section exists.
        update { _ in }
    }

    private func placeOfSection(_ name: Substring, number: Int) throws(ProfileFile.Malformed) -> Place {
        if kind == .credentials { return .profile(String(name)) }
        if name == "default" { return .plainDefault }
        let words = name.utf8.split(maxSplits: 1) { $0 == 0x20 || $0 == 0x09 }.map { Self.trim(Substring($0)) }
        guard words[0] == "profile" else {
            return .other(words.map(Self.unquote).joined(separator: " "))
        }
        guard words.count == 2, !Self.unquote(words[1]).isEmpty else {
            throw ProfileFile.Malformed(line: number, problem: "[profile] without a name")
        }
        return .profile(Self.unquote(words[1]))
    }

    private mutating func takeContinuation(
        of key: String, _ text: Substring, number: Int
    ) throws(ProfileFile.Malformed) {
        var isNested = false
        update { isNested = $0.properties[key]?.value.isEmpty ?? false }
        if isNested {
            let (inner, value) = try Self.splitSetting(text, number: number)
            set("\(key).\(inner)", ProfileFile.Property(value: value, line: number))
        } else {
            update { $0.properties[key]?.value += "\n" + Self.withoutComment(text) }
        }
    }

    private mutating func set(_ key: String, _ property: ProfileFile.Property) {
        update { $0.properties[key] = property }
    }

    private mutating func update(_ change: (inout ProfileFile.Section) -> Void) {
        switch place {
        case .profile(let name): change(&named[name, default: .init()])
        case .plainDefault:
            var section = plainDefault ?? .init()
            change(&section)
            plainDefault = section
        case .other(let name): change(&others[name, default: .init()])
        case nil: preconditionFailure("settings belong to a section")
        }
    }

    private static func splitSetting(
        _ text: Substring, number: Int
    ) throws(ProfileFile.Malformed) -> (key: String, value: String) {
        guard let mark = text.utf8.firstIndex(where: { $0 == UInt8(ascii: "=") || $0 == UInt8(ascii: ":") }) else {
            throw ProfileFile.Malformed(line: number, problem: "neither a [section] nor KEY = VALUE")
        }
        let key = trim(text[..<mark])
        guard !key.isEmpty else { throw ProfileFile.Malformed(line: number, problem: "a value without a key") }
        // Any character is kept as the key's begin; what follows the mark may begin with a comment.
        return (key.lowercased(), withoutComment(text[text.utf8.index(after: mark)...]))
    }

    /// Cut at a `#` or `;` that follows white space.
    private static func withoutComment(_ text: Substring) -> String {
        var previous: UInt8 = 0
        for index in text.utf8.indices {
            let byte = text.utf8[index]
            let isMark = byte == UInt8(ascii: "#") || byte == UInt8(ascii: ";")
            if isMark, previous == 0x20 || previous == 0x09 { return String(trim(text[..<index])) }
            previous = byte
        }
        return String(trim(text))
    }

    private static func unquote(_ text: Substring) -> String {
        for quote in ["\"", "'"] where text.utf8.count >= 2 && text.hasPrefix(quote) && text.hasSuffix(quote) {
            return String(text.dropFirst().dropLast())
        }
        return String(text)
    }

    /// By bytes, so that a `\r` before the end goes too.
    private static func trim(_ text: Substring) -> Substring {
        func isSpace(_ byte: UInt8) -> Bool { byte == 0x20 || (0x09...0x0D).contains(byte) }
        let utf8 = text.utf8
        guard let first = utf8.firstIndex(where: { !isSpace($0) }), let last = utf8.lastIndex(where: { !isSpace($0) })
        else { return "" }
        return text[first...last]
    }
}
