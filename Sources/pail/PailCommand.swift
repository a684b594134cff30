// The root of the commands, and how their errors are reported.

internal import ArgumentParser
internal import Commands
internal import Glibc

struct PailCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "pail",
        abstract: "Mounts an S3 bucket as a directory.",
        usage: "pail COMMAND ...",
        discussion: """
            pail mount s3://bucket/prefix ~/data     any program opens the files
            pail umount ~/data                       uploads what is left, then unmounts

            Exit codes: 0 done, 1 failed, 2 wrong usage; of umount also 3 (still busy) and 4 (detached with data \
            not yet in S3).
            """,
        version: "pail \(Version.current)",
        subcommands: [
            MountCommand.self, UmountCommand.self, RunCommand.self, StatusCommand.self, FlushCommand.self,
            RefreshCommand.self, WarmCommand.self, CacheCommand.self, DoctorCommand.self,
            UpgradeCommand.self, DaemonCommand.self,
        ])

    mutating func run() throws {
        throw UsageError("which command? `pail --help` lists them")
    }

    /// Says what went wrong, and gives the exit code.
    static func report(_ error: any Error) -> Int32 {
        switch error {
        case let failure as CommandFailure:
            for line in failure.lines { say(line) }
            return failure.status.rawValue
        case let usage as UsageError:
            say(Message.line(usage.message))
            return ExitStatus.usage.rawValue
        default:
            let code = exitCode(for: error)
            if code == .success {
                print(fullMessage(for: error))
                return ExitStatus.done.rawValue
            }
            // What is left are the parser's own errors. It keeps its text in lines of its own.
            let text = message(for: error)
            say(Message.line(text.isEmpty ? "\(error)" : text.split(separator: "\n").joined(separator: " ")))
            let command = CommandLine.arguments.dropFirst().first.flatMap { word in
                configuration.subcommands.map { $0._commandName }.first { $0 == word }
            }
            say("See `pail help\(command.map { " \($0)" } ?? "")`.")
            return ExitStatus.usage.rawValue
        }
    }
}

/// A command that failed after its command line was understood.
struct CommandFailure: Error {
    /// Complete lines for standard error.
    var lines: [String]
    var status: ExitStatus

    /// One line, `pail: TEXT`.
    init(_ text: String, status: ExitStatus = .failed) {
        self.init(lines: [Message.line(text)], status: status)
    }

    init(lines: [String], status: ExitStatus) {
        self.lines = lines
        self.status = status
    }
}

/// A line on standard error.
func say(_ line: String) {
    var text = line + "\n"
    text.withUTF8 { bytes in
        // SAFETY: the pointer is used during the call only. There is nobody to tell when it fails.
        _ = write(2, bytes.baseAddress, bytes.count)
    }
}
