// From what a user typed to the mount it means.

internal import Base
internal import Commands
internal import Control
internal import Mounts

/// The mounts of the machine, and the way to the daemons of pail's.
struct MountLookup {
    let table: MountTable
    private let environment: LaunchEnvironment

    init() throws {
        environment = LaunchEnvironment.current()
        do {
            table = try MountTable.current()
        } catch {
            throw CommandFailure("cannot read the mount table: \(error)")
        }
    }

    /// The canonical form of a path, worked out without asking a mount that may be dead.
    func canonical(_ path: String) throws -> ByteString {
        do {
            return try table.resolve(path)
        } catch {
            throw CommandFailure("\(path): \(error)")
        }
    }

    /// All of pail's mounts, in the order they were mounted; of several on one point the top one.
    var pailMounts: [MountEntry] {
        table.entries.filter { $0.isPail && table.mount(at: $0.mountpoint) == $0 }
    }

    /// Connects to the daemon of one of pail's mounts.
    func connect(_ mount: MountEntry) throws(ControlError) -> ControlClient {
        try ControlClient.connect(
            mountpoint: mount.mountpoint.string, directories: directories(userID: mount.fuseUserID))
    }

    /// This user's state directory, unless a mount was given another one.
    var stateDirectory: String { (try? environment.completedStateDirectory()) ?? "/var/lib/pail" }

    /// Where this user's daemons listen.
    func directories(userID: UInt32? = nil) -> [ControlDirectory] {
        ControlDirectory.candidates(
            stateDirectory: stateDirectory, runtimeDirectory: environment.variables["XDG_RUNTIME_DIR"], userID: userID)
    }
}
