// `pail upgrade`: lets this program go on with mounts that another one serves.

internal import ArgumentParser
internal import Base
internal import Commands
internal import Control
internal import Glibc
internal import Mounts

struct UpgradeCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "upgrade",
        abstract: "Lets this pail go on with mounts that an earlier one serves; programs see a pause.",
        usage: "pail upgrade [MOUNTPOINT...]",
        discussion: """
            For mounts that were made with --supervised: open files, locks, and data that is not in S3 yet stay. A new \
            program that does not get to serve is replaced by the earlier one.
            """)

    /// Longer than a supervisor waits for a new program to serve, and for the earlier one then.
    private static let waitNanoseconds: UInt64 = 100_000_000_000

    @Argument(help: "Mountpoints, or any path in the mounts. [all your mounts]")
    var mountpoints: [String] = []

    mutating func run() async throws {
        let lookup = try MountLookup()
        guard let program = Self.ownProgram() else { throw CommandFailure("the file of this program is gone") }
        var failures: [String] = []
        for (given, mount) in try targets(lookup) {
            do throws(ControlError) {
                print(try await Self.upgrade(given, mount, to: program, lookup))
            } catch {
                failures.append(Message.line("\(given): \(error)"))
            }
        }
        if !failures.isEmpty { throw CommandFailure(lines: failures, status: .failed) }
    }

    /// The path of the program that executes this; nil when it was replaced or removed meanwhile.
    private static func ownProgram() -> String? {
        ProcessFacts.program.flatMap { $0.hasSuffix(ProcessFacts.deletedMark) ? nil : $0 }
    }

    private func targets(_ lookup: MountLookup) throws -> [(given: String, mount: MountEntry)] {
        guard !mountpoints.isEmpty else {
            let user = geteuid()
            return lookup.pailMounts.filter { user == 0 || $0.fuseUserID == user }
                .map { (given: $0.mountpoint.string, mount: $0) }
        }
        return try mountpoints.map { word in
            guard let mount = lookup.table.mount(containing: try lookup.canonical(word)), mount.isPail else {
                throw CommandFailure("\(word) is not in a mount of pail's")
            }
            return (given: word, mount: mount)
        }
    }

    /// Returns what to say of a mount that has been taken over.
    private static func upgrade(
        _ given: String, _ mount: MountEntry, to program: String, _ lookup: MountLookup
    ) async throws(ControlError) -> String {
        let client = try lookup.connect(mount)
        let before = try client.status()
        guard before.isSupervised != nil else {
            throw ControlError(
                .other, "pail \(before.version), which serves it, cannot hand over: unmount it and mount it again")
        }
        try client.upgrade(program: program)
        let time = SystemTime()
        let deadline = time.monotonicNanoseconds + waitNanoseconds
        let directories = lookup.directories(userID: mount.fuseUserID)
        while time.monotonicNanoseconds < deadline {
            try? await time.sleep(nanoseconds: 50_000_000)
            let next = try? ControlClient.connect(
                mountpoint: mount.mountpoint.string, directories: directories, silenceSeconds: 2)
            guard let status = try? next?.status(), status.pid != before.pid else { continue }
            guard status.program == program else {
                throw ControlError(
                    .other,
                    "this program did not get to serve, and pail \(status.version) goes on; the mount's log says why")
            }
            return "\(given): pail \(status.version) goes on, process \(status.pid)"
        }
        throw ControlError(.unresponsive, "nobody answers for the mount any more; its log says why")
    }
}
