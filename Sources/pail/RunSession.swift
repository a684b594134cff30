// The mounts of one `pail run`, and the command in their midst.

internal import Base
internal import CLinux
internal import Commands
internal import Glibc
internal import Mounts
internal import Synchronization

/// Mounts, runs, and takes everything away again. Used by one task.
final class RunSession {
    /// How long holders that outlive the command are waited for before the mount is detached under them.
    private static let busyNanoseconds: UInt64 = 10_000_000_000

    /// Absolute paths of the mounts, in the order they were made.
    private(set) var paths: [String] = []
    /// What could not be mounted.
    private(set) var failing: BucketLocation?
    private var madeDirectories: [String] = []
    private let signals = RunSignals()

    /// Makes one mount; its daemon ends with this process.
    func mount(_ mount: RunMount, startNanoseconds: UInt64) async throws(MountFailure) {
        failing = mount.plan.location
        var plan = mount.plan
        plan.parentPID = getpid()
        let directory: String
        if let wanted = mount.wanted {
            directory = wanted
        } else {
            directory = try Self.makeDirectory()
            madeDirectories.append(directory)
            plan.isMountpointTemporary = true
        }
        let environment = FuseEnvironment(userID: PrivateNamespace.isEntered ? 0 : nil)
        try await MountStart.prepare(&plan, mountpoint: directory, environment: environment)
        try PrivateNamespace.sharingMountRight { () throws(MountFailure) in
            try DaemonLauncher(plan: plan, startNanoseconds: startNanoseconds).launch()
        }
        paths.append(plan.mountpoint)
        failing = nil
    }

    /// Runs the command to its end. Blocks.
    /// - Returns: what a shell would give as its exit code.
    func run(_ words: [String]) -> Int32 {
        setenv("PAIL_MOUNT", paths[0], 1)
        for (index, path) in paths.enumerated() where paths.count > 1 { setenv("PAIL_MOUNT_\(index + 1)", path, 1) }
        signals.watch()
        var pid: pid_t = 0
        let code = Self.spawn(words, &pid)
        guard code == 0 else {
            say(Message.line("\(words[0]): \(String(cString: strerror(code)))"))
            return code == ENOENT ? 127 : 126
        }
        return signals.wait(for: pid)
    }

    /// Uploads, unmounts and tidies up; the worst of what came of it.
    func end() async -> ExitStatus {
        // The shell may stand in a mount; this program need not.
        chdir("/")
        signals.watch()
        signals.interruptFromNowOn()
        var worst = ExitStatus.done
        for path in paths.reversed() {
            let departure = MountDeparture(
                given: path, mountpoint: ByteString(path), timeoutNanoseconds: nil,
                busyNanoseconds: Self.busyNanoseconds, whenBusy: .detach,
                isInterrupted: { [signals] in signals.isInterrupted })
            let status = await departure.run()
            if status.rawValue > worst.rawValue { worst = status }
        }
        paths = []
        // The daemon does it too, for when this process is killed.
        for directory in madeDirectories { rmdir(directory) }
        return worst
    }

    private static func makeDirectory() throws(MountFailure) -> String {
        let base = getenv("TMPDIR").map { String(cString: $0) } ?? ""
        var template = Array("\(base.hasPrefix("/") ? base : "/tmp")/pail-run-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else {
            throw MountFailure("no directory to mount on: \(String(cString: strerror(errno)))", remedy: "check $TMPDIR")
        }
        return String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    private static func spawn(_ words: [String], _ pid: inout pid_t) -> Int32 {
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        // What this process ignores or blocks is not the command's business.
        _ = pail_spawn_default_signals(&attributes)
        // SAFETY: the copies live until the spawn call has returned and are freed once.
        var arguments: [UnsafeMutablePointer<CChar>?] = words.map { strdup($0) }
        arguments.append(nil)
        defer { for pointer in arguments { free(pointer) } }
        return posix_spawnp(&pid, words[0], nil, &attributes, arguments, environ)
    }
}

/// The signals of a `pail run`: passed on to the command while it runs; after it, the end of the waiting.
private final class RunSignals: Sendable {
    private let descriptor = Atomic<Int32>(-1)
    private let hasInterrupt = Atomic<Bool>(false)

    /// Whether somebody asked to wait no longer.
    var isInterrupted: Bool { hasInterrupt.load(ordering: .relaxed) }

    /// From now on SIGINT, SIGTERM and SIGHUP do not end this process.
    func watch() {
        guard descriptor.load(ordering: .relaxed) < 0 else { return }
        descriptor.store(pail_watch_signals(), ordering: .relaxed)
    }

    /// Passes signals on until the child has ended; its exit code as a shell gives it.
    func wait(for pid: pid_t) -> Int32 {
        let process = pail_open_process(pid)
        defer { close(process) }
        while true {
            var watches = [
                pollfd(fd: process, events: Int16(POLLIN), revents: 0),
                pollfd(fd: descriptor.load(ordering: .relaxed), events: Int16(POLLIN), revents: 0),
            ]
            let ready = poll(&watches, 2, -1)
            if ready < 0, errno != EINTR { break }
            guard ready > 0 else { continue }
            if watches[1].revents != 0 { passOn(to: pid) }
            if watches[0].revents != 0 { break }
        }
        var status: Int32 = 0
        while waitpid(pid, &status, 0) < 0, errno == EINTR {}
        return status & 0x7f == 0 ? status >> 8 & 0xff : 128 + status & 0x7f
    }

    private func passOn(to pid: pid_t) {
        var number: UInt8 = 0
        guard read(descriptor.load(ordering: .relaxed), &number, 1) == 1 else { return }
        // A terminal sends its interrupt to the whole group: the command has it already.
        let isFromTerminal = Int32(number) == SIGINT && pail_is_foreground(0) != 0
        if !isFromTerminal { kill(pid, Int32(number)) }
    }

    /// Each signal from now on means that nobody wants to wait for uploads.
    func interruptFromNowOn() {
        let descriptor = descriptor.load(ordering: .relaxed)
        guard descriptor >= 0 else { return }
        NamedThread.start("pail-signals") { [self] in
            var number: UInt8 = 0
            while true {
                let count = read(descriptor, &number, 1)
                if count < 0, errno == EINTR { continue }
                guard count == 1 else { return }
                hasInterrupt.store(true, ordering: .relaxed)
            }
        }
    }
}
