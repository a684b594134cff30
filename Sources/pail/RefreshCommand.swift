// `pail refresh`: forgets what a mount believes of names and attributes.

internal import ArgumentParser
internal import Base
internal import Commands
internal import Control
internal import Mounts

struct RefreshCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "refresh",
        abstract: "Forgets what is cached of names and attributes, so that changes made elsewhere show at once.",
        usage: "pail refresh PATH...")

    @Argument(help: "Files or directories in a mount; a directory means everything below it.")
    var paths: [String]

    mutating func run() throws {
        let lookup = try MountLookup()
        for path in paths {
            let canonical = try lookup.canonical(path)
            guard let mount = lookup.table.mount(containing: canonical), mount.isPail else {
                throw CommandFailure("\(path) is not in a mount of pail's")
            }
            do throws(ControlError) {
                try lookup.connect(mount).refresh(path: canonical.string)
            } catch {
                throw CommandFailure("\(path): \(error)")
            }
        }
    }
}
