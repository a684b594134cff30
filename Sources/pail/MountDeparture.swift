// One mount on its way out: drain, unmount, wait for its daemon.

internal import Base
internal import CLinux
internal import Commands
internal import Control
internal import Glibc
internal import Mounts

/// Unmounts one mountpoint and says on standard error what happens. Used once, by one task.
final class MountDeparture {
    /// How long a busy mount is tried when the user names no time.
    static let busyNanosecondsDefault: UInt64 = 60_000_000_000
    /// A daemon that has nothing left to upload is gone in no time.
    private static let exitNanosecondsDefault: UInt64 = 30_000_000_000

    /// As the user wrote it.
    let given: String
    let mountpoint: ByteString
    let timeoutNanoseconds: UInt64?
    /// How long a busy mount is tried when `timeoutNanoseconds` says nothing.
    let busyNanoseconds: UInt64
    let whenBusy: UnmountRequest.WhenBusy
    /// Whether uploads are waited for before the first try to unmount, and not after it only.
    let drainsFirst: Bool
    /// What came of it, for programs.
    private(set) var report: DepartureReport
    /// Whether nobody wants to wait any more; asked now and then.
    let isInterrupted: @Sendable () -> Bool

    private let time = SystemTime()
    private let startNanoseconds: UInt64

    init(
        given: String, mountpoint: ByteString, timeoutNanoseconds: UInt64?,
        busyNanoseconds: UInt64 = MountDeparture.busyNanosecondsDefault, whenBusy: UnmountRequest.WhenBusy,
        drainsFirst: Bool = true, isInterrupted: @escaping @Sendable () -> Bool = { false }
    ) {
        self.busyNanoseconds = busyNanoseconds
        self.isInterrupted = isInterrupted
        self.drainsFirst = drainsFirst
        report = DepartureReport(mountpoint: "\(mountpoint)")
        self.given = given
        self.mountpoint = mountpoint
        self.timeoutNanoseconds = timeoutNanoseconds
        self.whenBusy = whenBusy
        startNanoseconds = time.monotonicNanoseconds
    }

    func run() async -> ExitStatus {
        let status = await leave()
        report.exitCode = status.rawValue
        return status
    }

    /// Says a complete line, and keeps it for the report.
    private func tell(_ line: String) {
        say(line)
        report.messages.append(line)
    }

    private func leave() async -> ExitStatus {
        let mount: MountEntry
        do throws(CommandFailure) {
            mount = try find()
        } catch {
            for line in error.lines { tell(line) }
            return error.status
        }
        report.source = "\(mount.source)"
        guard mount.isPail else {
            return await unmount(remaining(of: busyNanoseconds), daemon: nil, whenBusy: whenBusy)
        }
        return await leave(mount)
    }

    private func find() throws(CommandFailure) -> MountEntry {
        guard let table = try? MountTable.current() else { throw CommandFailure("cannot read the mount table") }
        if let mount = table.mount(at: mountpoint) { return mount }
        guard let around = table.mount(containing: mountpoint), around.mountpoint != "/" else {
            throw CommandFailure("\(given) is not mounted")
        }
        throw CommandFailure("\(given) is not a mountpoint; it lies in the mount at \(around.mountpoint)")
    }

    // MARK: pail's own mounts

    private func leave(_ mount: MountEntry) async -> ExitStatus {
        let daemon: Daemon
        do throws(ControlError) {
            daemon = try Daemon(mount)
        } catch {
            return await leaveWithoutDaemon(mount, error)
        }
        guard drainsFirst else { return await unmount(busyNanoseconds, daemon: daemon, whenBusy: whenBusy) }
        var left: DrainResult?
        do throws(ControlError) {
            left = try drain(daemon)
        } catch {
            switch error.code {
            case .timedOut: break
            case .notRunning, .connectionLost, .stopping: return await leaveWithoutDaemon(mount, error)
            default:
                tell(Message.line("\(given): the uploads could not be waited for: \(error)"))
                if whenBusy == .report { return .failed }
            }
        }
        if left?.isComplete != true, whenBusy == .report {
            return stay(daemon, left)
        }
        // With --lazy or --force the time is over already when the drain was given up.
        let isOver = left == nil
        return await unmount(isOver ? 0 : remaining(of: busyNanoseconds), daemon: daemon, whenBusy: whenBusy)
    }

    private func drain(_ daemon: Daemon) throws(ControlError) -> DrainResult {
        var watch = UploadWatch()
        let line = ProgressLine("uploading")
        defer { line.clear() }
        return try daemon.client.drain { latest in
            if let latest, latest.filesLeft > 0 {
                line.show(watch.progress(latest, at: time.monotonicNanoseconds))
            }
            return !isTimeOver
        }
    }

