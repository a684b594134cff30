// One mounted filesystem, as the kernel describes it in /proc/PID/mountinfo.

public import Base

/// One line of /proc/PID/mountinfo (proc(5), "mountinfo"), octal escapes undone.
///
/// Paths are compared by their bytes. A path that is not UTF-8 is shown with replacement characters and cannot be
/// unmounted by that spelling.
public struct MountEntry: Sendable, Hashable {
    /// The kernel's id of the mount; reused after an unmount.
    public var id: Int
    /// The id of the mount this one is mounted on.
    public var parentID: Int
    /// The device of the filesystem, as `stat` gives it for most filesystems.
    public var device: DeviceNumber
    /// The directory of the filesystem that forms the root of this mount; other than `/` for bind mounts.
    public var root: ByteString
    /// Where it is mounted, relative to the root directory of the reading process.
    public var mountpoint: ByteString
    /// Options of this mount: `rw`, `noatime`, …
    public var options: [String]
    /// Propagation: `shared:1`, `master:2`, …
    public var propagation: [String]
    /// `ext4`, `fuse.pail`, `fuse.s3fs`, …
    public var fileSystemType: String
    /// What is mounted: a device, `s3://bucket/prefix`, `none`.
    public var source: String
    /// Options of the filesystem: `user_id=1000`, `allow_other`, …
    public var superOptions: [String]

    public init(
        id: Int, parentID: Int, device: DeviceNumber, root: ByteString, mountpoint: ByteString, options: [String],
        propagation: [String], fileSystemType: String, source: String, superOptions: [String]
    ) {
        self.id = id
        self.parentID = parentID
        self.device = device
        self.root = root
        self.mountpoint = mountpoint
        self.options = options
        self.propagation = propagation
        self.fileSystemType = fileSystemType
        self.source = source
        self.superOptions = superOptions
    }

    /// The type by which the kernel lists mounts of this program.
    public static let pailType = "fuse.pail"

    public var isPail: Bool { fileSystemType == Self.pailType }
    /// Whether a FUSE daemon answers for it.
    public var isFuse: Bool {
        fileSystemType == "fuse" || fileSystemType == "fuseblk" || fileSystemType.hasPrefix("fuse.")
    }
    /// Whether access may wait for another program or machine, and may never come back.
    public var mayHang: Bool {
        isFuse || ["nfs", "nfs4", "cifs", "smb3", "ceph", "9p", "afs", "autofs"].contains(fileSystemType)
    }
    public var isReadOnly: Bool { options.contains("ro") || superOptions.contains("ro") }
    /// The user whose FUSE mount it is (`user_id=` of the super options); fusermount3 unmounts it for that user.
    public var fuseUserID: UInt32? {
        for option in superOptions where option.hasPrefix("user_id=") {
            return UInt32(option.dropFirst("user_id=".count))
        }
        return nil
    }
}

/// Major and minor number of a device.
public struct DeviceNumber: Sendable, Hashable, CustomStringConvertible {
    public var major: UInt32
    public var minor: UInt32

    public init(major: UInt32, minor: UInt32) {
        self.major = major
        self.minor = minor
    }

    public var description: String { "\(major):\(minor)" }
}
