// What a FUSE mount needs of the machine.

internal import Base
internal import Glibc

/// Where the parts of FUSE are found, and who asks. The defaults are the machine's; tests give their own.
public struct FuseEnvironment: Sendable {
    public var devicePath: String
    public var configurationPath: String
    /// Directories searched for fusermount3.
    public var programDirectories: [String]
    /// The effective user.
    public var userID: UInt32

    public init(
        devicePath: String = "/dev/fuse", configurationPath: String = "/etc/fuse.conf",
        programDirectories: [String] = ["/usr/bin", "/bin", "/usr/local/bin"], userID: UInt32? = nil
    ) {
        self.devicePath = devicePath
        self.configurationPath = configurationPath
        self.programDirectories = programDirectories
        self.userID = userID ?? geteuid()
    }

    /// fusermount3, or its older namesake, which understands the same options for unmounting.
    public var fusermountPath: String? {
        for name in ["fusermount3", "fusermount"] {
            for directory in programDirectories where access("\(directory)/\(name)", X_OK) == 0 {
                return "\(directory)/\(name)"
            }
        }
        return nil
    }

    /// Whether ordinary users may give others access to their mounts: a line `user_allow_other` in fuse.conf.
    public var allowsOthersForUsers: Bool {
        guard let text = try? ProcFile.read(configurationPath) else { return false }
        return text.split(separator: UInt8(ascii: "\n")).contains { line in
            line.split { $0 == 0x20 || $0 == 0x09 || $0 == 0x0d }.map { Array($0) } == [Array("user_allow_other".utf8)]
        }
    }

    /// What stands in the way of any FUSE mount by this user.
    func check(allowOther: Bool) throws(MountPointProblem) {
        let descriptor = open(devicePath, O_RDWR | O_CLOEXEC)
        if descriptor < 0 {
            switch errno {
            case ENOENT, ENODEV, ENXIO: throw .fuseDeviceMissing(devicePath)
            default: throw .fuseDeviceUnusable(devicePath, errno: errno)
            }
        }
        close(descriptor)
        guard userID != 0 else { return }
        guard programDirectories.contains(where: { access("\($0)/fusermount3", X_OK) == 0 }) else {
            throw .fusermountMissing
        }
        if allowOther, !allowsOthersForUsers { throw .othersNotAllowed(configurationPath) }
    }
}
