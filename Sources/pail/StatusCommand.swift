// `pail status`: what the mounts are doing.

internal import ArgumentParser
internal import Base
internal import CLinux
internal import Commands
internal import Control
internal import Glibc
internal import Mounts

struct StatusCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "status",
        abstract: "Shows the mounts: what is still uploading, cache, requests, errors.",
        usage: "pail status [--json] [--watch] [MOUNTPOINT]",
        discussion: "With --json: one object for MOUNTPOINT, else an array of all mounts.")

    @Flag(help: "Print JSON; with --watch one line a time.")
    var json = false
    @Flag(help: "Show it again each second, until interrupted.")
    var watch = false
    @Argument(help: "A mountpoint, or any path in the mount. [all mounts]")
    var mountpoint: String?

    mutating func run() async throws {
        let isTerminal = pail_terminal_columns(1) > 0
        while true {
            let text = try render()
            // Home, each line erased to its end, then all below: nothing flickers.
            let isInPlace = watch && isTerminal && !json
            let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
            print(isInPlace ? "\u{1b}[H" + lines.map { "\($0)\u{1b}[K\n" }.joined() + "\u{1b}[J" : text)
            fflush(nil)
            guard watch else { return }
            try await Task.sleep(for: .seconds(1))
            if !isInPlace, !json { print() }
        }
    }

    private func render() throws -> String {
        let lookup = try MountLookup()
        if let mountpoint {
            let path = try lookup.canonical(mountpoint)
            guard let mount = lookup.table.mount(containing: path), mount.isPail else {
                throw CommandFailure("\(mountpoint) is not in a mount of pail's")
            }
            let status: MountStatus
            do throws(ControlError) {
                status = try lookup.connect(mount).status()
            } catch {
                throw CommandFailure("\(mount.mountpoint): \(error)")
            }
            return json ? status.json(pretty: !watch) : StatusReport.lines(status).joined(separator: "\n")
        }
        return all(lookup)
    }

    /// Mounts that do not answer are shown as such; daemons whose mount is gone and which still upload are found by
    /// their sockets.
    private func all(_ lookup: MountLookup) -> String {
        var found: [MountStatus] = []
        var silent: [String] = []
        for mount in lookup.pailMounts {
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
        if json {
            for line in silent { say(Message.line(line)) }
            return "[" + found.map { $0.json() }.joined(separator: watch ? "," : ",\n") + "]"
        }
        let blocks = found.map { StatusReport.lines($0).joined(separator: "\n") } + silent
        return blocks.isEmpty ? "no mounts" : blocks.joined(separator: "\n\n")
    }
}
