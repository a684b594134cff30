// Attributes in user metadata, in the keys that s3fs writes, read also in the forms of other tools.

public import Base
public import ObjectModel

/// Attributes ↔ `x-amz-meta-*`.
///
/// Written: `mode` (decimal, with type bits), `uid`, `gid`, `mtime`, `atime`, `ctime` (seconds.nanoseconds), and
/// `symlink-target` (percent-encoded) and `rdev` (of device nodes, decimal). Read besides: rclone's and geesefs's `mtime`, s3sync's `owner`, `group`,
/// `permissions`, and Google's `goog-reserved-*` names.
public struct AttributeCodec: Sendable {
    /// What objects without such metadata get.
    public let fileDefaults: (permissions: UInt32, uid: UInt32, gid: UInt32)
    public let directoryPermissions: UInt32

    public init(filePermissions: UInt32, directoryPermissions: UInt32, uid: UInt32, gid: UInt32) {
        fileDefaults = (filePermissions, uid, gid)
        self.directoryPermissions = directoryPermissions
    }

    public func defaults(for kind: FileKind, time: Timestamp) -> FileAttributes {
        let permissions: UInt32 =
            switch kind {
            case .file, .fifo, .socket, .characterDevice, .blockDevice: fileDefaults.permissions
            case .directory: directoryPermissions
            case .symlink: 0o777
            }
        return FileAttributes(permissions: permissions, uid: fileDefaults.uid, gid: fileDefaults.gid, time: time)
    }

    /// Whether any of the metadata says something about POSIX attributes.
    public static func isPosix(_ metadata: [String: String]) -> Bool {
        ownKeys.contains { metadata[$0] != nil } || foreignKeys.contains { metadata[$0] != nil }
    }

    /// The kind that the metadata tells; `.file` when it tells none.
    public static func kind(of metadata: [String: String]) -> FileKind {
        if metadata["symlink-target"] != nil || metadata["--symlink-target"] != nil { return .symlink }
        guard let mode = mode(of: metadata), let kind = FileKind(typeBits: mode), kind != .directory else {
            return .file
        }
        return kind
    }

    /// The target in the metadata; nil when it is in the body, as s3fs has it.
    public static func symlinkTarget(of metadata: [String: String]) -> String? {
        (metadata["symlink-target"] ?? metadata["--symlink-target"]).map { KernelName.text(of: PercentText.decode($0)) }
    }

    public func attributes(of metadata: [String: String], kind: FileKind, lastModified: Timestamp) -> FileAttributes {
        var result = defaults(for: kind, time: lastModified)
        func first(_ keys: String...) -> String? { keys.lazy.compactMap { metadata[$0] }.first }
        if let mode = Self.mode(of: metadata) { result.permissions = mode & 0o7777 }
        if let device = Self.number(metadata["rdev"]) { result.device = UInt32(truncatingIfNeeded: device) }
        if let uid = Self.number(first("uid", "owner", "goog-reserved-posix-uid")) {
            result.uid = UInt32(clamping: uid)
        }
        if let gid = Self.number(first("gid", "group", "goog-reserved-posix-gid")) {
            result.gid = UInt32(clamping: gid)
        }
        if let time = Self.time(first("mtime", "goog-reserved-file-mtime")) {
            result.modified = time
            result.accessed = time
            result.changed = time
        }
        if let time = Self.time(metadata["atime"]) { result.accessed = time }
        if let time = Self.time(metadata["ctime"]) { result.changed = time }
        return result
    }

    /// Puts the attributes into `properties`, leaving what else is there.
    public static func encode(_ attributes: FileAttributes, kind: FileKind, into properties: inout ObjectProperties) {
        properties.metadata["mode"] = String(kind.typeBits | attributes.permissions)
        properties.metadata["uid"] = String(attributes.uid)
        properties.metadata["gid"] = String(attributes.gid)
        properties.metadata["mtime"] = text(attributes.modified)
        properties.metadata["atime"] = text(attributes.accessed)
        properties.metadata["ctime"] = text(attributes.changed)
        // geesefs has this key too; s3fs forgets the number.
        if kind == .characterDevice || kind == .blockDevice {
            properties.metadata["rdev"] = String(attributes.device)
        }
    }

    public static func encode(symlinkTarget: String, into properties: inout ObjectProperties) {
        properties.metadata["symlink-target"] = PercentText.encode(KernelName.bytes(of: symlinkTarget))
    }

    private static let ownKeys = ["mode", "uid", "gid", "mtime", "symlink-target"]
    private static let foreignKeys = [
        "permissions", "owner", "group", "--symlink-target", "goog-reserved-posix-mode", "goog-reserved-file-mtime",
    ]

    /// Type and permission bits. s3fs, s3sync and geesefs write them in decimal. rclone writes octal with type bits
    /// (`--metadata`: `100664`), which as decimal is no mode, and Google's tools octal permissions.
    private static func mode(of metadata: [String: String]) -> UInt32? {
        guard let text = metadata["mode"] ?? metadata["permissions"] else {
            return metadata["goog-reserved-posix-mode"].flatMap { UInt32($0, radix: 8) }
        }
        let octal = UInt32(text, radix: 8)
        if let octal, text.hasPrefix("0") { return octal }
        guard let decimal = number(text).map({ UInt32(truncatingIfNeeded: $0) }) else { return nil }
        let isMode = decimal <= 0o7777 || decimal <= 0o177777 && FileKind(typeBits: decimal) != nil
        if !isMode, let octal, octal <= 0o177777, FileKind(typeBits: octal) != nil { return octal }
        return decimal
    }

    /// Decimal; with a fraction cut off, as some tools write.
    private static func number(_ text: String?) -> Int64? {
        guard let text else { return nil }
        return Int64(text.prefix { $0 != "." })
    }

    /// `1700000000.123456789`, with fewer digits, or none; nanoseconds are the fraction's first nine digits. Or a time of
    /// RFC 3339, as `rclone --metadata` writes access times.
    static func time(_ text: String?) -> Timestamp? {
        guard let text else { return nil }
        guard let seconds = Int64(text.prefix { $0 != "." }) else { return RFC3339.time(text) }
        guard let nanoseconds = nanoseconds(text.drop { $0 != "." }.dropFirst()) else { return nil }
        return Timestamp(seconds: seconds, nanoseconds: nanoseconds)
    }

    /// Of the digits of a fraction.
    static func nanoseconds(_ digits: Substring) -> Int32? {
        let fraction = digits.prefix(9)
        guard fraction.utf8.allSatisfy({ (0x30...0x39).contains($0) }) else { return nil }
        return Int32(fraction + String(repeating: "0", count: 9 - fraction.count))
    }

    static func text(_ time: Timestamp) -> String {
        let digits = String(time.nanoseconds)
        return "\(time.seconds).\(String(repeating: "0", count: 9 - digits.count))\(digits)"
    }
}
