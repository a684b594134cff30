// `pail run`: mounts, runs a command, uploads what it wrote, and unmounts, whatever happens.

internal import ArgumentParser
internal import Base
internal import Commands
internal import Glibc
internal import Mounts

struct RunCommand: AsyncParsableCommand, SoleThreadCommand {
    static let configuration = CommandConfiguration(
        commandName: "run",
        abstract: "Mounts a bucket for one command; uploads and unmounts when it ends.",
        usage: "pail run [mount options] s3://BUCKET[/PREFIX] [--at s3://OTHER[=DIR]]... -- COMMAND [ARG...]",
        discussion: """
            {} in ARG and $PAIL_MOUNT are the mount's path; with --at there are {1}, {2}, ... and $PAIL_MOUNT_1, \
            $PAIL_MOUNT_2, ... too, in the order of the command line. Where the machine allows it, the mounts are seen by \
            COMMAND and its children only.

            Exits with COMMAND's code, 128 and the signal when a signal ended it, 127 when there is no such command, 126 \
            when it cannot be executed; 1 when the mount cannot be made, and 4 when COMMAND ended well but some of what it \
            wrote is not yet in S3 (it stays staged, and the next mount of the bucket uploads it).
            """)

    @Argument(help: "The bucket and, if wanted, the prefix; or the NAME of a mount in a config file.")
    var source: String
    @Option(
        help: ArgumentHelp(
            "One more bucket, with the same options; =DIR (absolute) mounts it there. Repeatable.",
            valueName: "source[=dir]"))
    var at: [String] = []
    @Flag(help: "Let other processes see the mounts: no private namespace.")
    var shared = false
    @OptionGroup(title: "Server") var server: ServerArguments
    @OptionGroup(title: "Files") var files: FileArguments
    @OptionGroup(title: "Writing") var writing: WriteArguments
    @OptionGroup(title: "Process") var process: ProcessArguments
    @Argument(parsing: .postTerminator, help: "The command and its arguments, after --.")
    var command: [String] = []

    func prepare() {
        if !shared { PrivateNamespace.enter() }
    }

    mutating func run() async throws {
        let start = SystemTime().monotonicNanoseconds
        guard !command.isEmpty else { throw UsageError("no command: pail run \(source) -- COMMAND [ARG...]") }
        let given = server.given + files.given + writing.given + process.given
        var mounts: [RunMount] = []
        for place in [RunPlace(source: source, directory: nil)] + at.map(RunPlace.parse) {
            let request = MountRequest(source: place.source, lists: process.list, given: given)
            let (plan, configured) = try PlanInput.plan(request)
            if plan.isForeground { throw UsageError("--foreground means nothing to 'pail run'") }
            if plan.isSupervised { throw UsageError("--supervised means nothing to 'pail run'") }
            mounts.append(RunMount(plan: plan, wanted: place.directory ?? configured))
        }
        let session = RunSession()
        do throws(MountFailure) {
            for mount in mounts { try await session.mount(mount, startNanoseconds: start) }
        } catch {
            let location = session.failing ?? mounts[0].plan.location
            say(error.line(cannotMount: location))
            _ = await session.end()
            throw CommandFailure(lines: [], status: .failed)
        }
        let code = session.run(RunPlace.filled(command, paths: session.paths))
        let departure = await session.end()
        LogOutput.shared.flush()
        Glibc.exit(code != 0 ? code : departure.rawValue)
    }
}

/// A mount for `pail run`: its plan, and where it is wanted; nil leaves the place to pail.
struct RunMount {
    var plan: MountPlan
    let wanted: String?
}
