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
        usage: "pail mount [options] s3://BUCKET[/PREFIX] MOUNTPOINT",
        discussion: """
            Returns once the mount answers, and leaves a daemon behind. BYTES take K, M, G or T (binary).
            Defaults are in brackets.
            """)

    @Argument(help: "The bucket and, if wanted, the prefix: s3://BUCKET[/PREFIX] or BUCKET[/PREFIX].")
    var source: String
    @Argument(help: "An empty directory.")
    var mountpoint: String

    @OptionGroup(title: "Server") var server: ServerArguments
    @OptionGroup(title: "Files") var files: FileArguments
    @OptionGroup(title: "Writing") var writing: WriteArguments
    @OptionGroup(title: "Process") var process: ProcessArguments

    mutating func run() async throws {
        let start = SystemTime().monotonicNanoseconds
        var options = MountOptions()
        // The lists first: what is said singly overrides.
        for list in process.list { try options.set(list: list) }
        for (name, value) in server.given + files.given + writing.given + process.given {
            try options.set(name, value)
        }
        var plan = try PlanInput.plan(options, source: source)
        do throws(MountFailure) {
            plan.mountpoint = try await checkedMountpoint(plan)
            try StateDirectory.prepare(plan.stateDirectory)
            try await Predecessor.wait(for: plan)
            try Self.checkReadable(plan.caBundlePath)
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

    private func checkedMountpoint(_ plan: MountPlan) async throws(MountFailure) -> String {
        let point = MountPoint(allowsEntries: plan.isNonemptyAllowed, allowsOthers: plan.isOtherAllowed)
        do throws(MountPointProblem) {
            return try await point.prepare(mountpoint).string
        } catch {
            throw MountFailure(error)
        }
    }

    private static func checkReadable(_ caBundlePath: String?) throws(MountFailure) {
        guard let path = caBundlePath, access(path, R_OK) != 0 else { return }
        throw MountFailure(
            "the CA bundle \(path) cannot be read: \(String(cString: strerror(errno)))",
            remedy: "check --ca-bundle or $AWS_CA_BUNDLE")
    }
}
