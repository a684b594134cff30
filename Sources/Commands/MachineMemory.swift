// How much memory there is for this process.

internal import Base
internal import Glibc

/// The machine's memory, or the control group's limit where that is lower.
public enum MachineMemory {
    /// In bytes, at least 1 MiB.
    static func bytes() -> Int {
        let pages = sysconf(Int32(_SC_PHYS_PAGES))
        let machine = max(1 << 20, pages * sysconf(Int32(_SC_PAGESIZE)))
        let group = controlGroupFiles(selfGroups: TextFile.read("/proc/self/cgroup") ?? "")
        return group.compactMap { TextFile.read($0) }.compactMap(limit).reduce(machine, min)
    }

    /// The limit files of the process's group and of all above it (kernel, Documentation/admin-guide/cgroup-v2.rst,
    /// "memory.max", and cgroup-v1/memory.rst, "memory.limit_in_bytes").
    static func controlGroupFiles(selfGroups: String) -> [String] {
        var files: [String] = []
        for line in selfGroups.split(separator: "\n") {
            let fields = line.split(separator: ":", maxSplits: 2, omittingEmptySubsequences: false)
            guard fields.count == 3 else { continue }
            let (root, name): (String, String)
            if fields[1].isEmpty {
                (root, name) = ("/sys/fs/cgroup", "memory.max")
            } else if fields[1].split(separator: ",").contains("memory") {
                (root, name) = ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
            } else {
                continue
            }
            var group = fields[2]
            while group.hasSuffix("/") { group = group.dropLast() }
            while true {
                files.append("\(root)\(group)/\(name)")
                guard let slash = group.lastIndex(of: "/") else { break }
                group = group[..<slash]
            }
        }
        return files
    }

    /// The number in a limit file; nil for `max` and for nonsense.
    static func limit(_ text: String) -> Int? {
        let digits = text.prefix { $0.isASCII && $0.isNumber }
        guard let value = Int(digits), value >= 1 << 20 else { return nil }
        return value
    }
}
