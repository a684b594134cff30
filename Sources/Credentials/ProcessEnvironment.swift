// What the process was started with, as a value: tests give their own.

internal import Glibc

/// Environment variables and home directory.
public struct ProcessEnvironment: Sendable {
    private let variables: [String: String]
    /// Absolute; nil when nobody knows.
    public let homeDirectory: String?

    public init(variables: [String: String], homeDirectory: String?) {
        self.variables = variables
        self.homeDirectory = homeDirectory
    }

    /// Those of this process, now.
    public static var current: ProcessEnvironment {
        var variables: [String: String] = [:]
        var entry = environ
        while let text = entry.pointee {
            let words = String(cString: text).split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            if words.count == 2 { variables[String(words[0])] = String(words[1]) }
            entry += 1
        }
        return ProcessEnvironment(variables: variables, homeDirectory: variables["HOME"] ?? homeOfUser())
    }

    /// The value of a variable; an empty one counts as missing.
    public subscript(_ name: String) -> String? {
        variables[name].flatMap { $0.isEmpty ? nil : $0 }
    }

    /// Replaces a leading `~/`.
    func expand(_ path: String) -> String {
        guard path.hasPrefix("~/"), let homeDirectory else { return path }
        return homeDirectory + path.dropFirst(1)
    }

    /// A service manager may start us without HOME.
    private static func homeOfUser() -> String? {
        var entry = passwd()
        var found: UnsafeMutablePointer<passwd>?
        var text = [CChar](repeating: 0, count: 16384)
        guard getpwuid_r(getuid(), &entry, &text, text.count, &found) == 0, found != nil, let home = entry.pw_dir
        else { return nil }
        return String(cString: home)
    }
}
