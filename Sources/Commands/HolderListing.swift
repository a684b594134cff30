// Who keeps a mount busy, for people.

internal import Base
internal import Glibc
public import Mounts

/// The list that `pail umount` prints.
public enum HolderListing {
    /// Lines without `pail:` in front: a table of processes and what each holds, then mounts inside and the kernel's uses.
    public static func lines(_ holders: MountHolders) -> [String] {
        var table = TextTable([.right])
        for process in holders.processes {
            for (index, holding) in process.holdings.enumerated() {
                let held = "\(holding.kind): \(holding.path)" + (holding.isDeleted ? " (deleted)" : "")
                let who = index == 0 ? ["\(process.pid)", process.user, process.commandLine] : ["", "", ""]
                table.add((who + [held]).map(Message.oneLine))
            }
            if process.omittedHoldingCount > 0 {
                table.add(["", "", "", "and \(process.omittedHoldingCount) more"])
            }
        }
        var lines = table.lines.map { "  \($0)" }
        for mount in holders.nestedMounts {
            lines.append(Message.oneLine("  mounted inside: \(mount.mountpoint) (\(mount.fileSystemType))"))
        }
        for use in holders.kernelUses {
            switch use {
            case .loopDevice(let name, let backing):
                lines.append(Message.oneLine("  loop device \(name): \(backing)"))
            case .swapFile(let path): lines.append(Message.oneLine("  swap file: \(path)"))
            }
        }
        if holders.unreadableProcessCount > 0 {
            let processes = Message.count(holders.unreadableProcessCount, "process", plural: "processes")
            let whose = geteuid() == 0 ? "" : " of other users"
            lines.append("  (\(processes)\(whose) could not be looked into\(geteuid() == 0 ? "" : "; root can"))")
        }
        if !holders.isComplete { lines.append("  (the search was not finished)") }
        if lines.isEmpty { lines.append("  nobody that can be seen from here; maybe a process of another container") }
        return lines
    }

    /// One phrase: `1234 (python a.py), 2 others`; nil when nobody is known.
    public static func summary(_ holders: MountHolders) -> String? {
        guard let first = holders.processes.first else {
            return holders.nestedMounts.first.map { "the mount \($0.mountpoint) inside" }
        }
        let command = Message.oneLine(String(first.commandLine.prefix(40)))
        let others = holders.processes.count - 1
        return "\(first.pid) (\(command))" + (others > 0 ? " and \(Message.count(others, "other"))" : "")
    }
}
