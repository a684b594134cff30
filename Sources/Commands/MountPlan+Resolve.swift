// From what the user said and what the machine is to a plan.

public import Credentials
internal import Logging
internal import S3Protocol

extension MountPlan {
    /// The most memory taken when the user says nothing.
    static let memoryBytesDefaultMax = 1 << 30
    /// The least that works, however small the machine.
    static let memoryBytesMin = 32 << 20
    /// What the disk cache takes, and leaves free, when the user says nothing.
    static let cacheBytesDefault = 10 << 30
    static let cacheFreePercentDefault = 10

    /// Settles everything. Touches neither network nor file system.
    /// - Parameters:
    ///   - settings: the profile's; nil when they were not read.
    ///   - source: as the user wrote it, `s3://BUCKET[/PREFIX]`.
    ///   - mountpoint: absolute and without symbolic links.
    public static func resolve(
        _ options: MountOptions, source: String, mountpoint: String, environment: LaunchEnvironment,
        settings: ServiceSettings? = nil
    ) throws(UsageError) -> MountPlan {
        precondition(mountpoint.hasPrefix("/"))
        var options = try options.completed(from: environment)
        if let settings { try options.complete(from: settings) }
        try options.checkConsistency()
        let stateDirectory: String
        if let given = options.stateDirectory {
            stateDirectory = environment.absolute(given)
        } else {
            stateDirectory = try environment.completedStateDirectory()
        }
        let cacheBytesMax = options.cacheBytesMax ?? cacheBytesDefault
        let cacheDirectory: String
        if let given = options.cacheDirectory {
            cacheDirectory = environment.absolute(given)
        } else {
            // Without a disk cache nobody needs a directory for it.
            cacheDirectory = cacheBytesMax == 0 ? "" : try environment.completedCacheDirectory()
        }
        let quarter = min(memoryBytesDefaultMax, max(memoryBytesMin, environment.memoryBytes / 4))
        return MountPlan(
            location: try BucketLocation.parse(source),
            mountpoint: mountpoint,
            endpoint: options.endpoint,
            region: options.region,
            addressing: options.addressing ?? .auto,
            profile: options.profile,
            isAnonymous: options.isAnonymous,
            caBundlePath: options.caBundlePath.map(environment.absolute),
            cacheDirectory: cacheDirectory,
            cacheBytesMax: cacheBytesMax,
            cacheFreePercent: options.cacheFreePercent ?? cacheFreePercentDefault,
            stateDirectory: stateDirectory,
            stagingBytesMax: options.stagingBytesMax,
            memoryBytes: options.memoryBytes ?? quarter,
            ttlMilliseconds: options.ttlMilliseconds ?? 60_000,
            attributes: options.attributes ?? .adaptive,
            isWriteThrough: options.isWriteThrough,
            connectionsMax: options.connectionsMax,
            partBytes: options.partBytes,
            ownerUID: options.ownerUID ?? environment.uid,
            ownerGID: options.ownerGID ?? environment.gid,
            // A umask works as it does for open(2) and mkdir(2): 022 gives the defaults.
            fileMode: options.fileMode ?? (0o666 & ~(options.umask ?? 0o022)),
            directoryMode: options.directoryMode ?? (0o777 & ~(options.umask ?? 0o022)),
            // Nothing could be sent: what a program wrote would be accepted without an end in sight.
            isReadOnly: options.isReadOnly || options.isOffline,
            isOffline: options.isOffline,
            prefetchesSiblings: options.prefetchesSiblings,
            isOtherAllowed: options.isOtherAllowed,
            isRootAllowed: options.isRootAllowed,
            isNonemptyAllowed: options.isNonemptyAllowed,
            kernel: options.kernel,
            storageClass: options.storageClass,
            serverSideEncryption: options.serverSideEncryption,
            kmsKeyID: options.kmsKeyID,
            customerKeyPath: options.customerKeyPath.map(environment.absolute),
            acl: options.acl,
            isRequesterPays: options.isRequesterPays,
            isSupervised: options.isSupervised,
            isForeground: options.isForeground,
            metrics: options.metrics,
            logLevel: options.logLevel ?? .info,
            logFilePath: options.logFilePath.map(environment.absolute))
    }
}

