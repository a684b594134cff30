// Everything that a mount needs to know, settled: what the daemon is given.

public import Logging

/// A resolved mount. Credentials are found by the daemon itself, from the profile and the environment; the one secret in it is a
/// customer's key, which is read before the daemon is started. It goes over a pipe, and is never printed.
public struct MountPlan: Sendable, Equatable, Codable {
    public var location: BucketLocation
    /// Absolute, without symbolic links.
    public var mountpoint: String
    /// Nil: AWS's, of the region.
    public var endpoint: ServerURL?
    /// Nil: the profile's, else asked of the bucket.
    public var region: String?
    public var addressing: Addressing
    /// Named by an option; nil: keys of the environment, else the profile of `$AWS_PROFILE`, else `default`.
    public var profile: String?
    /// Requests are not signed.
    public var isAnonymous: Bool
    /// PEM file of the authorities to trust instead of the system's.
    public var caBundlePath: String?

    /// Absolute; made on use, mode 0700.
    public var cacheDirectory: String
    /// The most bytes of blocks on disk, of all mounts that share the directory; 0 for no disk cache.
    public var cacheBytesMax: Int
    /// Hundredths of the cache's file system that stay free.
    public var cacheFreePercent: Int
    /// Absolute; made on use, mode 0700.
    public var stateDirectory: String
    /// The limit of dirty data on disk; nil leaves it to the staging area.
    public var stagingBytesMax: Int?
    /// The budget of all memory that grows with load.
    public var memoryBytes: Int
    public var ttlMilliseconds: Int
    public var attributes: AttributesMode
    public var isWriteThrough: Bool
    /// Nil: tuned.
    public var connectionsMax: Int?
    /// Nil: tuned.
    public var partBytes: Int?

    /// Owner and permission bits of what carries none of its own.
    public var ownerUID: UInt32
    public var ownerGID: UInt32
    public var fileMode: UInt16
    public var directoryMode: UInt16

    public var isReadOnly: Bool
    /// Nothing is asked of the store; read-only.
    public var isOffline: Bool
    /// Small files opened one after another bring those that come next.
    public var prefetchesSiblings: Bool
    public var isOtherAllowed: Bool
    public var isRootAllowed: Bool
    public var isNonemptyAllowed: Bool
    public var kernel: KernelMountOptions

    public var storageClass: String?
    public var serverSideEncryption: String?
    public var kmsKeyID: String?
    /// Absolute; nil without SSE-C.
    public var customerKeyPath: String?
    /// What that file holds, once it was read.
    public var customerKey: CustomerKeyText?
    public var acl: String?
    public var isRequesterPays: Bool

    public var isSupervised: Bool
    public var isForeground: Bool
    /// The daemon unmounts when this process ends; nil: it lives for itself.
    public var parentPID: Int32?
    /// The mountpoint was made for this mount, and is removed after it.
    public var isMountpointTemporary = false
    /// Where Prometheus finds the figures; nil: nowhere.
    public var metrics: ListenAddress?
    public var logLevel: Logger.Level
    /// Nil: the journal or syslog, else `defaultLogPath`; standard error when in the foreground.
    public var logFilePath: String?

    /// The options for the kernel, `ro` or `rw` first.
    public var kernelOptionNames: [String] { [isReadOnly ? "ro" : "rw"] + kernel.names }

    /// A file name that stands for the mountpoint: `/` becomes `-`, and what is not plain is written `\xHH`, as
    /// systemd-escape(1) does.
    public var mountName: String { Self.mountName(of: mountpoint) }

    public var defaultLogPath: String { "\(stateDirectory)/log/\(mountName).log" }

    static func mountName(of path: String) -> String {
        let components = path.utf8.split(separator: UInt8(ascii: "/"))
        if components.isEmpty { return "-" }
        var name = ""
        for (index, component) in components.enumerated() {
            if index > 0 { name += "-" }
            for (position, byte) in component.enumerated() {
                let isPlain =
                    (0x30...0x39).contains(byte) || (0x41...0x5a).contains(byte) || (0x61...0x7a).contains(byte)
                    || byte == UInt8(ascii: "_") || byte == UInt8(ascii: ":")
                    || (byte == UInt8(ascii: ".") && position > 0)
                if isPlain {
                    name.unicodeScalars.append(Unicode.Scalar(byte))
                } else {
                    name += "\\x" + (byte < 16 ? "0" : "") + String(byte, radix: 16)
                }
            }
        }
        // The longest name a file may have is 255 bytes, and `.log` or the like comes after it. The end tells mounts apart.
        return name.utf8.count <= 200 ? name : "..." + name.suffix(197)
    }
}
