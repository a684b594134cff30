// The options of `pail mount`. Their values are read by `MountOptions`, the same way as in `-o`.

internal import ArgumentParser
internal import Commands

/// Where the objects are.
struct ServerArguments: ParsableArguments {
    @Option(
        help: ArgumentHelp("The server. [$AWS_ENDPOINT_URL_S3, $AWS_ENDPOINT_URL; AWS of the region]", valueName: "url")
    )
    var endpoint: String?
    @Option(
        help: ArgumentHelp(
            "The bucket's region. [$AWS_REGION, $AWS_DEFAULT_REGION, profile; asked of the bucket]", valueName: "name"))
    var region: String?
    @Option(help: ArgumentHelp("The profile of ~/.aws to use. [$AWS_PROFILE; default]", valueName: "name"))
    var profile: String?
    @Flag(name: .customLong("no-sign-request"), help: "Send requests unsigned: for public buckets.")
    var noSignRequest = false
    @Option(help: ArgumentHelp("auto, path or virtual. [auto: virtual on AWS, path elsewhere]", valueName: "style"))
    var addressing: String?
    @Option(
        help: ArgumentHelp("Trust these authorities (PEM) instead of the system's. [$AWS_CA_BUNDLE]", valueName: "file")
    )
    var caBundle: String?
    @Option(help: ArgumentHelp("Requests at once. [tuned]", valueName: "n"))
    var connections: String?

    /// The options given, by name; nil values are flags.
    var given: [(MountOptionName, String?)] {
        values([
            (.endpoint, endpoint), (.region, region), (.profile, profile), (.addressing, addressing),
            (.caBundle, caBundle), (.connections, connections),
        ]) + flags([(.noSignRequest, noSignRequest)])
    }
}

/// What programs see.
struct FileArguments: ParsableArguments {
    @Flag(help: "Refuse all changes; the same as -o ro.")
    var readOnly = false
    @Flag(help: "Send no request at all: what is cached is shown, read-only.")
    var offline = false
    @Flag(help: "Do not fetch the small files that come next when files of a directory are opened one after another.")
    var noSiblingPrefetch = false
    @Option(help: ArgumentHelp("How long names and attributes are believed. [60]", valueName: "seconds"))
    var ttl: String?
    @Option(
        help: ArgumentHelp(
            "When to ask for attributes beyond the listing's: adaptive, listing (never) or exact (always). [adaptive]",
            valueName: "mode"))
    var attributes: String?
    @Option(help: ArgumentHelp("Owner of objects that name none. [who mounts]", valueName: "user"))
    var uid: String?
    @Option(help: ArgumentHelp("Group of objects that name none. [who mounts]", valueName: "group"))
    var gid: String?
    @Option(help: ArgumentHelp("Permissions to take away, octal. [022]", valueName: "mask"))
    var umask: String?
    @Option(help: ArgumentHelp("Permissions of files that have none of their own, octal. [0644]", valueName: "mode"))
    var fileMode: String?
    @Option(
        help: ArgumentHelp("Permissions of directories that have none of their own, octal. [0755]", valueName: "mode"))
    var dirMode: String?
    @Flag(help: "Let other users in; the file permissions decide.")
    var allowOther = false
    @Flag(help: "Let root in.")
    var allowRoot = false
    @Flag(help: "Mount over a directory that has entries; they are hidden meanwhile.")
    var nonempty = false

    var given: [(MountOptionName, String?)] {
        values([
            (.ttl, ttl), (.attributes, attributes), (.uid, uid), (.gid, gid), (.umask, umask), (.fileMode, fileMode),
            (.directoryMode, dirMode),
        ])
            + flags([
                (.readOnly, readOnly), (.offline, offline), (.noSiblingPrefetch, noSiblingPrefetch),
                (.allowOther, allowOther), (.allowRoot, allowRoot), (.nonempty, nonempty),
            ])
    }
}

