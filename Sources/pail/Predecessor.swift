// The daemon of an earlier mount at the same place, which was detached and is not done yet.

internal import Base
internal import Commands
internal import Control
internal import Glibc

/// Two daemons cannot answer for one mountpoint: `status` and `umount` would reach the wrong one.
enum Predecessor {
    /// One that only has to end is gone by then.
    private static let waitNanoseconds: UInt64 = 3_000_000_000

    /// Waits for a daemon whose mount is gone to end.
    /// - Throws: when it has more to do. It is left alone: its holders still use it.
    static func wait(for plan: MountPlan) async throws(MountFailure) {
        let runtime = getenv("XDG_RUNTIME_DIR").map { String(cString: $0) }
        let directories = ControlDirectory.candidates(
            stateDirectory: plan.stateDirectory, runtimeDirectory: runtime)
        let time = SystemTime()
        let start = time.monotonicNanoseconds
        while true {
            guard
                let client = try? ControlClient.connect(
                    mountpoint: plan.mountpoint, directories: directories, silenceSeconds: 2),
                let status = try? client.status()
            else { return }
            guard time.monotonicNanoseconds - start < waitNanoseconds else {
                let files = Message.count(status.dirtyFiles, "file")
                throw MountFailure(
                    "the mount that was detached from \(plan.mountpoint) is still served by process \(status.pid) "
                        + "(\(files) to upload)",
                    remedy: "wait until it has ended (pail status), or end it with: kill \(status.pid); "
                        + "what it has not uploaded stays staged")
            }
            try? await time.sleep(nanoseconds: 100_000_000)
        }
    }
}
