// Why a directory cannot be mounted on, and what the user can do about it.

public import Base

/// A reason not to mount, found before anything was changed.
public enum MountPointProblem: Error, Sendable, Equatable {
    case missing(ByteString)
    case notDirectory(ByteString)
    /// It has entries, one of which is named.
    case notEmpty(ByteString, entry: String)
    /// A FUSE mount that answers is there already.
    case alreadyMounted(MountEntry)
    /// A mount is there that does not answer.
    case unresponsive(MountEntry)
    /// A dead mount is there and could not be taken away.
    case staleMountStays(MountEntry, UnmountOutcome)
    /// fusermount3 wants ordinary users to be able to write to the mountpoint.
    case notWritable(ByteString)
    /// Any other failure to look at the directory.
    case inaccessible(ByteString, errno: Int32)
    case fuseDeviceMissing(String)
    case fuseDeviceUnusable(String, errno: Int32)
    case fusermountMissing
    /// `--allow-other` or `--allow-root` by an ordinary user without `user_allow_other` in the named file.
    case othersNotAllowed(String)
}

extension MountPointProblem: CustomStringConvertible {
    /// One line: what is wrong, and the remedy.
    public var description: String {
        switch self {
        case .missing(let path):
            "the mountpoint \(path) does not exist; create it with mkdir"
        case .notDirectory(let path):
            "the mountpoint \(path) is not a directory"
        case .notEmpty(let path, let entry):
            "the mountpoint \(path) is not empty (it has \"\(entry)\"); choose an empty directory, or give -o nonempty"
        case .alreadyMounted(let mount):
            "\(mount.mountpoint) is already mounted (\(mount.source), \(mount.fileSystemType)); "
                + "unmount it first with: pail umount \(mount.mountpoint)"
        case .unresponsive(let mount):
            "\(mount.mountpoint) is mounted (\(mount.source), \(mount.fileSystemType)) and does not answer; "
                + "take it away with: pail umount --force \(mount.mountpoint)"
        case .staleMountStays(let mount, let outcome):
            "the dead mount at \(mount.mountpoint) could not be taken away (\(outcome.reason)); "
                + "try: pail umount --lazy \(mount.mountpoint)"
        case .notWritable(let path):
            "the mountpoint \(path) is not writable for you; choose a directory of your own"
        case .inaccessible(let path, let errno):
            "the mountpoint \(path) cannot be used: \(SystemCallError.message(errno))"
        case .fuseDeviceMissing(let path):
            "\(path) is missing; load the module with: modprobe fuse "
                + "(in a container: --device /dev/fuse --cap-add SYS_ADMIN)"
        case .fuseDeviceUnusable(let path, let errno):
            "\(path) cannot be opened: \(SystemCallError.message(errno)); it should be readable and writable for all "
                + "(chmod 0666 \(path)), and in a container the device must be allowed"
        case .fusermountMissing:
            "fusermount3 is not installed, which ordinary users need to mount; install the package fuse3"
        case .othersNotAllowed(let path):
            "--allow-other and --allow-root need the line user_allow_other in \(path) when you are not root"
        }
    }
}

extension UnmountOutcome {
    /// The outcome in a few words.
    var reason: String {
        switch self {
        case .unmounted: "unmounted"
        case .detached: "detached"
        case .notMounted: "not mounted"
        case .stillBusy: "target is busy"
        case .notPermitted(let remedy): "not permitted: \(remedy)"
        case .failed(let errno): SystemCallError.message(errno)
        }
    }
}
