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
    /// One that ends says within so long how far it is, or is taken for hung.
    private static let silenceNanosecondsMax: UInt64 = 60_000_000_000

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
        guard let table = try? MountTable.current() else {
            tell(Message.line("cannot read the mount table"))
            return .failed
        }
        guard let mount = table.mount(at: mountpoint) else {
            report.outcome = .notMounted
            let around = table.mount(containing: mountpoint).flatMap { $0.mountpoint == "/" ? nil : $0.mountpoint }
            tell(
                Message.line(
                    around.map { "\(given) is not a mountpoint; it lies in the mount at \($0)" }
                        ?? "\(given) is not mounted"))
            return .failed
        }
        report.source = "\(mount.source)"
        guard mount.isPail else {
            return await unmount(remaining(of: busyNanoseconds), daemon: nil, whenBusy: whenBusy)
        }
        let others = table.entries.filter { $0.device == mount.device && $0.id != mount.id && $0.isPail }
        return others.isEmpty ? await leave(mount) : await leaveOne(mount, of: others)
    }

    // MARK: pail's own mounts

    private func leave(_ mount: MountEntry) async -> ExitStatus {
        let daemon: DepartingDaemon
        do throws(ControlError) {
            daemon = try DepartingDaemon(mount)
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

    /// A bind mount, or what others are bind mounts of: its file system stays, and so does the daemon, by whatever mountpoint
    /// it answers.
    private func leaveOne(_ mount: MountEntry, of others: [MountEntry]) async -> ExitStatus {
        let daemon = ([mount] + others).lazy.compactMap { try? DepartingDaemon($0) }.first
        if drainsFirst, let daemon {
            do throws(ControlError) {
                let left = try drain(daemon)
                if !left.isComplete, whenBusy == .report { return stay(daemon, left) }
            } catch {
                if error.code != .timedOut {
                    tell(Message.line("\(given): the uploads could not be waited for: \(error)"))
                }
                if whenBusy == .report { return error.code == .timedOut ? stay(daemon, nil) : .failed }
            }
        }
        let status = await unmount(remaining(of: busyNanoseconds), daemon: nil, whenBusy: whenBusy)
        if status == .done, let other = others.first {
            tell(Message.line("\(given) is unmounted; the same is still mounted at \(other.mountpoint)"))
        }
        return status
    }

    private func drain(_ daemon: DepartingDaemon) throws(ControlError) -> DrainResult {
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
    private func stay(_ daemon: DepartingDaemon, _ result: DrainResult?) -> ExitStatus {
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

    /// The daemon is dead or says nothing: what it staged is on disk. One that lives is waited for after the unmount, as
    /// any other; what it, or a dead one, has left is looked up.
    private func leaveWithoutDaemon(_ mount: MountEntry, _ error: ControlError) async -> ExitStatus {
        if error.code == .notPermitted {
            tell(Message.line("\(given): \(error)"))
            return .failed
        }
        // Holders of a dead mount can do nothing with it but let go: nobody waits for them.
        let isDead = mount.isStale()
        tell(
            Message.line(
                isDead
                    ? "\(given): its daemon has died" : "\(given): its daemon does not answer (\(error))"))
        do throws(ControlError) {
            return await unmount(
                isDead ? 0 : remaining(of: busyNanoseconds), daemon: try DepartingDaemon(silent: mount),
                whenBusy: isDead ? .detach : whenBusy)
        } catch {
            tell(Message.line("\(given): \(error)"))
            return .failed
        }
    }

    // MARK: Any mount

    private func unmount(
        _ nanoseconds: UInt64, daemon: DepartingDaemon?, whenBusy: UnmountRequest.WhenBusy
    ) async -> ExitStatus {
        let waiting = BusyLine(mountpoint: given)
        let outcome = await Unmounter().unmount(
            UnmountRequest(mountpoint: mountpoint, timeoutNanoseconds: nanoseconds, whenBusy: whenBusy)
        ) { waiting.show($0) }
        waiting.clear()
        report.take(outcome)
        switch outcome {
        case .unmounted, .detached:
            guard let daemon else { return .done }
            return seeOff(daemon, isDetached: outcome == .detached)
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
    /// A daemon ends when everything is uploaded, when what is left keeps failing, or when nothing moves. Its record, and
    /// where it was killed its staging area, tell what is left then.
    private func seeOff(_ daemon: DepartingDaemon, isDetached: Bool) -> ExitStatus {
        var watch = UploadWatch()
        let line = ProgressLine("uploading")
        defer { line.clear() }
        let start = time.monotonicNanoseconds
        // Nothing that was told before the unmount counts: it may have been written to since.
        var last: MountStatus?
        var (movedAt, heardAt) = (start, start)
        var pause: Int32 = 100
        while !daemon.hasEnded(waitMilliseconds: pause) {
            pause = 1000
            if let status = daemon.status() {
                heardAt = time.monotonicNanoseconds
                if last.map({ !Self.isSameProgress($0, status) }) ?? true { movedAt = heardAt }
                last = status
            }
            if let last, last.dirtyFiles > 0 {
                let left = UploadProgress(filesLeft: last.dirtyFiles, bytesLeft: last.dirtyBytes)
                line.show(watch.progress(left, at: time.monotonicNanoseconds))
            }
            let now = time.monotonicNanoseconds
            let isClean = last?.dirtyFiles == 0
            if isDetached, isClean { return .done }
            let isOver = isTimeOver || (isClean && now - start > Self.exitNanosecondsDefault)
            // A detached mount may live on for days with its holders: its uploads are waited for while they move.
            let isFailing = last.map { $0.failedUploads > 0 && $0.failedUploads >= $0.dirtyFiles } ?? false
            let isStuck = isDetached && (isFailing || now - movedAt > Self.exitNanosecondsDefault)
            if isOver || isStuck || now - heardAt > Self.silenceNanosecondsMax {
                line.clear()
                return leftBehind(last, daemon)
            }
        }
        line.clear()
        return ended(daemon)
    }

    /// The daemon is gone: did it leave anything?
    private func ended(_ daemon: DepartingDaemon) -> ExitStatus {
        switch daemon.rest() {
        case .nothing: return .done
        case .unknown:
            tell(Message.line("\(given) is unmounted; whether all of its data is in S3 cannot be told"))
            tell("  what its daemon staged stays on disk; mount \(Message.oneLine(daemon.source)) again to upload it")
            return .detachedWithData
        case .some(let left):
            return leftBehind(
                left.filesLeft, left.bytesLeft, left.failures.map { "\($0.path): \($0.error)" }, source: daemon.source)
        }
    }

    private static func isSameProgress(_ one: MountStatus, _ other: MountStatus) -> Bool {
        one.dirtyFiles == other.dirtyFiles && one.dirtyBytes == other.dirtyBytes
            && one.uploads.reduce(0) { $0 + $1.bytesDone } == other.uploads.reduce(0) { $0 + $1.bytesDone }
    }

    /// The daemon lives on, and nobody waits for it any longer.
    private func leftBehind(_ status: MountStatus?, _ daemon: DepartingDaemon) -> ExitStatus {
        guard let status else {
            tell(
                Message.line(
                    "\(given) is unmounted, but its daemon (process \(daemon.pid)) neither ends nor says what is left to upload"
                ))
            tell("  what it has staged stays on disk; when it has ended, mount \(Message.oneLine(daemon.source)) again")
            return .detachedWithData
        }
        guard status.dirtyFiles > 0 else {
            tell(Message.line("\(given) is unmounted, but its daemon does not end"))
            return .done
        }
        return leftBehind(
            status.dirtyFiles, status.dirtyBytes,
            status.uploads.map { $0.path + ($0.lastError.map { ": \($0)" } ?? "") }, source: "\(status.source)")
    }

    private func leftBehind(_ files: Int, _ bytes: Int, _ paths: [String], source: String) -> ExitStatus {
        report.filesLeft = files
        report.bytesLeft = bytes
        tell(Message.line("\(given) is detached with \(leftText(files, bytes)) not yet in S3:"))
        for path in paths.prefix(20) { tell(Message.oneLine("  \(path)")) }
        tell("  it stays staged; mount \(Message.oneLine(source)) again to upload it")
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
