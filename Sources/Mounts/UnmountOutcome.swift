// How an unmount ended, and how it is asked for.

public import Base

/// How hard to try.
public struct UnmountRequest: Sendable, Hashable {
    /// What to do when the mount is still busy at the end of the time.
    public enum WhenBusy: Sendable, Hashable {
        /// Leave it mounted and report the holders.
        case report
        /// Take it out of the tree now; it lives on for its holders until they let go (MNT_DETACH).
        case detach
        /// Cut the connection to its daemon or server, so that its holders get errors, then take it out of the tree.
        case force
    }

    /// The mountpoint: absolute and canonical, as `MountTable.resolve` gives it.
    public var mountpoint: ByteString
    /// How long "busy" is retried, in nanoseconds; 0 tries once.
    public var timeoutNanoseconds: UInt64
    public var whenBusy: WhenBusy

    public init(mountpoint: ByteString, timeoutNanoseconds: UInt64, whenBusy: WhenBusy = .report) {
        self.mountpoint = mountpoint
        self.timeoutNanoseconds = timeoutNanoseconds
        self.whenBusy = whenBusy
    }
}

/// How an unmount ended.
public enum UnmountOutcome: Sendable, Equatable {
    /// The mount is gone; of several stacked on the mountpoint, the top one.
    case unmounted
    /// The mount is out of the tree, and lives on until its holders let go (`WhenBusy.detach` and `.force`).
    case detached
    /// Nothing was mounted there.
    case notMounted
    case stillBusy(MountHolders)
    /// This user may not unmount it; the remedy is a sentence for the user.
    case notPermitted(remedy: String)
    /// Any other failure. ETIMEDOUT: the unmount itself did not come back.
    case failed(errno: Int32)
}

/// What is told after each attempt that found the mount busy.
public struct UnmountProgress: Sendable, Equatable {
    /// 1 for the first attempt.
    public var attempt: Int
    public var elapsedNanoseconds: UInt64
    /// How long until the next attempt.
    public var pauseNanoseconds: UInt64
    /// Who holds it; looked up about once a second, the last answer otherwise; nil before the first search.
    public var holders: MountHolders?
}
