// What the serving process changes of itself before it serves.

internal import Base
internal import CLinux
internal import Commands
internal import Glibc
internal import Logging

/// The process that serves a mount, in the foreground or as a daemon.
enum DaemonProcess {
    /// Set by SIGTERM and SIGINT, and by the end of the process that the mount is for, once `prepare` was called.
    static let endRequested = OneShot<Void>()

    /// No core dump (it would hold keys and other people's data), a safe working directory, signals, and the log; a name for
    /// `ps` (it was executed as /proc/self/exe), and descriptors for all files whose data is to be uploaded.
    /// Call once, before any thread that matters is started.
    /// - Parameter isSupervisor: it looks after signals itself.
    static func prepare(_ plan: MountPlan, isSupervisor: Bool = false) throws(MountFailure) {
        // The name first: without a core, what is in /proc of it is not its own to write any more.
        _ = pail_set_process_name("pail")
        _ = pail_forbid_core()
        _ = pail_raise_file_limit()
        umask(0o077)
        // A daemon must not keep another mount busy.
        if !plan.isForeground { chdir("/") }
        try openLog(plan)
        if !isSupervisor { watchSignals(plan) }
        if let parent = plan.parentPID { watchParent(parent) }
    }

    /// Asks to end when the process that this mount is for has ended, by whatever means.
    private static func watchParent(_ pid: Int32) {
        let process = pail_open_process(pid)
        // A number that is somebody else's by now is not our parent's.
        guard process >= 0, getppid() == pid else {
            endRequested.set(())
            return
        }
        NamedThread.start("pail-parent") {
            var watch = pollfd(fd: process, events: Int16(POLLIN), revents: 0)
            while poll(&watch, 1, -1) < 0, errno == EINTR {}
            close(process)
            endRequested.set(())
        }
    }

    private static func openLog(_ plan: MountPlan) throws(MountFailure) {
        LogOutput.shared.level = plan.logLevel
        if let path = plan.logFilePath {
            LogOutput.shared.redirect(to: try open(path))
        } else if !plan.isForeground {
            try StateDirectory.make("\(plan.stateDirectory)/log")
            makeRoom(plan.defaultLogPath)
            let file = try open(plan.defaultLogPath)
            LogOutput.shared.redirect(to: LogSink.system() ?? file)
        }
        guard !plan.isForeground else { return }
        takeStandardError(plan.logFilePath ?? plan.defaultLogPath)
    }

    /// What is not ours to log (a trap's message, a library's warning) goes to the file.
    private static func takeStandardError(_ path: String) {
        let descriptor = Glibc.open(path, O_WRONLY | O_APPEND | O_CLOEXEC)
        if descriptor >= 0 {
            dup2(descriptor, 2)
            close(descriptor)
        }
    }

    /// One older log is kept. A log of the user's own naming is the user's to rotate.
    private static func makeRoom(_ path: String) {
        var status = stat()
        if stat(path, &status) == 0, status.st_size > 16 << 20 { rename(path, "\(path).1") }
    }

    private static func open(_ path: String) throws(MountFailure) -> LogSink {
        guard let sink = LogSink.file(path) else {
            throw MountFailure(
                "the log \(path) cannot be opened: \(String(cString: strerror(errno)))",
                remedy: "name another with --log-file")
        }
        return sink
    }

    /// SIGHUP opens the log file again; without one it means nothing: a daemon outlives its terminal. SIGUSR2 makes the log
    /// tell everything, and a second one as little as before. A second SIGTERM or SIGINT ends at once; what is staged
    /// stays staged.
    private static func watchSignals(_ plan: MountPlan) {
        let descriptor = pail_watch_signals()
        guard descriptor >= 0 else { return }
        NamedThread.start("pail-signals") {
            var number: UInt8 = 0
            while true {
                let count = read(descriptor, &number, 1)
                if count < 0, errno == EINTR { continue }
                guard count == 1 else { return }
                switch Int32(number) {
                case SIGHUP: reopenLog(plan)
                case SIGUSR2: toggleDebugging(plan)
                default: if !endRequested.set(()) { _exit(128 + Int32(number)) }
                }
            }
        }
    }

    static func reopenLog(_ plan: MountPlan) {
        guard let path = plan.logFilePath ?? (plan.isForeground ? nil : plan.defaultLogPath) else { return }
        let isReopened = LogOutput.shared.reopen(path)
        let code = errno
        if !plan.isForeground { takeStandardError(path) }
        // A journal is no file, and needs no reopening.
        if isReopened {
            Logger(label: "log").notice("opened again")
        } else if plan.logFilePath != nil {
            Logger(label: "log").error("\(path) cannot be opened again: \(String(cString: strerror(code)))")
        }
    }

    private static func toggleDebugging(_ plan: MountPlan) {
        let isOn = LogOutput.shared.isDebugging
        let level: Logger.Level = isOn ? max(plan.logLevel, .info) : .debug
        LogOutput.shared.level = level
        Logger(label: "log").notice("level \(level) by SIGUSR2")
    }
}
