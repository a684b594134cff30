// `pail mount`: settles the options, checks what can be checked at once, and starts the daemon.

internal import ArgumentParser
internal import Base
internal import Commands
internal import Glibc
internal import Mounts

struct MountCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "mount",
        abstract: "Mounts a bucket, or a part of it, as a directory.",
        usage: "pail mount [options] s3://BUCKET[/PREFIX] MOUNTPOINT, or: pail mount [options] NAME",
        discussion: """
            NAME is a mount that ~/.config/pail/config.toml or /etc/pail/config.toml describes as [mounts.NAME].
            Returns once the mount answers, and leaves a daemon behind. BYTES take K, M, G or T (binary).
            Defaults are in brackets.
            """)

    @Argument(help: "The bucket and, if wanted, the prefix: s3://BUCKET[/PREFIX] or BUCKET[/PREFIX]; or a NAME.")
    var source: String
    @Argument(help: "An empty directory. [of a NAME: what its config file says]")
    var mountpoint: String?

    @OptionGroup(title: "Server") var server: ServerArguments
    @OptionGroup(title: "Files") var files: FileArguments
    @OptionGroup(title: "Writing") var writing: WriteArguments
    @OptionGroup(title: "Process") var process: ProcessArguments

    mutating func run() async throws {
        let start = SystemTime().monotonicNanoseconds
        let request = MountRequest(
            source: source, mountpoint: mountpoint, needsName: true, lists: process.list,
            given: server.given + files.given + writing.given + process.given)
        var (plan, wanted) = try PlanInput.plan(request)
        guard let wanted else {
            throw UsageError("no mountpoint for '\(source)': pail mount \(source) MOUNTPOINT")
        }
        do throws(MountFailure) {
            try await MountStart.prepare(&plan, mountpoint: wanted)
            if plan.isForeground {
                try DaemonProcess.prepare(plan)
                let status = await serve(plan: plan, ready: .foreground(plan))
                LogOutput.shared.flush()
                Glibc.exit(status)
            }
            try DaemonLauncher(plan: plan, startNanoseconds: start).launch()
        } catch {
            throw CommandFailure(lines: [error.line(cannotMount: plan.location)], status: .failed)
        }
    }
}

/// What is checked before a daemon is started.
enum MountStart {
    /// Checks mountpoint, state directory and files, and fills in the mountpoint.
    static func prepare(
        _ plan: inout MountPlan, mountpoint: String, environment: FuseEnvironment = FuseEnvironment()
    ) async throws(MountFailure) {
        try plan.refuseDirectoryBucket()
        let point = MountPoint(
            environment: environment, allowsEntries: plan.isNonemptyAllowed,
            allowsOthers: plan.isOtherAllowed || plan.isRootAllowed)
        do throws(MountPointProblem) {
            plan.mountpoint = try await point.prepare(mountpoint).string
        } catch {
            throw MountFailure(error)
        }
        try StateDirectory.prepare(plan.stateDirectory)
        try await Predecessor.wait(for: plan)
        try checkReadable(plan.caBundlePath)
    }

    private static func checkReadable(_ caBundlePath: String?) throws(MountFailure) {
        guard let path = caBundlePath, access(path, R_OK) != 0 else { return }
        throw MountFailure(
            "the CA bundle \(path) cannot be read: \(String(cString: strerror(errno)))",
            remedy: "check --ca-bundle or $AWS_CA_BUNDLE")
    }
}
