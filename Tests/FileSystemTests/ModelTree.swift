// What a file tree should look like: a dictionary from paths to entries, with POSIX's rules for changing it.

import Base

/// The reference for random operations: no store, no cache, no staging, no time.
struct ModelTree {
    /// A file's content lives apart from its name, since open files keep it when the name goes.
    final class File {
        var bytes: [UInt8]
        var mode: UInt32
        /// What utimens set, until the next change of the bytes; nil is not known.
        var modified: Timestamp?

        init(bytes: [UInt8], mode: UInt32) {
            self.bytes = bytes
            self.mode = mode
        }

        func write(_ new: [UInt8], at offset: Int) {
            if bytes.count < offset + new.count {
                bytes += [UInt8](repeating: 0, count: offset + new.count - bytes.count)
            }
            bytes.replaceSubrange(offset..<offset + new.count, with: new)
            modified = nil
        }

        func truncate(to count: Int) {
            if count < bytes.count {
                bytes.removeSubrange(count...)
            } else {
                bytes += [UInt8](repeating: 0, count: count - bytes.count)
            }
            modified = nil
        }

        var copy: File {
            let copy = File(bytes: bytes, mode: mode)
            copy.modified = modified
            return copy
        }
    }

    enum Entry {
        case file(File)
        /// The mode is nil where another client made the directory.
        case directory(mode: UInt32?)
        case symlink(String)

        var isDirectory: Bool { if case .directory = self { true } else { false } }
        var file: File? { if case .file(let file) = self { file } else { nil } }
    }

    /// What a call that must fail says; the tests look at whether it fails, and at nothing finer.
    struct Refusal: Error {}

    /// Which names may be made, and how long their keys are.
    var spelling = Spelling.plain
    /// Without the root.
    var entries: [String: Entry] = [:]

    static func parent(of path: String) -> String {
        path.lastIndex(of: "/").map { String(path[..<$0]) } ?? ""
    }

    func isDirectory(_ path: String) -> Bool { path.isEmpty || entries[path]?.isDirectory == true }

    func children(of path: String) -> [String] {
        let prefix = path.isEmpty ? "" : path + "/"
        return entries.keys.filter { $0.hasPrefix(prefix) && !$0.dropFirst(prefix.count).contains("/") }
            .map { String($0.dropFirst(prefix.count)) }.sorted()
    }

    func isEmpty(_ path: String) -> Bool { !entries.keys.contains { $0.hasPrefix(path + "/") } }

    /// The entry at a path whose way leads through directories.
    func entry(_ path: String) throws(Refusal) -> Entry {
        guard isDirectory(Self.parent(of: path)), let entry = entries[path] else { throw Refusal() }
        return entry
    }

    func file(_ path: String) throws(Refusal) -> File {
        guard let file = try entry(path).file else { throw Refusal() }
        return file
    }

    mutating func make(_ path: String, _ entry: Entry) throws(Refusal) {
        guard isDirectory(Self.parent(of: path)), entries[path] == nil, spelling.isMakeable(path),
            spelling.isKey(path, isDirectory: entry.isDirectory)
        else { throw Refusal() }
        entries[path] = entry
    }

    mutating func unlink(_ path: String) throws(Refusal) {
        guard try !entry(path).isDirectory else { throw Refusal() }
        entries[path] = nil
    }

    mutating func removeDirectory(_ path: String) throws(Refusal) {
        guard try entry(path).isDirectory, isEmpty(path) else { throw Refusal() }
        entries[path] = nil
    }

    mutating func rename(_ old: String, to new: String, mustBeNew: Bool) throws(Refusal) {
        let source = try entry(old)
        guard isDirectory(Self.parent(of: new)) else { throw Refusal() }
        if old == new {
            if mustBeNew { throw Refusal() }
            return
        }
        if new.hasPrefix(old + "/") || old.hasPrefix(new + "/") { throw Refusal() }
        if let target = entries[new] {
            guard !mustBeNew, source.isDirectory == target.isDirectory, !target.isDirectory || isEmpty(new) else {
                throw Refusal()
            }
        } else if !spelling.isMakeable(new), !isSameLongName(old, new) {
            throw Refusal()
        }
        let moved = entries.filter { $0.key == old || source.isDirectory && $0.key.hasPrefix(old + "/") }
        guard
            moved.allSatisfy({
                spelling.isKey(new + $0.key.dropFirst(old.count), isDirectory: $0.value.isDirectory)
            })
        else { throw Refusal() }
        entries[new] = source
        entries[old] = nil
        guard source.isDirectory else { return }
        for path in entries.keys where path.hasPrefix(old + "/") {
            entries[new + path.dropFirst(old.count)] = entries[path]
            entries[path] = nil
        }
    }

    /// A name that is longer than it is shown goes with a file from directory to directory.
    private func isSameLongName(_ old: String, _ new: String) -> Bool {
        let (from, to) = (old.dropFirst(Self.parent(of: old).count), new.dropFirst(Self.parent(of: new).count))
        return from.filter { $0 != "/" } == to.filter { $0 != "/" } && spelling.isKey(new, isDirectory: false)
    }

    /// Another client writes an object; the directories on its way come into being with it.
    mutating func writeRemotely(_ path: String, _ bytes: [UInt8], mode: UInt32) {
        entries[path] = .file(File(bytes: bytes, mode: mode))
        var above = Self.parent(of: path)
        while !above.isEmpty {
            if entries[above] == nil { entries[above] = .directory(mode: nil) }
            above = Self.parent(of: above)
        }
    }

    /// Whether another client could write an object there without making a clash of file and directory.
    func takesRemotely(_ path: String) -> Bool {
        if isDirectory(path) || !spelling.isKey(path, isDirectory: false) { return false }
        if case .symlink? = entries[path] { return false }
        var above = Self.parent(of: path)
        while !above.isEmpty {
            if let entry = entries[above], !entry.isDirectory { return false }
            above = Self.parent(of: above)
        }
        return true
    }
}
