// Finds who keeps a mount busy, from /proc alone: the mount itself, which may be dead, is never asked anything.
//
// What pins a mount in the kernel is a reference to that very mount, not to the filesystem behind it: a process in another
// mount namespace has its own copy of each mount and does not keep ours busy, except by descriptors it brought along.
// So descriptors are compared by mount id (fdinfo), and links (cwd, root, exe, mapped files) by path when the process
// shares our namespace and the path is unambiguous, else by the mount id of an O_PATH descriptor.

internal import Base
internal import Glibc

extension MountHolders {
    /// Searches for the holders of a mount. Blocking, thread-safe; with 1,000 processes some tenths of a second.
    ///
    /// The search runs on a thread of its own: a read of /proc can wait for a process that is itself stuck. When
    /// `deadlineMilliseconds` have passed, what was found so far is the answer.
    public static func find(
        of mount: MountEntry, in table: MountTable, procDirectory: String = "/proc", deadlineMilliseconds: Int = 3_000
    ) -> MountHolders {
        let found = Lock(MountHolders(nestedMounts: table.nestedMounts(below: mount.id), isComplete: false))
        let end = CompletionSignal()
        NamedThread.start("pail-holders") {
            let scan = HolderScan(target: mount, table: table, procDirectory: procDirectory)
            scan.run { change in found.withLock { change(&$0) } }
            found.withLock { $0.isComplete = true }
            end.signal()
        }
        _ = end.wait(milliseconds: deadlineMilliseconds)
        return found.withLock { holders in
            holders.processes.sort { $0.pid < $1.pid }
            return holders
        }
    }
}

/// One search. Runs on one thread.
struct HolderScan {
    let target: MountEntry
    let table: MountTable
    let proc: String
    /// Whether a path below the mountpoint may belong to another mount at the same place.
    private let isAmbiguous: Bool
    private let ownNamespace: ByteString?

    init(target: MountEntry, table: MountTable, procDirectory: String) {
        self.target = target
        self.table = table
        proc = procDirectory
        isAmbiguous = table.stack(at: target.mountpoint).count > 1 || table.mount(at: target.mountpoint) != target
        ownNamespace = try? ProcFile.link("\(procDirectory)/self/ns/mnt")
    }

    /// Hands each finding to `add` as it is made.
    func run(_ add: ((inout MountHolders) -> Void) -> Void) {
        let sockets = boundSockets()
        for pid in (try? ProcFile.numbers(in: proc)) ?? [] {
            switch inspect(pid, sockets) {
            case .nothing: break
            case .unreadable: add { $0.unreadableProcessCount += 1 }
            case .holder(let process): add { $0.processes.append(process) }
            }
        }
        let uses = loopDevices() + swapFiles()
        if !uses.isEmpty { add { $0.kernelUses = uses } }
    }

    private enum Finding {
        case nothing
        case unreadable
        case holder(HolderProcess)
    }

    private func inspect(_ pid: Int32, _ sockets: [String: ByteString]) -> Finding {
        let directory = "\(proc)/\(pid)"
        var namespace: ByteString?
        do {
            namespace = try ProcFile.link("\(directory)/ns/mnt")
        } catch {
            // A process that ended meanwhile holds nothing, and neither does a thread of the kernel.
            let isDenied = error.errno == EACCES || error.errno == EPERM
            return isDenied && !isKernelThread(directory) && !isOwnDaemon(directory) ? .unreadable : .nothing
        }
        let isNear = namespace == ownNamespace
        var holdings: [Holding] = []
        func add(_ kind: Holding.Kind, link name: String) {
            let link = "\(directory)/\(name)"
            guard let text = try? ProcFile.link(link) else { return }
            let (path, isDeleted) = text.withoutDeletedMark(unless: target.mountpoint)
            guard isOnTarget(path, link: link, isNear: isNear) else { return }
            holdings.append(Holding(kind, path: path, isDeleted: isDeleted))
        }
        add(.workingDirectory, link: "cwd")
        // Everyone's root is on the root mount: worth a line only below it.
        if target.mountpoint != "/" { add(.rootDirectory, link: "root") }
        add(.executable, link: "exe")
        addOpenFiles(of: directory, sockets, to: &holdings)
        addMappedFiles(of: directory, isNear: isNear, to: &holdings)
        return holdings.isEmpty ? .nothing : .holder(describe(pid, directory, holdings))
    }

    /// A daemon of this program, which nobody but root may look into (`pail_forbid_core`), and of this user. It stands in `/`, and what
    /// it has open is the FUSE device, its cache and its staged files.
    private func isOwnDaemon(_ directory: String) -> Bool {
        guard let text = try? ProcFile.read("\(directory)/status") else { return false }
        let lines = String(decoding: text, as: UTF8.self).split(separator: "\n")
        return lines.first == "Name:\tpail" && lines.contains { $0.hasPrefix("Uid:\t\(geteuid())\t") }
    }

    /// By PF_KTHREAD (include/linux/sched.h) in the flags of /proc/PID/stat, which everyone may read.
    private func isKernelThread(_ directory: String) -> Bool {
        guard let text = try? ProcFile.read("\(directory)/stat"), let name = text.lastIndex(of: UInt8(ascii: ")"))
        else {
            return false
        }
        // After the name: state, parent, group, session, terminal, terminal's group, flags.
        let fields = text[(name + 1)...].split(separator: UInt8(ascii: " "))
        guard fields.count > 6, let flags = UInt32(String(decoding: fields[6], as: UTF8.self)) else { return false }
        return flags & 0x0020_0000 != 0
    }

