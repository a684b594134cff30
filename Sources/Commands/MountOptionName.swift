// The names of the mount options.

/// Every option of `pail mount` by its long name, which is also its name in `-o`.
public enum MountOptionName: String, CaseIterable, Sendable {
    case endpoint
    case region
    case profile
    case noSignRequest = "no-sign-request"
    case addressing
    case caBundle = "ca-bundle"
    case readOnly = "read-only"
    case cacheDirectory = "cache-dir"
    case cacheSize = "cache-size"
    case cacheFree = "cache-free"
    case stateDirectory = "state-dir"
    case stagingSize = "staging-size"
    case memory
    case ttl
    case attributes
    case writeThrough = "write-through"
    case connections
    case partSize = "part-size"
    case uid
    case gid
    case umask
    case fileMode = "file-mode"
    case directoryMode = "dir-mode"
    case allowOther = "allow-other"
    case allowRoot = "allow-root"
    case storageClass = "storage-class"
    case serverSideEncryption = "sse"
    case kmsKeyID = "sse-kms-key-id"
    case customerKeyFile = "sse-c-key-file"
    case acl
    case requesterPays = "requester-pays"
    case offline
    case noSiblingPrefetch = "no-sibling-prefetch"
    case metrics
    case logLevel = "log-level"
    case logFile = "log-file"
    case supervised
    case foreground
    case nonempty

    /// Whether it stands alone; all others take a value.
    public var isFlag: Bool {
        switch self {
        case .noSignRequest, .readOnly, .writeThrough, .allowOther, .allowRoot, .requesterPays, .offline, .foreground,
            .nonempty, .noSiblingPrefetch, .supervised:
            true
        case .endpoint, .region, .profile, .addressing, .caBundle, .cacheDirectory, .cacheSize, .cacheFree,
            .stateDirectory, .stagingSize, .memory, .ttl, .attributes, .connections, .partSize, .uid, .gid, .umask,
            .fileMode, .directoryMode, .storageClass, .serverSideEncryption, .kmsKeyID, .customerKeyFile, .acl,
            .metrics, .logLevel, .logFile:
            false
        }
    }

    /// Accepts FUSE's habit of underscores too: `allow_other`.
    init?(listed name: some StringProtocol) {
        self.init(rawValue: String(name.map { $0 == "_" ? "-" : $0 }))
    }
}
