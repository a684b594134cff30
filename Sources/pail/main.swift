// The command line. Commands throw; this file alone turns errors into lines on standard error and exit codes.

internal import ArgumentParser
internal import Base
internal import Glibc

LogOutput.bootstrap()
do {
    let command = try PailCommand.parseAsRoot()
    try await run(command)
} catch {
    exit(PailCommand.report(error))
}

func run(_ command: any ParsableCommand) async throws {
    if var command = command as? any AsyncParsableCommand {
        try await command.run()
    } else {
        var command = command
        try command.run()
    }
}