    /// Not everything is in S3, and nobody asked for a detach: the mount stays.
    private func stay(_ daemon: Daemon, _ result: DrainResult?) -> ExitStatus {
        report.outcome = .kept
        report.filesLeft = result?.filesLeft
        report.bytesLeft = result?.bytesLeft
        guard let result else {
            let left = (try? daemon.reconnected().status()).map { leftText($0.dirtyFiles, $0.dirtyBytes) }
            tell(Message.line("\(given) stays mounted: \(left ?? "some data") not yet in S3 after the timeout"))
            tell("  wait longer with --timeout, or detach it with --lazy or --force: the data stays staged")
            return .stillBusy
        }
        tell(Message.line("\(given) stays mounted: \(leftText(result.filesLeft, result.bytesLeft)) cannot be uploaded"))
        for failure in result.failures.prefix(20) { tell(Message.oneLine("  \(failure.path): \(failure.error)")) }
        tell("  put that right, or detach it with --lazy or --force: the data stays staged")
        return .failed
    }

    /// The daemon is dead or says nothing: what it staged is on disk, and nothing can be uploaded by it.
    private func leaveWithoutDaemon(_ mount: MountEntry, _ error: ControlError) async -> ExitStatus {
        if error.code == .notPermitted {
            tell(Message.line("\(given): \(error)"))
            return .failed
        }
        tell(Message.line("\(given): its daemon does not answer (\(error)); data that it staged stays on disk"))
        // Holders of a dead mount can do nothing with it but let go: nobody waits for them.
        let isDead = mount.isStale()
        let status = await unmount(
            isDead ? 0 : remaining(of: busyNanoseconds), daemon: nil, whenBusy: isDead ? .detach : whenBusy)
        if status == .done { tell("  mount \(Message.oneLine(mount.source)) again to upload it") }
        return status
    }

    // MARK: Any mount

    private func unmount(
        _ nanoseconds: UInt64, daemon: Daemon?, whenBusy: UnmountRequest.WhenBusy
    ) async -> ExitStatus {
        let before = try? daemon?.reconnected().status()
        let waiting = BusyLine(mountpoint: given)
        let outcome = await Unmounter().unmount(
            UnmountRequest(mountpoint: mountpoint, timeoutNanoseconds: nanoseconds, whenBusy: whenBusy)
        ) { waiting.show($0) }
        waiting.clear()
        report.take(outcome)
        switch outcome {
        case .unmounted, .detached:
            guard let daemon else { return .done }
            return seeOff(daemon, before: before, isDetached: outcome == .detached)
        case .notMounted:
            tell(Message.line("\(given) is not mounted"))
            return .failed
        case .stillBusy(let holders):
            let seconds = Int((time.monotonicNanoseconds - startNanoseconds) / 1_000_000_000)
            tell(Message.line("\(given) is still busy after \(seconds) s; held by:"))
            for line in HolderListing.lines(holders) { tell(line) }
            return .stillBusy
        case .notPermitted(let remedy):
            tell(Message.line("\(given) cannot be unmounted: \(remedy)"))
            return .failed
        case .failed(let code):
            tell(Message.line("\(given) cannot be unmounted: \(String(cString: strerror(code)))"))
            return .failed
        }
    }

    /// Waits for the daemon to end: data written after the drain is uploaded by then. A detached mount lives on with its
    /// holders, and only what it has to upload counts.
    ///
    /// A daemon ends when everything is uploaded or when what is left keeps failing: `before`, or a later answer, tells.
    private func seeOff(_ daemon: Daemon, before: MountStatus?, isDetached: Bool) -> ExitStatus {
        var watch = UploadWatch()
        let line = ProgressLine("uploading")
        defer { line.clear() }
        let start = time.monotonicNanoseconds
        var last = before
        var movedAt = start
        var pause: Int32 = 100
        while !daemon.hasEnded(waitMilliseconds: pause) {
            pause = 1000
            if let status = try? daemon.reconnected().status() {
                if last.map({ !Self.isSameProgress($0, status) }) ?? true { movedAt = time.monotonicNanoseconds }
                last = status
            }
            if let last, last.dirtyFiles > 0 {
                let left = UploadProgress(filesLeft: last.dirtyFiles, bytesLeft: last.dirtyBytes)
                line.show(watch.progress(left, at: time.monotonicNanoseconds))
            }
            let isFailing = last.map { $0.failedUploads > 0 && $0.failedUploads >= $0.dirtyFiles } ?? false
            let isClean = last?.dirtyFiles == 0
            if isDetached, isClean { return .done }
            let waited = time.monotonicNanoseconds - start
            let isOver = isTimeOver || (isClean && waited > Self.exitNanosecondsDefault)
            // A detached mount may live on for days with its holders: its uploads are waited for while they move.
            let isStuck = isDetached && time.monotonicNanoseconds - movedAt > Self.exitNanosecondsDefault
            if isOver || isFailing || isStuck {
                line.clear()
                return leftBehind(last)
            }
        }
        guard let last, last.failedUploads > 0 else { return .done }
        line.clear()
        return leftBehind(last)
    }

