// The mount options as given, each checked and typed.

public import Logging

/// How a bucket's name goes into a request.
public enum Addressing: String, Sendable, Codable, CaseIterable {
    /// Virtual on AWS, path elsewhere.
    case auto
    /// `https://host/bucket/key`.
    case path
    /// `https://bucket.host/key`.
    case virtual
}

/// When the attributes of an object are asked of the store.
public enum AttributesMode: String, Sendable, Codable, CaseIterable {
    /// As long as the objects of a directory turn out to carry any.
    case adaptive
    /// Never: what the listing says is enough.
    case listing
    /// Always.
    case exact
}

/// What the user asked for; nil and false mean "not said". Flags and `-o` items both come through `set`.
public struct MountOptions: Sendable, Equatable {
    public internal(set) var endpoint: ServerURL?
    public internal(set) var region: String?
    public internal(set) var profile: String?
    public internal(set) var isAnonymous = false
    public internal(set) var addressing: Addressing?
    public internal(set) var caBundlePath: String?
    public internal(set) var isReadOnly = false
    public internal(set) var cacheDirectory: String?
    /// 0: no disk cache.
    public internal(set) var cacheBytesMax: Int?
    public internal(set) var cacheFreePercent: Int?
    public internal(set) var isOffline = false
    public internal(set) var prefetchesSiblings = true
    public internal(set) var stateDirectory: String?
    public internal(set) var stagingBytesMax: Int?
    public internal(set) var memoryBytes: Int?
    public internal(set) var ttlMilliseconds: Int?
    public internal(set) var attributes: AttributesMode?
    public internal(set) var isWriteThrough = false
    public internal(set) var connectionsMax: Int?
    public internal(set) var partBytes: Int?
    public internal(set) var ownerUID: UInt32?
    public internal(set) var ownerGID: UInt32?
    public internal(set) var umask: UInt16?
    public internal(set) var fileMode: UInt16?
    public internal(set) var directoryMode: UInt16?
    public internal(set) var isOtherAllowed = false
    public internal(set) var isRootAllowed = false
    public internal(set) var storageClass: String?
    public internal(set) var serverSideEncryption: String?
    public internal(set) var kmsKeyID: String?
    public internal(set) var customerKeyPath: String?
    public internal(set) var acl: String?
    public internal(set) var isRequesterPays = false
    public internal(set) var metrics: ListenAddress?
    public internal(set) var logLevel: Logger.Level?
    public internal(set) var logFilePath: String?
    /// A daemon that dies is replaced under the live mount.
    public internal(set) var isSupervised = false
    public internal(set) var isForeground = false
    public internal(set) var isNonemptyAllowed = false
    public internal(set) var kernel = KernelMountOptions()

    public init() {}

    /// Takes one pail option. A later call for the same option replaces the earlier.
    /// - Parameters:
    ///   - value: nil for a flag.
    ///   - origin: how the user wrote the option, for the message; by default `--NAME`.
    public mutating func set(
        _ option: MountOptionName, _ value: String? = nil, origin: String? = nil
    ) throws(UsageError) {
        let value = try OptionValue(value, of: option, origin: origin ?? "--\(option.rawValue)")
        switch option {
        case .endpoint: endpoint = try ServerURL.parse(value.text, origin: value.origin)
        case .region: region = try value.word()
        case .profile: profile = try value.nonempty()
        case .noSignRequest: isAnonymous = true
        case .addressing: addressing = try value.choice()
        case .caBundle: caBundlePath = try value.nonempty()
        case .readOnly: isReadOnly = true
        case .cacheDirectory: cacheDirectory = try value.nonempty()
        case .cacheSize: cacheBytesMax = try value.cacheSize()
        case .cacheFree: cacheFreePercent = try value.integer(0...99)
        case .stateDirectory: stateDirectory = try value.nonempty()
        case .stagingSize: stagingBytesMax = try value.byteCount((16 << 20)...Int.max)
        case .memory: memoryBytes = try value.byteCount((32 << 20)...Int.max)
        case .ttl: ttlMilliseconds = try value.milliseconds()
        case .attributes: attributes = try value.choice()
        case .writeThrough: isWriteThrough = true
        case .connections: connectionsMax = try value.integer(1...1024)
        // The bounds of S3: https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html
        case .partSize: partBytes = try value.byteCount((5 << 20)...(5 << 30))
        case .uid: ownerUID = try value.account(AccountNames.uid, kind: "user")
        case .gid: ownerGID = try value.account(AccountNames.gid, kind: "group")
        case .umask: umask = try value.octal()
        case .fileMode: fileMode = try value.octal()
        case .directoryMode: directoryMode = try value.octal()
        case .allowOther: isOtherAllowed = true
        case .allowRoot: isRootAllowed = true
        case .storageClass: storageClass = try value.word().uppercased()
        case .serverSideEncryption: serverSideEncryption = try value.encryption()
        case .kmsKeyID: kmsKeyID = try value.word()
        case .acl: acl = try value.word()
        case .requesterPays: isRequesterPays = true
        case .offline: isOffline = true
        case .noSiblingPrefetch: prefetchesSiblings = false
        case .metrics: metrics = try ListenAddress.parse(value.text, origin: value.origin)
        case .customerKeyFile: customerKeyPath = try value.nonempty()
        case .logLevel: logLevel = try value.level()
        case .logFile: logFilePath = try value.nonempty()
        case .supervised: isSupervised = true
        case .foreground: isForeground = true
        case .nonempty: isNonemptyAllowed = true
        }
    }

    /// Takes the list after `-o`: pail's options by their long names, and the kernel's and fstab's own.
    public mutating func set(list: String) throws(UsageError) {
        for item in try MountOptionList.split(list) {
            let (name, value) = MountOptionList.pair(item)
            if value == nil, name == "ro" || name == "rw" {
                isReadOnly = name == "ro"
            } else if let option = MountOptionName(listed: name) {
                try set(option, value, origin: "-o \(name)")
            } else if name == "remount" {
                throw UsageError("-o remount is not possible: unmount, and mount with the new options")
            } else if !kernel.take(name, value: value) {
                let hint = NearestName.hint(name, among: MountOptionName.allCases.map(\.rawValue))
                throw UsageError("unknown mount option '\(item)' after -o; `pail help mount` lists them\(hint)")
            }
        }
    }
}