    private func isOnTarget(_ path: ByteString, link: String, isNear: Bool) -> Bool {
        guard target.mountpoint.isPathPrefix(of: path) else { return false }
        if isNear, !isAmbiguous { return table.mount(containing: path)?.id == target.id }
        return (try? ProcFile.mountID(of: link)) == target.id
    }

    private func addOpenFiles(of directory: String, _ sockets: [String: ByteString], to holdings: inout [Holding]) {
        let descriptors = (try? ProcFile.numbers(in: "\(directory)/fd"))?.sorted() ?? []
        var bound: [Holding] = []
        for descriptor in descriptors {
            guard let text = try? ProcFile.link("\(directory)/fd/\(descriptor)") else { continue }
            if let name = sockets[text.string] {
                bound.append(Holding(.boundSocket(descriptor: descriptor), path: name))
                continue
            }
            let (path, isDeleted) = text.withoutDeletedMark(unless: target.mountpoint)
            guard target.mountpoint.isPathPrefix(of: path),
                let information = try? ProcFile.read("\(directory)/fdinfo/\(descriptor)"),
                ProcFile.parseMountID(information) == target.id
            else { continue }
            holdings.append(Holding(.openFile(descriptor: descriptor), path: path, isDeleted: isDeleted))
        }
        holdings += bound
    }

    private func addMappedFiles(of directory: String, isNear: Bool, to holdings: inout [Holding]) {
        guard let text = try? ProcFile.read("\(directory)/maps") else { return }
        let program = holdings.first { $0.kind == .executable }?.path
        for file in MapsFile.files(in: text, below: target.mountpoint) where file.path != program {
            guard isOnTarget(file.path, link: "\(directory)/map_files/\(file.range)", isNear: isNear) else { continue }
            holdings.append(Holding(.mappedFile, path: file.path, isDeleted: file.isDeleted))
        }
    }

    private func describe(_ pid: Int32, _ directory: String, _ holdings: [Holding]) -> HolderProcess {
        var information = stat()
        let userID = stat(directory, &information) == 0 ? information.st_uid : 0
        return HolderProcess(
            pid: pid, userID: userID, user: UserName.of(userID), commandLine: commandLine(directory),
            holdings: Array(holdings.prefix(HolderProcess.holdingCountMax)),
            omittedHoldingCount: max(0, holdings.count - HolderProcess.holdingCountMax))
    }

    private func commandLine(_ directory: String) -> String {
        let bytes = (try? ProcFile.read("\(directory)/cmdline")) ?? []
        let words = bytes.split(separator: 0)
        let text: String
        if words.isEmpty {
            let name = (try? ProcFile.read("\(directory)/comm")) ?? []
            text = "[\(String(decoding: name.prefix { $0 != UInt8(ascii: "\n") }, as: UTF8.self))]"
        } else {
            text = words.prefix(64).map { String(decoding: $0.prefix(512), as: UTF8.self) }.joined(separator: " ")
        }
        // The line is shown on a terminal: a hostile command line must not be able to steer it.
        let printable = String(
            text.unicodeScalars.map { $0.properties.generalCategory == .control ? "?" : Character($0) })
        let limit = HolderProcess.commandLineCharactersMax
        return printable.count <= limit ? printable : "\(printable.prefix(limit - 1))…"
    }

    // MARK: Uses without a descriptor on the mount

    /// Unix sockets bound to absolute names below the mountpoint: the link text of their descriptors, and the name.
    private func boundSockets() -> [String: ByteString] {
        guard let text = try? ProcFile.read("\(proc)/net/unix") else { return [:] }
        var sockets: [String: ByteString] = [:]
        for line in text.split(separator: UInt8(ascii: "\n")) {
            // Num RefCount Protocol Flags Type St Inode Path
            let fields = line.split(separator: UInt8(ascii: " "), maxSplits: 7)
            guard fields.count == 8 else { continue }
            let path = ByteString(String(decoding: fields[7], as: UTF8.self))
            guard path.hasPrefix("/"), target.mountpoint.isPathPrefix(of: path),
                table.mount(containing: path)?.id == target.id
            else { continue }
            sockets["socket:[\(String(decoding: fields[6], as: UTF8.self))]"] = path
        }
        return sockets
    }

    private func loopDevices() -> [KernelUse] {
        let names = (try? ProcFile.names(in: "/sys/block")) ?? []
        return names.filter { $0.hasPrefix("loop") }.sorted().compactMap { name in
            guard let text = try? ProcFile.read("/sys/block/\(name)/loop/backing_file") else { return nil }
            let line = text.prefix { $0 != UInt8(ascii: "\n") }
            let path = ByteString(String(decoding: line, as: UTF8.self))
                .withoutDeletedMark(unless: target.mountpoint).path
            return table.mount(containing: path)?.id == target.id ? .loopDevice(name, backing: path) : nil
        }
    }

    private func swapFiles() -> [KernelUse] {
        guard let text = try? ProcFile.read("\(proc)/swaps") else { return [] }
        return text.split(separator: UInt8(ascii: "\n")).dropFirst().compactMap { line in
            let name = MountEntry.undoOctalEscapes(line.prefix { $0 != UInt8(ascii: " ") && $0 != 0x09 })
            let path = ByteString(String(decoding: name, as: UTF8.self))
            // Swap on a block device has a name in /dev and is no use of a mount worth naming.
            guard !path.hasPrefix("/dev/") else { return nil }
            return table.mount(containing: path)?.id == target.id ? .swapFile(path) : nil
        }
    }
}
