// The mount options that are the kernel's or fstab's, not pail's.

/// What of `-o` goes to mount(2). See mount(8), "Filesystem-independent mount options".
public struct KernelMountOptions: Sendable, Equatable, Codable {
    /// `nosuid` and `nodev` stand until someone asks for the opposite: a bucket is no place for either.
    public var isSetuidAllowed = false
    public var isDeviceAllowed = false
    public var isExecutionAllowed = true
    /// `noatime`, `relatime`… and `sync`, `dirsync`: as given, the last of each kind.
    public var accessTime: String?
    public var directoryAccessTime: String?
    public var synchronous: String?

    public init() {}

    /// The options to hand to the kernel, without `ro`/`rw`.
    public var names: [String] {
        var names: [String] = []
        names.append(isSetuidAllowed ? "suid" : "nosuid")
        names.append(isDeviceAllowed ? "dev" : "nodev")
        names.append(isExecutionAllowed ? "exec" : "noexec")
        names += [accessTime, directoryAccessTime, synchronous].compactMap { $0 }
        return names
    }

    /// Takes one option; false when it is not one of the kernel's or fstab's.
    mutating func take(_ name: String, value: String?) -> Bool {
        // Notes for other programs: systemd's, mount's own, and comments. Read by them, not by the file system.
        if name.hasPrefix("x-") || name.hasPrefix("X-") || name == "comment" { return true }
        // Who mounted, and who may unmount: mount(8) writes them down, and hands them on.
        if value != nil, ["user", "uhelper", "helper"].contains(name) { return true }
        guard value == nil else { return false }
        switch name {
        case "suid": isSetuidAllowed = true
        case "nosuid": isSetuidAllowed = false
        case "dev": isDeviceAllowed = true
        case "nodev": isDeviceAllowed = false
        case "exec": isExecutionAllowed = true
        case "noexec": isExecutionAllowed = false
        case "atime", "noatime", "relatime", "norelatime", "strictatime", "nostrictatime": accessTime = name
        case "diratime", "nodiratime": directoryAccessTime = name
        case "sync", "dirsync": synchronous = name
        case "async": synchronous = nil
        // Who may mount from fstab; mount(8) says what each implies.
        case "user", "users":
            isSetuidAllowed = false
            isDeviceAllowed = false
            isExecutionAllowed = false
        case "owner", "group":
            isSetuidAllowed = false
            isDeviceAllowed = false
        // When and by whom it is mounted: settled before pail is called. `default_permissions` is always on here.
        case "defaults", "auto", "noauto", "nouser", "nousers", "noowner", "nogroup", "_netdev", "nofail", "silent",
            "loud", "default_permissions":
            break
        default: return false
        }
        return true
    }
}
