// `pail flush`: waits until data is in S3.

internal import ArgumentParser
internal import Base
internal import Commands
internal import Control
internal import Mounts

struct FlushCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "flush",
        abstract: "Waits until the data of files and directories is in S3.",
        usage: "pail flush [--timeout SECONDS] PATH...")

    @Option(help: ArgumentHelp("How long to wait, for all together. [as long as it takes]", valueName: "seconds"))
    var timeout: String?
    @Argument(help: "Files or directories in a mount.")
    var paths: [String]

    mutating func run() throws {
        let time = SystemTime()
        var deadline: UInt64?
        if let timeout {
            deadline = time.monotonicNanoseconds + (try SecondsOption.parse(timeout, option: "--timeout"))
        }
        let lookup = try MountLookup()
        for path in paths {
            let canonical = try lookup.canonical(path)
            guard let mount = lookup.table.mount(containing: canonical), mount.isPail else {
                throw CommandFailure("\(path) is not in a mount of pail's")
            }
            var watch = UploadWatch()
            let line = ProgressLine("uploading")
            do throws(ControlError) {
                let now = time.monotonicNanoseconds
                let seconds = deadline.map { $0 > now ? Double($0 - now) / 1e9 : 0 }
                try lookup.connect(mount).flush(path: canonical.string, timeoutSeconds: seconds) { latest in
                    if let latest, latest.filesLeft > 0 {
                        line.show(watch.progress(latest, at: time.monotonicNanoseconds))
                    }
                }
            } catch {
                line.clear()
                throw CommandFailure("\(path): \(error)")
            }
            line.clear()
        }
    }
}
