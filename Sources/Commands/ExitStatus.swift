// The exit codes of pail.

/// What `pail` exits with; part of the promised command line.
public enum ExitStatus: Int32, Sendable {
    case done = 0
    /// The reason is on standard error.
    case failed = 1
    /// The command line is wrong.
    case usage = 2
    /// `umount`: still busy after the timeout; the holders are listed.
    case stillBusy = 3
    /// `umount`: detached with data not yet in S3, kept staged and listed.
    case detachedWithData = 4
}
