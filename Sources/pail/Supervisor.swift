// Keeps a mount alive over the death of the process that serves it.

internal import Base
internal import CLinux
internal import Commands
internal import FuseAdapter
internal import Glibc
internal import Logging
internal import Mounts

/// A process beside the one that serves: holds the FUSE device, so that the kernel keeps the mount, and starts another one when
/// that dies, or hands over to another program (`pail upgrade`). It reads no request and no object, so there is little in it that could fail.
///
/// doc/design/life.md has the why, and what a successor can and cannot go on with.
final class Supervisor {
    /// What a serving process finds under which number.
    static let channelDescriptor: Int32 = 5
    static let ledgerDescriptor: Int32 = 6
    static let deviceDescriptor: Int32 = 7
    /// The program that is executed, where it is not this one.
    static let programDescriptor: Int32 = 8

    /// What a serving process says over the channel.
    enum Message: UInt8 {
        /// With the mount's device.
        case device = 0x64
        /// With a program: it is to go on when this process ends with `handedOver`.
        case program = 0x70
        /// It has taken over, and serves.
        case serves = 0x73
    }

    /// How a process ends that leaves the mount to the next. No other exit code has a successor.
    static let handedOver: Int32 = 75

    /// A new program that does not serve after so long does not go on.
    private static let trialMilliseconds: Int32 = 60_000

    /// So many deaths within `periodNanoseconds`, and the mount is given up: what kills each process would kill the next.
    private static let deathsMax = 5
    private static let periodNanoseconds: UInt64 = 60_000_000_000

    private let plan: MountPlan
    private let log = Logger(label: "supervisor")
    private let time = SystemTime()
    private let ledger: Int32
    private let channel: (ours: Int32, theirs: Int32)
    /// The mount's device; -1 before the kernel has begun to use it.
    private var device: Int32 = -1
    private var deaths: [UInt64] = []
    /// The program that serves; -1 for this process's own.
    private var program: Int32 = -1
    /// The one that is to go on when the process that serves hands over.
    private var nextProgram: Int32?
    /// While a new program has not taken over yet: the one that goes on if it does not.
    private var earlierProgram: Int32?

    /// Requests that a process has read and not answered come again since Linux 6.9.
    static var isPossible: Bool {
        var name = utsname()
        guard uname(&name) == 0 else { return false }
        let release = withUnsafeBytes(of: &name.release) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
        let numbers = release.split { !$0.isNumber }.prefix(2).compactMap { Int($0) }
        return numbers.count == 2 && (numbers[0], numbers[1]) >= (6, 9)
    }

    init(plan: MountPlan) throws(MountFailure) {
        self.plan = plan
        var ends: [Int32] = [-1, -1]
        guard pail_channel(&ends) == 0 else {
            throw MountFailure("no channel to the daemon: \(String(cString: strerror(errno)))")
        }
        channel = (ends[0], ends[1])
        let memory = pail_shared_memory("pail-handles", Int64(HandleLedger.byteCount))
        guard memory >= 0 else {
            throw MountFailure("no memory to share with the daemon: \(String(cString: strerror(errno)))")
        }
        ledger = fcntl(memory, F_DUPFD_CLOEXEC, 10)
        close(memory)
    }

    /// Returns the exit status when the mount is gone.
    /// - Parameter ready: where the first process tells that it is ready; closed here.
    func run(ready: Int32) -> Int32 {
        let signals = pail_watch_signals()
        do throws(MountFailure) {
            let moved = fcntl(ready, F_DUPFD_CLOEXEC, 10)
            close(ready)
            var worker = try start(generation: 0, ready: moved)
            close(moved)
            var generation: UInt64 = 0
            while true {
                let status = supervise(worker, signals: signals)
                guard isMounted, mayGoOn(after: status, generation) else { return end(status) }
                repeat {
                    generation += 1
                    worker = try startNext(generation)
                } while worker < 0
            }
        } catch {
            log.error("\(error.what)")
            return end(1 << 8)
        }
    }

    /// Whether the mount has another process after one that ended, and by which program.
    private func mayGoOn(after status: Int32, _ generation: UInt64) -> Bool {
        let isKilled = status & 0x7f != 0
        if let earlier = earlierProgram {
            log.error("the new program \(Self.text(status)) before it served; the earlier one goes on")
            take(back: earlier)
        } else if status == Self.handedOver << 8, let next = nextProgram {
            (earlierProgram, program, nextProgram) = (program, next, nil)
            log.notice("another program goes on", metadata: ["mountpoint": "\(plan.mountpoint)"])
            return device >= 0 && generation < EarlierRequests.generationMax
        } else {
            guard isKilled else { return false }
            log.error(
                "the daemon was killed by signal \(status & 0x7f); another one goes on in its place",
                metadata: ["mountpoint": "\(plan.mountpoint)", "generation": "\(generation + 1)"])
        }
        return mayGoOn(generation)
    }

    private static func text(_ status: Int32) -> String {
        status & 0x7f == 0 ? "ended with code \(status >> 8 & 0xff)" : "was killed by signal \(status & 0x7f)"
    }

    private func take(back earlier: Int32) {
        if program >= 0, program != earlier { close(program) }
        (program, earlierProgram) = (earlier, nil)
    }

