// The command line. Commands throw; this file alone turns errors into lines on standard error and exit codes.

internal import ArgumentParser
internal import Base
internal import Commands
internal import Glibc

LogOutput.bootstrap()
let helper = MountHelper(CommandLine.arguments)
if let helper, helper.isFake { exit(0) }
do {
    let command = try PailCommand.parseAsRoot(helper.map { try $0.arguments() })
    try (command as? any SoleThreadCommand)?.prepare()
    try await run(command)
} catch {
    let code = PailCommand.report(error)
    exit(helper?.exitCode(code) ?? code)
}

func run(_ command: any ParsableCommand) async throws {
    if var command = command as? any AsyncParsableCommand {
        try await command.run()
    } else {
        var command = command
        try command.run()
    }
}
