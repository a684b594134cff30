// Whether a mount answers. The question is asked by a child process with a deadline: a thread of ours that waits inside a
// dead filesystem could keep the whole program from exiting.

internal import Base
internal import CLinux
internal import Glibc

/// What a mount answered to one question.
public enum MountLiveness: Sendable, Hashable {
    /// It answered, possibly with an error of its own.
    case live
    /// Nobody serves it any more (ENOTCONN): its daemon died. Only an unmount helps.
    case stale
    /// No answer within the time given: the daemon, the server or the network hangs.
    case unresponsive
}

extension MountEntry {
    /// Asks the filesystem for its size (statfs), which FUSE passes to the daemon each time and never answers from
    /// attributes cached in the kernel. Blocks for at most `timeoutMilliseconds`; starts a child process.
    ///
    /// Automounters are not asked (that would mount something), nor are filesystems of the local kernel, and a mount that
    /// this user may not access counts as live.
    public func liveness(timeoutMilliseconds: Int32 = 2_000) -> MountLiveness {
        guard mayHang, fileSystemType != "autofs" else { return .live }
        switch pail_statfs_bounded(mountpoint.string, timeoutMilliseconds) {
        case 0: return .live
        case ENOTCONN, ECONNABORTED: return .stale
        case -1: return .unresponsive
        default: return .live
        }
    }

    /// Whether the daemon of this mount has died.
    public func isStale(timeoutMilliseconds: Int32 = 2_000) -> Bool {
        liveness(timeoutMilliseconds: timeoutMilliseconds) == .stale
    }
}
