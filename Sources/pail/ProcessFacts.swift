// What /proc knows of processes, for the status.

internal import Commands
internal import Control
internal import Glibc

enum ProcessFacts {
    /// More of a command line is not told.
    private static let commandCharactersMax = 60

    /// What the kernel puts behind the path of a program whose file is gone.
    static let deletedMark = " (deleted)"

    /// The file that this process executes, with `deletedMark` behind it when it was replaced or removed since.
    static var program: String? {
        var buffer = [UInt8](repeating: 0, count: Int(PATH_MAX))
        let count = readlink("/proc/self/exe", &buffer, buffer.count)
        return count > 0 ? String(decoding: buffer[..<count], as: UTF8.self) : nil
    }

    /// Resident memory of this process, in bytes; 0 when it cannot be told.
    static func residentBytes() -> Int {
        guard
            let pages = TextFile.read("/proc/self/statm")?.split(separator: " ").dropFirst().first.flatMap({ Int($0) })
        else { return 0 }
        return pages * Int(sysconf(Int32(_SC_PAGESIZE)))
    }

    /// The processes of threads with their counts, the most first; threads that are gone count as one process, 0.
    static func processes(_ threads: [(threadID: Int32, count: UInt64)], countMax: Int) -> [MountStatus.Process] {
        var found: [Int32: MountStatus.Process] = [:]
        for (threadID, count) in threads {
            let (pid, command) = process(of: threadID)
            found[pid, default: MountStatus.Process(pid: pid, command: command, requests: 0)].requests += Int(count)
        }
        return Array(found.values.sorted { ($0.requests, $1.pid) > ($1.requests, $0.pid) }.prefix(countMax))
    }

    /// The kernel numbers threads where it says pid.
    private static func process(of threadID: Int32) -> (pid: Int32, command: String) {
        guard let text = TextFile.read("/proc/\(threadID)/status"),
            let line = text.split(separator: "\n").first(where: { $0.hasPrefix("Tgid:\t") }),
            let pid = Int32(line.dropFirst(6))
        else { return (0, "(ended)") }
        let words = TextFile.read("/proc/\(pid)/cmdline")?.split(separator: "\0").prefix(8).joined(separator: " ") ?? ""
        return (pid, String(Message.oneLine(words).prefix(commandCharactersMax)))
    }
}