extension MountOptions {
    /// Fills what was not said from the environment.
    func completed(from environment: LaunchEnvironment) throws(UsageError) -> MountOptions {
        var result = self
        func fill(_ option: MountOptionName, _ found: (name: String, value: String)?) throws(UsageError) {
            guard let found else { return }
            try result.set(option, found.value, origin: "$\(found.name)")
        }
        if endpoint == nil { try fill(.endpoint, environment.first("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")) }
        if region == nil { try fill(.region, environment.first("AWS_REGION", "AWS_DEFAULT_REGION")) }
        // Not AWS_PROFILE: keys in the environment go before it, and after a profile named by an option.
        if caBundlePath == nil { try fill(.caBundle, environment.first("AWS_CA_BUNDLE")) }
        return result
    }

    /// Options that contradict each other.
    func checkConsistency() throws(UsageError) {
        if isOtherAllowed, isRootAllowed {
            throw UsageError("--allow-other and --allow-root exclude each other: --allow-other lets root in too")
        }
        if isSupervised, isForeground {
            throw UsageError(
                "--supervised and --foreground exclude each other: leave --foreground out, or let systemd restart the service"
            )
        }
        if customerKeyPath != nil, serverSideEncryption != nil {
            throw UsageError(
                "--sse and --sse-c-key-file exclude each other: the server encrypts by its key or by yours")
        }
        // As S3 has it (https://docs.aws.amazon.com/AmazonS3/latest/userguide/ServerSideEncryptionCustomerKeys.html).
        if customerKeyPath != nil, let endpoint = endpoint?.endpoint, endpoint.scheme == .http, !endpoint.isLoopback {
            throw UsageError("--sse-c-key-file needs an https:// endpoint: the key goes along with each request")
        }
        if kmsKeyID != nil, serverSideEncryption?.hasPrefix("aws:kms") != true {
            throw UsageError("--sse-kms-key-id needs --sse aws:kms or --sse aws:kms:dsse")
        }
    }
}

extension LaunchEnvironment {
    /// Where blocks are kept when no option says it: `$PAIL_CACHE_DIR`, else `/var/cache/pail` for root, else
    /// `$XDG_CACHE_HOME/pail` or `~/.cache/pail` (XDG Base Directory Specification: a relative value is to be ignored).
    public func completedCacheDirectory() throws(UsageError) -> String {
        if let (_, path) = first("PAIL_CACHE_DIR") { return absolute(path) }
        if uid == 0 { return "/var/cache/pail" }
        if let (_, base) = first("XDG_CACHE_HOME"), base.hasPrefix("/") { return "\(base)/pail" }
        guard let home, home.hasPrefix("/") else {
            throw UsageError(
                "there is no home directory to keep a cache in; name a directory with --cache-dir, or use --cache-size 0"
            )
        }
        return "\(home)/.cache/pail"
    }

    /// Where state lives when no option says it: `$PAIL_STATE_DIR`, else `stateDirectory()`.
    public func completedStateDirectory() throws(UsageError) -> String {
        if let (_, path) = first("PAIL_STATE_DIR") { return absolute(path) }
        return try stateDirectory()
    }

    /// `/var/lib/pail` for root, else `$XDG_STATE_HOME/pail` or `~/.local/state/pail`
    /// (XDG Base Directory Specification: a relative value is to be ignored).
    public func stateDirectory() throws(UsageError) -> String {
        if uid == 0 { return "/var/lib/pail" }
        if let (_, base) = first("XDG_STATE_HOME"), base.hasPrefix("/") { return "\(base)/pail" }
        guard let home, home.hasPrefix("/") else {
            throw UsageError("there is no home directory to keep state in; name a directory with --state-dir")
        }
        return "\(home)/.local/state/pail"
    }
}