/// How data comes into the bucket.
struct WriteArguments: ParsableArguments {
    @Flag(help: "Let every close() wait until the data is in S3.")
    var writeThrough = false
    @Option(help: ArgumentHelp("Size of the parts of large uploads, such as 16M. [tuned]", valueName: "bytes"))
    var partSize: String?
    @Option(help: ArgumentHelp("Storage class of new objects. [the bucket's default]", valueName: "class"))
    var storageClass: String?
    @Option(help: ArgumentHelp("AES256, aws:kms or aws:kms:dsse. [the bucket's default]", valueName: "algorithm"))
    var sse: String?
    @Option(help: ArgumentHelp("Key for --sse aws:kms. [the account's]", valueName: "id"))
    var sseKmsKeyId: String?
    @Option(
        help: ArgumentHelp(
            "A key of 32 bytes, as Base64 or in hexadecimal: the server encrypts by it, and keeps it not (SSE-C).",
            valueName: "file"))
    var sseCKeyFile: String?
    @Option(help: ArgumentHelp("Canned ACL of new objects. [the bucket's default]", valueName: "name"))
    var acl: String?
    @Flag(help: "Pay for requests to a requester-pays bucket.")
    var requesterPays = false

    var given: [(MountOptionName, String?)] {
        values([
            (.partSize, partSize), (.storageClass, storageClass), (.serverSideEncryption, sse),
            (.kmsKeyID, sseKmsKeyId), (.customerKeyFile, sseCKeyFile), (.acl, acl),
        ]) + flags([(.writeThrough, writeThrough), (.requesterPays, requesterPays)])
    }
}

/// Disk, memory and log of the daemon.
struct ProcessArguments: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "Where data not yet in S3 is kept. [$PAIL_STATE_DIR; XDG state directory, root: /var/lib/pail]",
            valueName: "dir"))
    var stateDir: String?
    @Option(help: ArgumentHelp("The most data not yet in S3; writers wait beyond it. [tuned]", valueName: "bytes"))
    var stagingSize: String?
    @Option(
        help: ArgumentHelp(
            "Where what was read is kept. [$PAIL_CACHE_DIR; XDG cache directory, root: /var/cache/pail]",
            valueName: "dir"))
    var cacheDir: String?
    @Option(
        help: ArgumentHelp("The most that is kept there, of all mounts; 0 for no disk cache. [10G]", valueName: "bytes")
    )
    var cacheSize: String?
    @Option(help: ArgumentHelp("How much of its file system stays free. [10]", valueName: "percent"))
    var cacheFree: String?
    @Option(
        help: ArgumentHelp(
            "The most memory for data. [a quarter of the machine or cgroup, at most 1G]", valueName: "bytes"))
    var memory: String?
    @Option(help: ArgumentHelp("trace, debug, info, notice, warning, error or critical. [info]", valueName: "level"))
    var logLevel: String?
    @Option(
        help: ArgumentHelp(
            "Where to log. [journal or syslog, else a file in the state directory; stderr in the foreground]",
            valueName: "file"))
    var logFile: String?
    @Option(
        help: ArgumentHelp(
            "Serve figures for Prometheus at /metrics, and /healthz, there; PORT alone listens on 127.0.0.1. [off]",
            valueName: "address:port"))
    var metrics: String?
    @Flag(name: [.customShort("f"), .long], help: "Serve in this process, until unmounted or interrupted.")
    var foreground = false
    @Flag(help: "Another process goes on in the place of a daemon that dies, under the live mount. Linux 6.9.")
    var supervised = false
    @Option(
        name: .customShort("o"),
        help: ArgumentHelp(
            "Any option above by its long name, and the kernel's and fstab's own (ro, noexec, _netdev, ...); '\\,' is a comma in a value.",
            valueName: "opt[,opt...]"))
    var list: [String] = []

    var given: [(MountOptionName, String?)] {
        values([
            (.stateDirectory, stateDir), (.stagingSize, stagingSize), (.memory, memory), (.logLevel, logLevel),
            (.logFile, logFile), (.cacheDirectory, cacheDir), (.cacheSize, cacheSize), (.cacheFree, cacheFree),
            (.metrics, metrics),
        ]) + flags([(.foreground, foreground), (.supervised, supervised)])
    }
}

private func values(_ pairs: [(MountOptionName, String?)]) -> [(MountOptionName, String?)] {
    pairs.filter { $0.1 != nil }
}

private func flags(_ pairs: [(MountOptionName, Bool)]) -> [(MountOptionName, String?)] {
    pairs.filter(\.1).map { ($0.0, nil) }
}
