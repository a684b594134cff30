// Where log lines go: standard error, a file, the systemd journal, or syslog.

internal import CLinux
internal import Glibc
internal import Logging

/// A destination of log records. Thread-safe: each record is one `write` or `send`, which the kernel keeps whole.
///
/// A record that cannot be delivered is dropped: logging never blocks or fails the work that is logged.
public struct LogSink: Sendable {
    private enum Form: Sendable {
        /// Timestamped lines.
        case lines
        /// Lines that begin with their priority, `<3>`: the journal reads them, and adds the time (sd-daemon(3)).
        case priorities
        /// Lines without a time: someone is watching, or the journal adds it.
        case journal
        case syslog
        case nowhere
    }

    private let form: Form
    private let descriptor: Int32

    /// Drops everything.
    public static let none = LogSink(form: .nowhere, descriptor: -1)

    /// The process's standard error: timestamped lines, or with their priority where it is the journal, as systemd makes it
    /// for a service.
    public static let standardError = LogSink.lines(
        2, journalStream: getenv("JOURNAL_STREAM").map { String(cString: $0) })

    /// - Parameter journalStream: what systemd says of the stream that it made, `DEVICE:INODE` (systemd.exec(5)). It is
    ///   inherited where standard error was redirected, so that the descriptor decides.
    static func lines(_ descriptor: Int32, journalStream: String?) -> LogSink {
        var status = stat()
        let isJournal =
            journalStream != nil && fstat(descriptor, &status) == 0
            && journalStream == "\(status.st_dev):\(status.st_ino)"
        return LogSink(form: isJournal ? .priorities : .lines, descriptor: descriptor)
    }

    /// Appends to a file of mode 0600, made when it is not there. The descriptor stays open for the life of the process.
    /// - Returns: nil with `errno` when the file cannot be opened, or is not a plain file of ours or the superuser's.
    public static func file(_ path: String) -> LogSink? {
        let descriptor = path.withCString { pail_open_log($0) }
        return descriptor < 0 ? nil : LogSink(form: .lines, descriptor: descriptor)
    }

    /// The systemd journal by its native protocol (systemd.io, "Native Journal Protocol"), else syslog's socket; nil when
    /// the machine has neither. `socketRoot` is prepended to both paths, for tests.
    public static func system(socketRoot: String = "") -> LogSink? {
        if let descriptor = connected(to: socketRoot + "/run/systemd/journal/socket") {
            return LogSink(form: .journal, descriptor: descriptor)
        }
        if let descriptor = connected(to: socketRoot + "/dev/log") {
            return LogSink(form: .syslog, descriptor: descriptor)
        }
        return nil
    }

    /// Puts a newly opened file in the place of the one written to: no record is lost or goes elsewhere meanwhile.
    func reopen(_ path: String) -> Bool {
        guard form == .lines, descriptor > 2 else { return false }
        let fresh = path.withCString { pail_open_log($0) }
        guard fresh >= 0 else { return false }
        defer { close(fresh) }
        guard dup2(fresh, descriptor) >= 0 else { return false }
        return fcntl(descriptor, F_SETFD, FD_CLOEXEC) >= 0
    }

    /// Writes one record. `body` is a single line.
    func write(_ body: String, level: Logger.Level, now: Timestamp) {
        let record: String
        switch form {
        case .nowhere: return
        case .lines: record = "\(LogLine.describe(now)) \(body)\n"
        case .priorities: record = "<\(level.syslogPriority)>\(body)\n"
        case .journal: record = "MESSAGE=\(body)\nPRIORITY=\(level.syslogPriority)\nSYSLOG_IDENTIFIER=pail\n"
        // Facility 3, "system daemons" (RFC 5424, table 1).
        case .syslog: record = "<\(3 * 8 + level.syslogPriority)>pail[\(getpid())]: \(body)"
        }
        var copy = record
        copy.withUTF8 { bytes in
            // SAFETY: the pointer is used during the call only. A result is not looked at: see the type's promise.
            if form == .lines || form == .priorities {
                _ = Glibc.write(descriptor, bytes.baseAddress, bytes.count)
            } else {
                let flags = Int32(MSG_DONTWAIT) | Int32(MSG_NOSIGNAL)
                _ = Glibc.send(descriptor, bytes.baseAddress, bytes.count, flags)
            }
        }
    }

    private static func connected(to path: String) -> Int32? {
        let descriptor = path.withCString { pail_connect_datagram($0) }
        return descriptor < 0 ? nil : descriptor
    }
}

extension Logger.Level {
    /// RFC 5424, table 2.
    fileprivate var syslogPriority: Int {
        switch self {
        case .trace, .debug: 7
        case .info: 6
        case .notice: 5
        case .warning: 4
        case .error: 3
        case .critical: 2
        }
    }
}
