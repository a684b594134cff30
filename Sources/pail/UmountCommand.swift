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
        usage: "pail umount [--timeout SECONDS] [--lazy] [--force] [--json] MOUNTPOINT... | --all",
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
    @Flag(
        help: """
            Detach the mount at once, or when the time is over: whoever holds it keeps it until they let go, and uploads \
            go on.
            """)
    var lazy = false
    @Flag(help: "When the time is over, cut the mount off: whoever holds it gets errors.")
    var force = false
    @Flag(help: "All of pail's mounts that you see: root's are those of everybody.")
    var all = false
    @Flag(help: "Print what came of each mount as a JSON array; see doc/status.md.")
    var json = false
    @Argument(help: "What to unmount: a mountpoint, or the NAME of a mount in a config file.")
    var mountpoints: [String] = []

    mutating func run() async throws {
        let timeoutNanoseconds: UInt64? =
            if let timeout { try SecondsOption.parse(timeout, option: "--timeout") } else { nil }
        let lookup = try MountLookup()
        let paths = try targets(lookup)
        // Whoever stands in the mount with the shell holds it, but not this program too.
        chdir("/")
        var worst = ExitStatus.done
        var reports: [DepartureReport] = []
        for path in paths {
            // Without a time --lazy means now: the mount goes first, and its uploads go on before our eyes.
            let isAtOnce = lazy && !force && timeoutNanoseconds == nil
            let departure = MountDeparture(
                given: path.given, mountpoint: path.canonical, timeoutNanoseconds: timeoutNanoseconds,
                busyNanoseconds: isAtOnce ? 0 : MountDeparture.busyNanosecondsDefault,
                whenBusy: force ? .force : lazy ? .detach : .report, drainsFirst: !isAtOnce)
            let status = await departure.run()
            reports.append(departure.report)
            if status.rawValue > worst.rawValue { worst = status }
        }
        if json { print(DepartureReport.json(reports)) }
        // What there is to say was said mount by mount.
        if worst != .done { throw CommandFailure(lines: [], status: worst) }
    }

    /// A path; or the NAME of a mount in a config file, where nothing is mounted at the path of that name.
    private static func place(_ word: String, _ lookup: MountLookup) throws -> ByteString {
        let path = try lookup.canonical(word)
        guard !word.contains("/"), lookup.table.mount(at: path) == nil else { return path }
        let files = try Configuration(LaunchEnvironment.current())
        guard files.hasMount(named: word), let place = try files.mount(named: word).mountpoint else { return path }
        return try lookup.canonical(place)
    }

    private func targets(_ lookup: MountLookup) throws -> [(given: String, canonical: ByteString)] {
        guard all else {
            if mountpoints.isEmpty { throw UsageError("no mountpoints: pail umount MOUNTPOINT..., or --all") }
            return try mountpoints.map { (given: $0, canonical: try Self.place($0, lookup)) }
        }
        guard mountpoints.isEmpty else { throw UsageError("--all takes no mountpoints") }
        let user = geteuid()
        // The newest first: a mount inside another goes before it.
        return lookup.pailMounts.reversed().filter { user == 0 || $0.fuseUserID == user }
            .map { (given: $0.mountpoint.string, canonical: $0.mountpoint) }
    }
}
