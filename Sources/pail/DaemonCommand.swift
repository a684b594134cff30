// The daemon's side of the start: reads its plan, and serves.

internal import ArgumentParser
internal import Base
internal import Commands
internal import Glibc

/// What `pail mount` executes; not for people. The arguments are for `ps` only: the plan comes by a pipe.
struct DaemonCommand: AsyncParsableCommand {
    static let name = "daemon"
    /// Where the plan is read from and the outcome is written to.
    static let planDescriptor: Int32 = 3
    static let readyDescriptor: Int32 = 4

    static let configuration = CommandConfiguration(commandName: name, shouldDisplay: false)

    @Argument var source: String
    @Argument var mountpoint: String
    /// How many processes served this mount before; only a supervisor says so.
    @Option var generation: UInt64?

    mutating func run() async throws {
        guard let plan = Self.readPlan() else {
            throw UsageError("'pail \(Self.name)' is started by 'pail mount' only")
        }
        let place = generation.map { ServingPlace(generation: $0) }
        // No child of ours inherits it.
        if place?.isSuccessor != true { _ = fcntl(Self.readyDescriptor, F_SETFD, FD_CLOEXEC) }
        let ready: ReadyPipe = place?.isSuccessor == true ? .nobody : ReadyPipe(descriptor: Self.readyDescriptor)
        // The process that a mount is for watches over the process that serves it, and nothing else in between.
        let mustSupervise = plan.isSupervised && place == nil && plan.parentPID == nil
        do throws(MountFailure) {
            try DaemonProcess.prepare(plan, isSupervisor: mustSupervise && Supervisor.isPossible)
            if mustSupervise {
                guard Supervisor.isPossible else {
                    throw MountFailure("--supervised needs Linux 6.9 or newer", remedy: "mount without it")
                }
                Glibc.exit(try Supervisor(plan: plan).run(ready: Self.readyDescriptor))
            }
        } catch {
            ready.fail(error)
            Glibc.exit(ExitStatus.failed.rawValue)
        }
        let status = await serve(plan: plan, ready: ready, place: place)
        LogOutput.shared.flush()
        Glibc.exit(status)
    }

    private static func readPlan() -> MountPlan? {
        var status = stat()
        guard fstat(planDescriptor, &status) == 0, status.st_mode & S_IFMT == S_IFIFO else { return nil }
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 16 << 10)
        while true {
            let count = read(planDescriptor, &buffer, buffer.count)
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { break }
            bytes += buffer[..<count]
        }
        close(planDescriptor)
        return JSONText.decode(MountPlan.self, from: bytes)
    }
}
