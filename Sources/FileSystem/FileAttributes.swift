// What stat(2) shows of a file beyond its size.

public import Base

/// The kinds of files that pail keeps.
public enum FileKind: Sendable, Hashable {
    case file
    case directory
    case symlink
    /// These three are names only: the kernel does what is done with them.
    case fifo
    case socket
    case characterDevice
    case blockDevice

    /// The kind of `st_mode`'s type bits; nil for none of these.
    public init?(typeBits: UInt32) {
        guard let kind = Self.all.first(where: { $0.typeBits == typeBits & 0o170000 }) else { return nil }
        self = kind
    }

    private static let all: [FileKind] = [
        .file, .directory, .symlink, .fifo, .socket, .characterDevice, .blockDevice,
    ]

    /// The type bits of `st_mode`, from <sys/stat.h>.
    public var typeBits: UInt32 {
        switch self {
        case .file: 0o100000
        case .directory: 0o040000
        case .symlink: 0o120000
        case .fifo: 0o010000
        case .socket: 0o140000
        case .characterDevice: 0o020000
        case .blockDevice: 0o060000
        }
    }
}

/// Permissions, owner and times.
public struct FileAttributes: Sendable, Equatable {
    /// The permission bits with setuid, setgid and sticky: 0o7777 at most.
    public var permissions: UInt32
    public var uid: UInt32
    public var gid: UInt32
    public var accessed: Timestamp
    public var modified: Timestamp
    public var changed: Timestamp
    /// The device that a device node stands for, as `st_rdev` has it.
    public var device: UInt32 = 0

    public init(permissions: UInt32, uid: UInt32, gid: UInt32, time: Timestamp) {
        self.permissions = permissions
        self.uid = uid
        self.gid = gid
        accessed = time
        modified = time
        changed = time
    }
}

/// What `setattr` asks to change; nil leaves as is.
public struct AttributeChanges: Sendable, Equatable {
    public var byteCount: Int?
    public var permissions: UInt32?
    public var uid: UInt32?
    public var gid: UInt32?
    public var accessed: Timestamp?
    public var modified: Timestamp?
    public var changed: Timestamp?
    /// Whether a file loses its set-user-ID bit, and its set-group-ID bit if that is one of execution (chown(2), write(2)).
    /// Of no effect on directories.
    public var endsPrivileges = false

    public init() {}

    /// Whether permissions, owner and times are already those that are asked for.
    func changesNothing(of attributes: FileAttributes) -> Bool {
        func isSame<Value: Equatable>(_ wanted: Value?, _ value: Value) -> Bool { wanted.map { $0 == value } ?? true }
        return byteCount == nil && isSame(permissions.map { $0 & 0o7777 }, attributes.permissions)
            && isSame(uid, attributes.uid) && isSame(gid, attributes.gid) && isSame(accessed, attributes.accessed)
            && isSame(modified, attributes.modified) && changed == nil
    }

    func apply(to attributes: inout FileAttributes, kind: FileKind, now: Timestamp) {
        if endsPrivileges, kind == .file { attributes.endPrivileges() }
        if let permissions { attributes.permissions = permissions & 0o7777 }
        if let uid { attributes.uid = uid }
        if let gid { attributes.gid = gid }
        if let accessed { attributes.accessed = accessed }
        if let modified { attributes.modified = modified }
        attributes.changed = changed ?? now
    }
}

extension FileAttributes {
    /// Takes away what would let a program that somebody has changed run as another user.
    mutating func endPrivileges() {
        permissions &= ~UInt32(0o4000)
        // Without the bit of execution it means mandatory locking, and stays.
        if permissions & 0o010 != 0 { permissions &= ~UInt32(0o2000) }
    }
}

/// Everything the kernel wants to know of a file.
public struct FileStatus: Sendable, Equatable {
    /// What the kernel calls the node by, while it knows it.
    public let number: UInt64
    /// What `stat` shows: the same after a remount, where the object is.
    public let inode: UInt64
    public let kind: FileKind
    public let attributes: FileAttributes
    public let byteCount: Int
    public let linkCount: UInt32
}
