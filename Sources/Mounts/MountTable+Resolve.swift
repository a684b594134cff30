// From what a user typed to the canonical path of a mountpoint, without touching the mount itself, which may be dead.

public import Base
internal import Glibc

extension MountTable {
    /// The absolute path without `.`, `..` and symlinks, worked out one name at a time.
    ///
    /// A name that is a mountpoint is entered without asking the filesystem mounted there, so that the mountpoint of a dead
    /// mount resolves. Names *inside* a mount that could hang are looked at only when that mount answers; else they
    /// are taken as they are. Names that do not exist are taken as they are, too.
    /// - Parameter path: absolute, or relative to the working directory.
    public func resolve(_ path: String) throws(SystemCallError) -> ByteString {
        var pending = try Self.components(of: Self.absolute(path)).reversed() as [Substring]
        var current = ByteString("")
        var linksFollowed = 0
        var answers: [Int: Bool] = [:]
        while let name = pending.popLast() {
            if name == ".." {
                current = current.parentPath
                continue
            }
            let next = ByteString("\(current)/\(name)")
            if mount(at: next) == nil, mayRead(below: current, &answers), let target = try? ProcFile.link(next.string) {
                linksFollowed += 1
                // The kernel's own limit (MAXSYMLINKS).
                guard linksFollowed <= 40 else { throw SystemCallError("resolve \(path)", errno: ELOOP) }
                if target.string.utf8.first == UInt8(ascii: "/") { current = "" }
                pending.append(contentsOf: Self.components(of: target.string).reversed())
            } else {
                current = next
            }
        }
        return current.isEmpty ? "/" : current
    }

    private func mayRead(below directory: ByteString, _ answers: inout [Int: Bool]) -> Bool {
        guard let mount = mount(containing: directory.isEmpty ? "/" : directory), mount.mayHang else { return true }
        if let answer = answers[mount.id] { return answer }
        let answer = mount.fileSystemType != "autofs" && mount.liveness(timeoutMilliseconds: 1_000) == .live
        answers[mount.id] = answer
        return answer
    }

    private static func absolute(_ path: String) throws(SystemCallError) -> String {
        if path.utf8.first == UInt8(ascii: "/") { return path }
        // The kernel answers getcwd from its name cache: no filesystem is asked.
        guard let buffer = getcwd(nil, 0) else { throw SystemCallError("getcwd", errno: errno) }
        // SAFETY: getcwd allocated a NUL-terminated string that is ours to free.
        defer { free(buffer) }
        return "\(String(cString: buffer))/\(path)"
    }

    private static func components(of path: String) -> [Substring] {
        // Split by bytes: a combining character after a slash is no reason to miss the slash.
        path.utf8.split(separator: UInt8(ascii: "/")).map { Substring($0) }.filter { $0 != "." }
    }
}

extension ByteString {
    /// The path up to the last slash; empty for a top-level name.
    var parentPath: ByteString {
        guard let slash = string.utf8.lastIndex(of: UInt8(ascii: "/")) else { return "" }
        return ByteString(String(string.utf8[..<slash])!)
    }
}
