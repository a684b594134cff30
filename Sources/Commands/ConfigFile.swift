// One config file: TOML with a table of defaults and a table for each named mount.
//
//     [defaults]
//     endpoint = "https://s3.example.org"
//     ttl = 30
//
//     [mounts.data]
//     source = "s3://bucket/prefix"
//     mountpoint = "~/data"
//     read-only = true
//     options = ["noexec"]

internal import TOMLKit

/// The contents of one config file, checked for names but not yet for values: those are read as options are.
public struct ConfigFile: Sendable, Equatable {
    /// Options by name, as text; nil values are flags that are set. Flags that are false are kept, to undo a default.
    struct Settings: Sendable, Equatable {
        enum Value: Sendable, Equatable {
            case flag(Bool)
            case text(String)
        }

        var options: [MountOptionName: Value] = [:]
        /// What `-o` would be given, item by item.
        var list: [String] = []
    }

    /// `[mounts.NAME]`.
    struct NamedMount: Sendable, Equatable {
        var source: String
        /// As written; nil when the command line has to name it.
        var mountpoint: String?
        var settings: Settings
    }

    /// Where it was read from, for the messages.
    let path: String
    var defaults = Settings()
    var mounts: [String: NamedMount] = [:]

    /// Options that make no sense in a file.
    private static let excluded: Set<MountOptionName> = [.foreground]
    /// What people try to put here and must not.
    private static let secrets: Set<String> = [
        "access-key", "access-key-id", "aws-access-key-id", "secret-key", "secret-access-key", "aws-secret-access-key",
        "session-token", "password", "passwd",
    ]

    /// Reads the text of a config file.
    /// - Throws: one line that names the file and the place.
    init(_ text: String, path: String) throws(UsageError) {
        self.path = path
        let table: TOMLTable
        do {
            table = try TOMLTable(string: text)
        } catch let error as TOMLParseError {
            let place = "line \(error.source.begin.line), column \(error.source.begin.column)"
            throw UsageError("\(path), \(place): \(error.description)")
        } catch {
            throw UsageError("\(path) is not TOML: \(error)")
        }
        for key in table.keys {
            switch (key, table[key]?.table) {
            case ("defaults", let section?):
                defaults = try settings(section, of: "[defaults]", besides: [])
            case ("mounts", let section?):
                for name in section.keys {
                    guard let mount = section[name]?.table else {
                        throw UsageError("\(path): 'mounts.\(name)' must be a table: [mounts.\(name)]")
                    }
                    mounts[name] = try namedMount(mount, name)
                }
            case ("defaults", nil), ("mounts", nil):
                throw UsageError("\(path): '\(key)' must be a table: [\(key == "mounts" ? "mounts.NAME" : key)]")
            default:
                let isOption = MountOptionName(listed: key) != nil
                let hint =
                    isOption
                    ? "; it belongs below [defaults] or [mounts.NAME]"
                    : NearestName.hint(key, among: ["defaults", "mounts"])
                throw UsageError("\(path): unknown key '\(key)'\(hint)")
            }
        }
    }

    private func namedMount(_ table: TOMLTable, _ name: String) throws(UsageError) -> NamedMount {
        let section = "[mounts.\(name)]"
        func text(_ key: String) throws(UsageError) -> String? {
            guard let value = table[key] else { return nil }
            guard let text = value.string, !text.isEmpty else {
                throw UsageError("\(path), \(section): '\(key)' must be text in quotes")
            }
            return text
        }
        guard let source = try text("source") else {
            throw UsageError("\(path), \(section): 'source' is missing: source = \"s3://BUCKET/PREFIX\"")
        }
        return NamedMount(
            source: source, mountpoint: try text("mountpoint"),
            settings: try settings(table, of: section, besides: ["source", "mountpoint"]))
    }

    private func settings(
        _ table: TOMLTable, of section: String, besides others: [String]
    ) throws(UsageError) -> Settings {
        var result = Settings()
        for key in table.keys where !others.contains(key) {
            guard let value = table[key] else { continue }
            if key == "options" {
                result.list = try list(value, of: section)
                continue
            }
            guard let option = MountOptionName(listed: key), !Self.excluded.contains(option) else {
                throw unknown(key, in: section, besides: others)
            }
            result.options[option] = try self.value(value, of: option, in: section)
        }
        return result
    }

    private func unknown(_ key: String, in section: String, besides others: [String]) -> UsageError {
        let plain = String(key.lowercased().map { $0 == "_" ? "-" : $0 })
        if Self.secrets.contains(plain) {
            return UsageError(
                "\(path), \(section): no '\(key)' here; keys belong into ~/.aws/credentials, and 'profile' names which")
        }
        let known = MountOptionName.allCases.filter { !Self.excluded.contains($0) }.map(\.rawValue)
        return UsageError(
            "\(path), \(section): unknown key '\(key)'\(NearestName.hint(plain, among: known + others + ["options"]))")
    }

    private func value(
        _ value: any TOMLValueConvertible, of option: MountOptionName, in section: String
    ) throws(UsageError) -> Settings.Value {
        let place = "\(path), \(section): '\(option.rawValue)'"
        if option.isFlag {
            guard let flag = value.bool else { throw UsageError("\(place) must be true or false") }
            return .flag(flag)
        }
        if let text = value.string { return .text(text) }
        // 0644 as a number would be read as decimal: nobody means that.
        let isOctal = [.umask, .fileMode, .directoryMode].contains(option)
        if isOctal { throw UsageError("\(place) must be in quotes, such as \"0644\"") }
        if let number = value.int { return .text("\(number)") }
        if let number = value.double { return .text("\(number)") }
        throw UsageError("\(place) must be a number or text in quotes")
    }

    private func list(_ value: any TOMLValueConvertible, of section: String) throws(UsageError) -> [String] {
        if let text = value.string { return [text] }
        let items = value.array.map { array in array.map { $0.string } }
        guard let items, !items.contains(nil) else {
            throw UsageError("\(path), \(section): 'options' must be a list of texts, as after -o: [\"noexec\"]")
        }
        return items.compactMap { $0 }
    }
}
