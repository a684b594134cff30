// `pail umount`: uploads what is left, unmounts, and explains what stands in the way.

internal import ArgumentParser
internal import Base
internal import CLinux
internal import Commands
internal import Control
internal import Glibc
internal import Mounts

struct UmountCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "umount",
        abstract: "Uploads what is not yet in S3, then unmounts; works on any mount.",
        usage: "pail umount [--timeout SECONDS] [--lazy] [--force] MOUNTPOINT...",
        discussion: """
            A busy mount is tried again until the timeout; then those who hold it are listed, and the exit code is 3. \
            It is 4 when the mount was detached with data that is not yet in S3; that data stays staged, and the next \
            mount of the same bucket uploads it.
            """)

    @Option(
        help: ArgumentHelp(
            "How long to wait, for uploads and for a busy mount. [uploads: as long as they take; busy: 60]",
            valueName: "seconds"))
    var timeout: String?
    @Flag(help: "When the time is over, detach the mount: whoever holds it keeps it until they let go.")
    var lazy = false
    @Flag(help: "When the time is over, cut the mount off: whoever holds it gets errors.")
    var force = false
    @Argument(help: "What to unmount.")
    var mountpoints: [String]

    mutating func run() async throws {
        let timeoutNanoseconds: UInt64? =
            if let timeout { try SecondsOption.parse(timeout, option: "--timeout") } else { nil }
        let lookup = try MountLookup()
        let paths = try mountpoints.map { try (given: $0, canonical: lookup.canonical($0)) }
        // Whoever stands in the mount with the shell holds it, but not this program too.
        chdir("/")
        var worst = ExitStatus.done
        for path in paths {
            let departure = MountDeparture(
                given: path.given, mountpoint: path.canonical, timeoutNanoseconds: timeoutNanoseconds,
                whenBusy: force ? .force : lazy ? .detach : .report)
            let status = await departure.run()
            if status.rawValue > worst.rawValue { worst = status }
        }
        // What there is to say was said mount by mount.
        if worst != .done { throw CommandFailure(lines: [], status: worst) }
    }
}
