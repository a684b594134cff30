// The words of `pail run`: what goes where.

/// One source of `pail run`, and the directory it is wanted at.
public struct RunPlace: Sendable, Equatable {
    public let source: String
    /// Nil leaves the place to pail.
    public let directory: String?

    public init(source: String, directory: String?) {
        self.source = source
        self.directory = directory
    }

    /// `SOURCE` or `SOURCE=/DIR`. Only an absolute directory after the last `=/` counts: keys may have equals signs.
    public static func parse(_ text: String) -> RunPlace {
        var index = text.utf8.endIndex
        while index > text.utf8.startIndex {
            index = text.utf8.index(before: index)
            if text.utf8[index...].starts(with: "=/".utf8) {
                return RunPlace(
                    source: String(text[..<index]), directory: String(text[text.utf8.index(after: index)...]))
            }
        }
        return RunPlace(source: text, directory: nil)
    }

    /// The command with `{}` and `{1}`, `{2}`… replaced by the mounts' paths. `{}` is the first; numbers that no mount has
    /// stay as they are.
    public static func filled(_ words: [String], paths: [String]) -> [String] {
        words.map { word in
            var result = ""
            var rest = word[...]
            while let brace = rest.firstIndex(of: "{") {
                result += rest[..<brace]
                rest = rest[brace...]
                let inside = rest.dropFirst().prefix { $0 != "}" }
                let number = inside.isEmpty ? 1 : (inside.allSatisfy(\.isNumber) ? Int(inside) : nil)
                if let number, paths.indices.contains(number - 1), inside.endIndex < rest.endIndex {
                    result += paths[number - 1]
                    rest = rest[inside.endIndex...].dropFirst()
                } else {
                    result += "{"
                    rest = rest.dropFirst()
                }
            }
            return result + rest
        }
    }
}
