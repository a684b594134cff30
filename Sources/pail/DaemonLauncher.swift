// Starts the daemon by executing this program again, and waits until the mount answers.

internal import Base
internal import CLinux
internal import Commands
internal import Glibc
internal import Mounts

/// One start of a daemon. Blocks its thread; used once.
struct DaemonLauncher {
    /// A user waits at most this long for a mount or the reason why not.
    private static let deadlineNanoseconds: UInt64 = 9_000_000_000
    /// What is left of it for the daemon, however long the checks before it took.
    private static let daemonNanosecondsMin: UInt64 = 3_000_000_000

    let plan: MountPlan
    /// When the command began.
    let startNanoseconds: UInt64

    private let time = SystemTime()

    init(plan: MountPlan, startNanoseconds: UInt64) {
        self.plan = plan
        self.startNanoseconds = startNanoseconds
    }

    /// Returns when the mount answers a stat of its root. On failure neither mount nor daemon is left.
    func launch() throws(MountFailure) {
        let planPipe = try DaemonSpawn.pipe()
        let readyPipe = try DaemonSpawn.pipe()
        defer { close(readyPipe.read) }
        let pid = try DaemonSpawn(plan: plan).spawn([
            DaemonCommand.planDescriptor: planPipe.read, DaemonCommand.readyDescriptor: readyPipe.write,
        ])
        close(planPipe.read)
        close(readyPipe.write)
        do throws(MountFailure) {
            try DaemonSpawn.send(plan, to: planPipe.write)
            try awaitReady(readyPipe.read, pid)
            try checkMount()
        } catch {
            end(pid)
            throw error
        }
    }

    /// Reads the ready pipe until the daemon is ready, has failed, has died, or the time is over.
    private func awaitReady(_ descriptor: Int32, _ pid: pid_t) throws(MountFailure) {
        let deadline = max(
            startNanoseconds + Self.deadlineNanoseconds, time.monotonicNanoseconds + Self.daemonNanosecondsMin)
        var reader = ReadyMessageReader()
        var stage = "starting"
        var buffer = [UInt8](repeating: 0, count: 4096)
        while true {
            let now = time.monotonicNanoseconds
            guard now < deadline else {
                throw MountFailure(
                    "not ready after \((now - startNanoseconds) / 1_000_000_000) s (\(stage))",
                    remedy: "check --endpoint, the network, and \(plan.logFilePath ?? "the log")")
            }
            var watch = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
            let ready = poll(&watch, 1, Int32((deadline - now) / 1_000_000 + 1))
            guard ready > 0 else { continue }
            let count = read(descriptor, &buffer, buffer.count)
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { throw died(pid, stage: stage) }
            for message in reader.take(buffer[..<count]) {
                switch message {
                case .stage(let text): stage = text
                case .notice(let text): say(Message.line(text))
                case .ready: return
                case .failed(let failure): throw failure
                }
            }
        }
    }

    /// The mount the daemon speaks of must be there and answer.
    private func checkMount() throws(MountFailure) {
        let mountpoint = ByteString(plan.mountpoint)
        guard let table = try? MountTable.current(), table.mount(at: mountpoint)?.isPail == true else {
            throw MountFailure("the daemon is ready, yet nothing is mounted at \(plan.mountpoint)", remedy: logRemedy)
        }
        switch pail_stat_directory_bounded(plan.mountpoint, 3_000) {
        case 0: return
        case -1: throw MountFailure("the mount does not answer", remedy: logRemedy)
        case let code: throw MountFailure("the mount answers \(String(cString: strerror(code)))", remedy: logRemedy)
        }
    }

    private var logRemedy: String { "look at \(plan.logFilePath ?? plan.defaultLogPath)" }

    private func died(_ pid: pid_t, stage: String) -> MountFailure {
        var status: Int32 = 0
        // It has closed its pipe, and so has ended or is about to.
        for _ in 0..<100 where waitpid(pid, &status, WNOHANG) == 0 { usleep(10_000) }
        let signal = status & 0x7f
        let end = signal == 0 ? "with code \(status >> 8 & 0xff)" : "by signal \(signal)"
        return MountFailure("the daemon ended \(end) without a reason (\(stage))", remedy: logRemedy)
    }

    /// Ends the daemon, gently and then not, and takes away what it may have mounted. A mount that still answers then is
    /// another's, who was faster.
    private func end(_ pid: pid_t) {
        kill(pid, SIGTERM)
        var isGone = false
        for step in 0..<100 where !isGone {
            if step == 50 { kill(pid, SIGKILL) }
            let answer = waitpid(pid, nil, WNOHANG)
            isGone = answer == pid || (answer < 0 && errno == ECHILD)
            if !isGone { usleep(10_000) }
        }
        let mountpoint = ByteString(plan.mountpoint)
        guard let mount = (try? MountTable.current())?.mount(at: mountpoint), mount.isPail, mount.isStale() else {
            return
        }
        Self.unmount(mountpoint)
    }

    private static func unmount(_ mountpoint: ByteString) {
        let isDone = OneShot<Void>()
        Task {
            _ = await Unmounter().unmount(
                UnmountRequest(mountpoint: mountpoint, timeoutNanoseconds: 0, whenBusy: .detach))
            isDone.set(())
        }
        for _ in 0..<100 where isDone.current == nil { usleep(10_000) }
    }
}
