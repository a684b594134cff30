// What the serving process changes of itself before it serves.

internal import Base
internal import CLinux
internal import Commands
internal import Glibc

/// The process that serves a mount, in the foreground or as a daemon.
enum DaemonProcess {
    /// Signals that ask to end: SIGTERM and SIGINT. Set by `prepare`.
    static let endRequested = OneShot<Void>()

    /// No core dump (it would hold keys and other people's data), a safe working directory, signals, and the log.
    /// Call once, before any thread that matters is started.
    static func prepare(_ plan: MountPlan) throws(MountFailure) {
        _ = pail_forbid_core()
        umask(0o077)
        // A daemon must not keep another mount busy.
        if !plan.isForeground { chdir("/") }
        try openLog(plan)
        watchSignals()
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
        // What is not ours to log (a trap's message, a library's warning) goes to the file.
        let descriptor = Glibc.open(plan.logFilePath ?? plan.defaultLogPath, O_WRONLY | O_APPEND | O_CLOEXEC)
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

    /// SIGHUP is caught and means nothing: a daemon outlives its terminal. A second SIGTERM or SIGINT ends at once; what is
    /// staged stays staged.
    private static func watchSignals() {
        let descriptor = pail_watch_signals()
        guard descriptor >= 0 else { return }
        NamedThread.start("pail-signals") {
            var number: UInt8 = 0
            while true {
                let count = read(descriptor, &number, 1)
                if count < 0, errno == EINTR { continue }
                guard count == 1 else { return }
                guard Int32(number) != SIGHUP else { continue }
                if !endRequested.set(()) { _exit(128 + Int32(number)) }
            }
        }
    }
}
