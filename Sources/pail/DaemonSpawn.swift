// Executes this program again as a daemon.

internal import CLinux
internal import Commands
internal import Glibc

/// A process that serves a mount, or supervises who does.
struct DaemonSpawn {
    let plan: MountPlan
    /// The arguments after source and mountpoint.
    var flags: [String] = []
    /// The program; this process's own by default. A path that means the same in the child, before it executes it.
    var program = "/proc/self/exe"

    /// The daemon has a session of its own, and nothing of the terminal's. Its arguments are for `ps` only, but for `flags`.
    /// - Parameter descriptors: what it finds under which number; ours must be 10 or more.
    func spawn(_ descriptors: [Int32: Int32]) throws(MountFailure) -> pid_t {
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDWR, 0)
        posix_spawn_file_actions_adddup2(&actions, 0, 1)
        posix_spawn_file_actions_adddup2(&actions, 0, 2)
        for (number, ours) in descriptors { posix_spawn_file_actions_adddup2(&actions, ours, number) }
        // Nothing else that the caller has open may stay open for the life of a mount.
        _ = pail_spawn_close_from(&actions, (descriptors.keys.max() ?? 2) + 1)
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        // POSIX_SPAWN_SETSID of <spawn.h>, which Swift does not import.
        posix_spawnattr_setflags(&attributes, 0x80)
        let words = ["pail", DaemonCommand.name, plan.location.description, plan.mountpoint] + flags
        // SAFETY: the copies live until the spawn call has returned and are freed once.
        var arguments: [UnsafeMutablePointer<CChar>?] = words.map { strdup($0) }
        arguments.append(nil)
        defer { for pointer in arguments { free(pointer) } }
        var pid: pid_t = 0
        let code = posix_spawn(&pid, program, &actions, &attributes, arguments, environ)
        guard code == 0 else {
            throw MountFailure("the daemon cannot be started: \(String(cString: strerror(code)))")
        }
        return pid
    }

    /// Tells a daemon what to do. Closes the descriptor.
    static func send(_ plan: MountPlan, to descriptor: Int32) throws(MountFailure) {
        defer { close(descriptor) }
        // A plan is far smaller than a pipe, which holds 64 KiB: the write does not wait for the daemon.
        let bytes = JSONText.encode(plan)
        guard write(descriptor, bytes, bytes.count) == bytes.count else {
            throw MountFailure("the daemon cannot be told what to do: \(String(cString: strerror(errno)))")
        }
    }

    static func pipe() throws(MountFailure) -> (read: Int32, write: Int32) {
        var ends: [Int32] = [-1, -1]
        guard Glibc.pipe(&ends) == 0 else {
            throw MountFailure("no pipe to the daemon: \(String(cString: strerror(errno)))")
        }
        // Above the numbers that the daemon finds them under, so that neither is overwritten by the other.
        let moved = ends.map { end in
            defer { close(end) }
            return fcntl(end, F_DUPFD_CLOEXEC, 10)
        }
        guard moved.allSatisfy({ $0 >= 0 }) else {
            throw MountFailure("no pipe to the daemon: \(String(cString: strerror(errno)))")
        }
        return (moved[0], moved[1])
    }
}