    private static func isSameProgress(_ one: MountStatus, _ other: MountStatus) -> Bool {
        one.dirtyFiles == other.dirtyFiles && one.dirtyBytes == other.dirtyBytes
            && one.uploads.reduce(0) { $0 + $1.bytesDone } == other.uploads.reduce(0) { $0 + $1.bytesDone }
    }

    private func leftBehind(_ status: MountStatus?) -> ExitStatus {
        report.filesLeft = status?.dirtyFiles
        report.bytesLeft = status?.dirtyBytes
        guard let status, status.dirtyFiles > 0 else {
            tell(Message.line("\(given) is unmounted, but its daemon does not end"))
            return .done
        }
        tell(Message.line("\(given) is detached with \(leftText(status.dirtyFiles, status.dirtyBytes)) not yet in S3:"))
        for upload in status.uploads.prefix(20) {
            tell(Message.oneLine("  \(upload.path)" + (upload.lastError.map { ": \($0)" } ?? "")))
        }
        tell("  it stays staged; mount \(Message.oneLine(status.source)) again to upload it")
        return .detachedWithData
    }

    private func leftText(_ files: Int, _ bytes: Int) -> String {
        "\(Message.count(files, "file")) (\(ByteCount.describe(bytes)))"
    }

    /// What is left of the user's time, or of the default where the user named none.
    private func remaining(of standard: UInt64) -> UInt64 {
        if isInterrupted() { return 0 }
        guard let timeoutNanoseconds else { return standard }
        let elapsed = time.monotonicNanoseconds - startNanoseconds
        return timeoutNanoseconds > elapsed ? timeoutNanoseconds - elapsed : 0
    }

    /// Whether the time that the user named is over.
    private var isTimeOver: Bool { isInterrupted() || (timeoutNanoseconds != nil && remaining(of: 0) == 0) }
}

/// The daemon of a mount: its control socket and its process.
private final class Daemon {
    let client: ControlClient
    private let mount: MountEntry
    private let directories: [ControlDirectory]
    /// Becomes readable when the process ends; -1 when it could not be opened.
    private let process: Int32

    init(_ mount: MountEntry) throws(ControlError) {
        guard let lookup = try? MountLookup() else { throw ControlError(.other, "cannot read the mount table") }
        self.mount = mount
        directories = lookup.directories(userID: mount.fuseUserID)
        client = try lookup.connect(mount)
        process = pail_open_process(try client.status().pid)
    }

    deinit {
        if process >= 0 { close(process) }
    }

    /// A new connection: one that was given up in the middle cannot be used again.
    func reconnected() throws(ControlError) -> ControlClient {
        try ControlClient.connect(
            mountpoint: mount.mountpoint.string, directories: directories, silenceSeconds: 3)
    }

    /// Whether the process has ended, after waiting a little.
    func hasEnded(waitMilliseconds: Int32) -> Bool {
        guard process >= 0 else { return true }
        var watch = pollfd(fd: process, events: Int16(POLLIN), revents: 0)
        return poll(&watch, 1, waitMilliseconds) > 0
    }
}

/// Says who is waited for. Called by the unmounter, one call at a time.
private final class BusyLine: Sendable {
    private let mountpoint: String
    // SAFETY of both: touched by one call at a time.
    private nonisolated(unsafe) let line = ProgressLine("")
    private nonisolated(unsafe) var told: String?

    init(mountpoint: String) {
        self.mountpoint = mountpoint
    }

    func show(_ progress: UnmountProgress) {
        guard let summary = progress.holders.flatMap(HolderListing.summary) else { return }
        let seconds = progress.elapsedNanoseconds / 1_000_000_000
        line.show("\(mountpoint) is busy: waiting \(seconds) s for \(summary)")
        // Off a terminal, once for each set of holders.
        if pail_terminal_columns(2) == 0, told != summary {
            say(Message.line("\(mountpoint) is busy; waiting for \(summary)"))
            told = summary
        }
    }

    func clear() {
        line.clear()
    }
}
