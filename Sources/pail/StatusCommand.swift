// `pail status`: what the mounts are doing.

internal import ArgumentParser
internal import Base
internal import CLinux
internal import Commands
internal import Control
internal import Glibc
internal import Mounts
internal import Staging

struct StatusCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "status",
        abstract: "Shows the mounts: what is still uploading, cache, requests, errors.",
        usage: "pail status [--json] [--watch] [MOUNTPOINT]",
        discussion: """
            With --json: one object for MOUNTPOINT, else an array of all mounts. Without MOUNTPOINT it also tells, on \
            standard error with --json, what mounts that are gone have left to upload.
            """)

    @Flag(help: "Print JSON; with --watch one line a time.")
    var json = false
    @Flag(help: "Show what goes on each second, in place on a terminal, until interrupted.")
    var watch = false
    @Argument(help: "A mountpoint, or any path in the mount. [all mounts]")
    var mountpoint: String?

    mutating func run() async throws {
        guard watch else {
            print(try render())
            return
        }
        if json {
            while true {
                print(try render())
                fflush(nil)
                try await Task.sleep(for: .seconds(1))
            }
        }
        try await watchLive()
    }

    /// Shows rates and what goes on, in place on a terminal, until interrupted.
    private func watchLive() async throws {
        let time = SystemTime()
        var before: (found: [MountStatus], atNanoseconds: UInt64)?
        while true {
            let (found, silent, left) = try collect()
            let now = time.monotonicNanoseconds
            let seconds = before.map { Double(now - $0.atNanoseconds) / 1e9 } ?? 0
            let columns = Int(pail_terminal_columns(1))
            let blocks = found.map { status in
                WatchReport.lines(
                    status, before: before?.found.first { $0.pid == status.pid }, seconds: seconds,
                    columns: columns > 0 ? columns : 200)
            }
            var lines = Array(blocks.joined(separator: [""])) + silent
            if lines.isEmpty { lines = ["no mounts"] }
            lines += left
            if columns > 0 {
                // More would scroll, and the next picture would not cover this one.
                lines = Array(lines.prefix(max(1, Int(pail_terminal_rows(1)) - 1)))
                let start = before == nil ? "\u{1b}[2J\u{1b}[H" : "\u{1b}[H"
                print(start + lines.map { "\($0)\u{1b}[K\n" }.joined() + "\u{1b}[J", terminator: "")
            } else {
                print(lines.joined(separator: "\n") + "\n")
            }
            fflush(nil)
            before = (found, now)
            try await Task.sleep(for: .seconds(1))
        }
    }

    private func render() throws -> String {
        let (found, silent, left) = try collect()
        if json {
            for line in silent + left { say(Message.line(line)) }
            if mountpoint != nil, let status = found.first { return status.json(pretty: !watch) }
            return "[" + found.map { $0.json() }.joined(separator: watch ? "," : ",\n") + "]"
        }
        let blocks = found.map { StatusReport.lines($0).joined(separator: "\n") } + silent
        return ((blocks.isEmpty ? ["no mounts"] : blocks) + left).joined(separator: "\n\n")
    }

    /// The mounts asked for: what they tell, and lines on those that tell nothing.
    private func collect() throws -> (found: [MountStatus], silent: [String], left: [String]) {
        let lookup = try MountLookup()
        guard let mountpoint else { return all(lookup) }
        let path = try lookup.canonical(mountpoint)
        guard let mount = lookup.table.mount(containing: path), mount.isPail else {
            throw CommandFailure("\(mountpoint) is not in a mount of pail's")
        }
        do throws(ControlError) {
            return ([try lookup.connect(mount).status()], [], [])
        } catch {
            throw CommandFailure("\(mount.mountpoint): \(error)")
        }
    }

    /// What ended mounts left in the state directory and no live one tells of. Nothing there is touched or locked.
    private static func leftBehind(_ stateDirectory: String, besides found: [MountStatus]) -> [String] {
        let known = Set(found.flatMap(\.leftovers).compactMap(\.directory))
        return StagedRest.ofAll(stateDirectory: stateDirectory).filter { !known.contains($0.directory) }
            .map { StatusReport.text(MountStatus.Leftover($0)) }
    }

    /// Mounts that do not answer are shown as such; daemons whose mount is gone and which still upload are found by
    /// their sockets.
    private func all(_ lookup: MountLookup) -> (found: [MountStatus], silent: [String], left: [String]) {
        var found: [MountStatus] = []
        var silent: [String] = []
        // Others' daemons answer nobody else.
        let user = geteuid()
        for mount in lookup.pailMounts where user == 0 || mount.fuseUserID ?? user == user {
            do throws(ControlError) {
                found.append(try lookup.connect(mount).status())
            } catch {
                silent.append(Message.oneLine("\(mount.mountpoint)  \(mount.source)  does not answer: \(error)"))
            }
        }
        for path in lookup.directories().flatMap({ $0.liveSocketPaths() }) {
            guard let status = try? ControlClient(socketPath: path).status() else { continue }
            if !found.contains(where: { $0.pid == status.pid }) { found.append(status) }
        }
        return (found, silent, Self.leftBehind(lookup.stateDirectory, besides: found))
    }
}
