// The ways to take a mount away: the system call, fusermount3 for the owner of a FUSE mount, and the abort of a FUSE
// connection.

internal import Base
internal import CLinux
internal import Glibc

/// One attempt to unmount, as the retry logic needs it; tests put their own answers here. Blocking, thread-safe.
protocol UnmountCalling: Sendable {
    func table() throws(SystemCallError) -> MountTable
    func attempt(_ mode: UnmountMode, on mount: MountEntry) -> UnmountAttempt
    func holders(of mount: MountEntry, in table: MountTable) -> MountHolders
}

/// The real calls.
struct UnmountCalls: UnmountCalling {
    /// How long an unmount may take by itself: the kernel first hands dirty pages to the filesystem.
    static let attemptMillisecondsMax: Int32 = 30_000

    /// Words in front of fusermount3's, to run it as another user in tests.
    var fusermountPrefix: [String] = []
    /// Tests skip the system call, which root may always do.
    var triesSystemCall = true

    func table() throws(SystemCallError) -> MountTable {
        try .current()
    }

    func holders(of mount: MountEntry, in table: MountTable) -> MountHolders {
        .find(of: mount, in: table)
    }

    func attempt(_ mode: UnmountMode, on mount: MountEntry) -> UnmountAttempt {
        if mode == .force, mount.isFuse { abortConnection(of: mount) }
        if triesSystemCall {
            let answer = systemCall(mode, mount)
            if answer != EPERM { return UnmountAttempt(errno: answer, mount) }
        }
        guard mount.isFuse else {
            return .notPermitted(remedy: "only root may unmount a \(mount.fileSystemType) mount; try sudo")
        }
        return fusermount(mode, mount)
    }

    /// 0 or an errno.
    private func systemCall(_ mode: UnmountMode, _ mount: MountEntry) -> Int32 {
        let flags: Int32 =
            switch mode {
            case .plain: 0
            case .detach: Int32(PAIL_UMOUNT_DETACH)
            case .force: Int32(PAIL_UMOUNT_FORCE | PAIL_UMOUNT_DETACH)
            }
        // A symlink put in the mountpoint's place meanwhile must not lead to another mount.
        let noFollow = Int32(PAIL_UMOUNT_NOFOLLOW)
        let answer = pail_umount_bounded(mount.mountpoint.string, flags | noFollow, Self.attemptMillisecondsMax)
        return answer >= 0 ? answer : errno
    }

    /// Ends the connection to a FUSE daemon as its owner may (Documentation/filesystems/fuse.rst, "Control filesystem").
    /// Without that filesystem nothing happens, and a detach is still possible.
    private func abortConnection(of mount: MountEntry) {
        let descriptor = open("/sys/fs/fuse/connections/\(mount.device.minor)/abort", O_WRONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return }
        _ = write(descriptor, "1", 1)
        close(descriptor)
    }

    private func fusermount(_ mode: UnmountMode, _ mount: MountEntry) -> UnmountAttempt {
        guard let program = FuseEnvironment().fusermountPath else {
            return .notPermitted(
                remedy: "fusermount3 is not installed; install the package fuse3, or unmount as root")
        }
        let options = mode == .plain ? ["-u"] : ["-u", "-z"]
        let result = ChildProgram.run(
            fusermountPrefix + [program] + options + ["--", mount.mountpoint.string],
            timeoutMilliseconds: Self.attemptMillisecondsMax)
        switch result {
        case .exited(0, _): return .done
        case .exited(_, let message): return FusermountMessage.parse(message, mount: mount)
        case .timedOut: return .failed(errno: ETIMEDOUT)
        case .notStarted(let errno): return .failed(errno: errno)
        }
    }
}

extension UnmountAttempt {
    /// What an errno of umount2(2) means.
    init(errno: Int32, _ mount: MountEntry) {
        switch errno {
        case 0: self = .done
        case EBUSY: self = .busy
        // EINVAL: not a mountpoint (or locked, in a namespace of less privilege). ENOENT: not even a directory.
        case EINVAL, ENOENT: self = .notMounted
        case EPERM, EACCES: self = .notPermitted(remedy: FusermountMessage.ownershipRemedy(mount))
        default: self = .failed(errno: errno)
        }
    }
}
