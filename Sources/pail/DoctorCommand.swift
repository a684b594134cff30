// `pail doctor`: what this machine and this store can and cannot do.

internal import ArgumentParser
internal import Base
internal import Commands
internal import Mounts

struct DoctorCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "doctor",
        abstract: "Shows what this machine and a store can and cannot do, one line each.",
        usage: "pail doctor [options] s3://BUCKET[/PREFIX]",
        discussion: """
            Each line begins with ok, warn (works, with a limitation) or FAIL, and ends with the remedy. The exit code is \
            1 when something fails. Objects made for it are called PREFIX/.pail-doctor-... and are removed.
            """)

    @Argument(help: "The bucket and, if wanted, the prefix; or the NAME of a mount in a config file.")
    var source: String
    @OptionGroup(title: "Server") var server: ServerArguments
    @Option(help: ArgumentHelp("Where a mount would keep data not yet in S3.", valueName: "dir"))
    var stateDir: String?

    mutating func run() async throws {
        let given = server.given + (stateDir.map { [(.stateDirectory, $0)] } ?? [])
        let plan = try PlanInput.plan(MountRequest(source: source, given: given)).plan
        let hasFailed = Lock(false)
        let report: @Sendable (DoctorFinding) -> Void = { finding in
            print(finding.line)
            if finding.grade == .fail { hasFailed.withLock { $0 = true } }
        }
        MachineExamination.run(
            FuseEnvironment(), stateDirectory: plan.stateDirectory, cacheDirectory: plan.cacheDirectory,
            cacheFreePercent: plan.cacheFreePercent, report)
        await ServerExamination(plan: plan).run(report)
        if hasFailed.withLock({ $0 }) { throw CommandFailure(lines: [], status: .failed) }
    }
}