    private func mayGoOn(_ generation: UInt64) -> Bool {
        let now = time.monotonicNanoseconds
        deaths = deaths.filter { now - $0 < Self.periodNanoseconds } + [now]
        let isHopeless = deaths.count >= Self.deathsMax || generation >= EarlierRequests.generationMax
        if isHopeless { log.error("the daemon has died \(deaths.count) times in a minute: the mount is given up") }
        return device >= 0 && !isHopeless
    }

    /// Starts a successor; -1 when that was a new program which cannot be executed, and the earlier one is to be tried.
    private func startNext(_ generation: UInt64) throws(MountFailure) -> pid_t {
        do throws(MountFailure) {
            return try start(generation: generation, ready: nil)
        } catch {
            guard let earlier = earlierProgram, generation < EarlierRequests.generationMax else { throw error }
            log.error("the new program does not start; the earlier one goes on: \(error.what)")
            take(back: earlier)
            return -1
        }
    }

    private func start(generation: UInt64, ready: Int32?) throws(MountFailure) -> pid_t {
        let pipe = try DaemonSpawn.pipe()
        var descriptors = [
            DaemonCommand.planDescriptor: pipe.read, Self.channelDescriptor: channel.theirs,
            Self.ledgerDescriptor: ledger,
        ]
        if let ready { descriptors[DaemonCommand.readyDescriptor] = ready }
        if device >= 0 { descriptors[Self.deviceDescriptor] = device }
        var spawn = DaemonSpawn(plan: plan, flags: ["--generation", "\(generation)"])
        if program >= 0 {
            descriptors[Self.programDescriptor] = program
            spawn.program = "/proc/self/fd/\(Self.programDescriptor)"
        }
        defer { close(pipe.read) }
        let pid: pid_t
        do throws(MountFailure) {
            pid = try spawn.spawn(descriptors)
        } catch {
            close(pipe.write)
            throw error
        }
        try DaemonSpawn.send(plan, to: pipe.write)
        return pid
    }

    /// Passes signals on, and takes the device when it comes, until the process has ended. Returns its wait status.
    private func supervise(_ worker: pid_t, signals: Int32) -> Int32 {
        let process = pail_open_process(worker)
        defer { close(process) }
        var now: Int { Int(time.monotonicNanoseconds / 1_000_000) }
        var trialEnd = now + Int(Self.trialMilliseconds)
        while true {
            var watches = [signals, channel.ours, process].map { pollfd(fd: $0, events: Int16(POLLIN), revents: 0) }
            let isTrial = earlierProgram != nil
            let count = poll(&watches, nfds_t(watches.count), isTrial ? Int32(max(0, trialEnd - now)) : -1)
            if count == 0, isTrial {
                log.error("the new program does not serve after \(Self.trialMilliseconds / 1000) s")
                kill(worker, SIGKILL)
                trialEnd = now + Int(Self.trialMilliseconds)
            }
            guard count > 0 else { continue }
            // All that it said before it ended, too.
            if watches[1].revents & Int16(POLLIN) != 0 {
                takeMessage()
                continue
            }
            if watches[0].revents & Int16(POLLIN) != 0 {
                var number: UInt8 = 0
                if read(signals, &number, 1) == 1 {
                    kill(worker, Int32(number))
                    // Both have the log open.
                    if Int32(number) == SIGHUP { DaemonProcess.reopenLog(plan) }
                }
            }
            if watches[2].revents & Int16(POLLIN) != 0 {
                var status: Int32 = 0
                while waitpid(worker, &status, 0) < 0, errno == EINTR {}
                return status
            }
        }
    }

    private func takeMessage() {
        var received: Int32 = -1
        let kind = pail_receive_message(channel.ours, &received)
        let moved = received >= 0 ? fcntl(received, F_DUPFD_CLOEXEC, 10) : -1
        if received >= 0 { close(received) }
        switch UInt8(exactly: kind).flatMap(Message.init(rawValue:)) {
        case .device where moved >= 0:
            if device >= 0 { close(device) }
            device = moved
        case .program where moved >= 0:
            if let nextProgram { close(nextProgram) }
            nextProgram = moved
        case .serves:
            if let earlier = earlierProgram, earlier >= 0, earlier != program { close(earlier) }
            earlierProgram = nil
        default:
            if moved >= 0 { close(moved) }
        }
    }

    private var isMounted: Bool {
        (try? MountTable.current())?.mount(at: ByteString(plan.mountpoint))?.isPail == true
    }

    /// The mount is not to live on: lets the kernel know.
    private func end(_ status: Int32) -> Int32 {
        if device >= 0 { close(device) }
        if isMounted {
            let isDone = OneShot<Void>()
            let mountpoint = ByteString(plan.mountpoint)
            Task {
                _ = await Unmounter().unmount(
                    UnmountRequest(mountpoint: mountpoint, timeoutNanoseconds: 0, whenBusy: .detach))
                isDone.set(())
            }
            for _ in 0..<300 where isDone.current == nil { usleep(10_000) }
        }
        LogOutput.shared.flush()
        return status & 0x7f == 0 ? status >> 8 & 0xff : 128 + status & 0x7f
    }
}
