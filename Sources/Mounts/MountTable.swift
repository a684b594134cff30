// The mounts that this process sees, and which of them serves a path, worked out without asking any filesystem.

public import Base

/// A snapshot of the mount table. A value; reading it again is cheap (tens of microseconds).
public struct MountTable: Sendable, Equatable {
    /// In the kernel's order: a later mount was mounted later.
    public let entries: [MountEntry]

    public init(entries: [MountEntry]) {
        self.entries = entries
    }

    /// Reads the table of this process.
    public static func current(procDirectory: String = "/proc") throws(SystemCallError) -> MountTable {
        MountTable(parsing: try ProcFile.read("\(procDirectory)/self/mountinfo"))
    }

    /// The entry of that id.
    public func entry(id: Int) -> MountEntry? {
        entries.first { $0.id == id }
    }

    /// The mount that serves an absolute path free of `.`, `..` and symlinks.
    ///
    /// The walk goes from the root mount down, the way the kernel resolves names: a mount hidden by another one above
    /// it is never the answer, and of mounts stacked on one point the top one is.
    public func mount(containing path: ByteString) -> MountEntry? {
        guard var current = rootEntry else {
            // A process in a chroot does not see the mount it lives on: take the nearest one it does see.
            return entries.reduce(nil as MountEntry?) { best, entry in
                guard entry.mountpoint.isPathPrefix(of: path) else { return best }
                return entry.mountpoint.count >= (best?.mountpoint.count ?? 0) ? entry : best
            }
        }
        // Bounded: a mount is entered once.
        for _ in entries.indices {
            var next: MountEntry?
            for child in entries where child.parentID == current.id && child.id != current.id {
                guard child.mountpoint.isPathPrefix(of: path) else { continue }
                if child.mountpoint.count <= next?.mountpoint.count ?? .max { next = child }
            }
            guard let next else { break }
            current = next
        }
        return current
    }

    /// The topmost mount whose mountpoint is `path` (absolute, canonical), unless it is hidden.
    public func mount(at path: ByteString) -> MountEntry? {
        mount(containing: path).flatMap { $0.mountpoint == path ? $0 : nil }
    }

    /// All mounts stacked at `path`, hidden ones too, the oldest first.
    public func stack(at path: ByteString) -> [MountEntry] {
        entries.filter { $0.mountpoint == path }
    }

    /// The mounts mounted somewhere inside the mount `id`, directly or not, in mounting order.
    public func nestedMounts(below id: Int) -> [MountEntry] {
        var inside: Set<Int> = [id]
        var grew = true
        while grew {
            grew = false
            for entry in entries where inside.contains(entry.parentID) {
                if inside.insert(entry.id).inserted { grew = true }
            }
        }
        inside.remove(id)
        return entries.filter { inside.contains($0.id) }
    }

    private var rootEntry: MountEntry? {
        // The root mount's parent lies outside of what this process can see, or is itself.
        let ids = Set(entries.map(\.id))
        return entries.first { entry in
            entry.mountpoint == "/" && (entry.parentID == entry.id || !ids.contains(entry.parentID))
        }
    }
}

extension ByteString {
    /// Whether `path` is this path or lies below it.
    package func isPathPrefix(of path: ByteString) -> Bool {
        guard path.hasPrefix(self) else { return false }
        return path.count == count || self == "/"
            || path.utf8[path.utf8.index(path.utf8.startIndex, offsetBy: count)]
                == UInt8(ascii: "/")
    }
}
