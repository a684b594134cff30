// Options, singly and in lists.

import Logging
import Testing

@testable import Commands

@Suite(.timeLimit(.minutes(3)))
struct MountOptionsTests {
    /// One good value for each option, and a look at where it went.
    static let good: [(MountOptionName, String?, @Sendable (MountOptions) -> Bool)] = [
        (.endpoint, "http://h:1", { $0.endpoint?.url == "http://h:1" }),
        (.region, "eu-west-1", { $0.region == "eu-west-1" }),
        (.profile, "my profile", { $0.profile == "my profile" }),
        (.noSignRequest, nil, { $0.isAnonymous }),
        (.addressing, "virtual", { $0.addressing == .virtual }),
        (.caBundle, "ca.pem", { $0.caBundlePath == "ca.pem" }),
        (.readOnly, nil, { $0.isReadOnly }),
        (.cacheDirectory, "/c", { $0.cacheDirectory == "/c" }),
        (.cacheSize, "0", { $0.cacheBytesMax == 0 }),
        (.cacheSize, "20G", { $0.cacheBytesMax == 20 << 30 }),
        (.cacheFree, "5", { $0.cacheFreePercent == 5 }),
        (.stateDirectory, "/s", { $0.stateDirectory == "/s" }),
        (.stagingSize, "10G", { $0.stagingBytesMax == 10 << 30 }),
        (.memory, "512M", { $0.memoryBytes == 512 << 20 }),
        (.ttl, "0.5", { $0.ttlMilliseconds == 500 }),
        (.ttl, "0", { $0.ttlMilliseconds == 0 }),
        (.attributes, "listing", { $0.attributes == .listing }),
        (.writeThrough, nil, { $0.isWriteThrough }),
        (.connections, "16", { $0.connectionsMax == 16 }),
        (.partSize, "8M", { $0.partBytes == 8 << 20 }),
        (.uid, "1000", { $0.ownerUID == 1000 }),
        (.uid, "root", { $0.ownerUID == 0 }),
        (.gid, "root", { $0.ownerGID == 0 }),
        (.umask, "077", { $0.umask == 0o077 }),
        (.fileMode, "0640", { $0.fileMode == 0o640 }),
        (.directoryMode, "0o750", { $0.directoryMode == 0o750 }),
        (.allowOther, nil, { $0.isOtherAllowed }),
        (.allowRoot, nil, { $0.isRootAllowed }),
        (.storageClass, "standard_ia", { $0.storageClass == "STANDARD_IA" }),
        (.serverSideEncryption, "aes256", { $0.serverSideEncryption == "AES256" }),
        (.kmsKeyID, "arn:aws:kms:x", { $0.kmsKeyID == "arn:aws:kms:x" }),
        (.customerKeyFile, "k", { $0.customerKeyPath == "k" }),
        (.acl, "bucket-owner-full-control", { $0.acl == "bucket-owner-full-control" }),
        (.requesterPays, nil, { $0.isRequesterPays }),
        (.logLevel, "DEBUG", { $0.logLevel == .debug }),
        (.logFile, "x.log", { $0.logFilePath == "x.log" }),
        (.foreground, nil, { $0.isForeground }),
        (.supervised, nil, { $0.isSupervised }),
        (.nonempty, nil, { $0.isNonemptyAllowed }),
        (.offline, nil, { $0.isOffline }),
        (.metrics, "9464", { $0.metrics?.description == "127.0.0.1:9464" }),
        (.noSiblingPrefetch, nil, { !$0.prefetchesSiblings }),
    ]

    @Test func everyOptionIsTakenAsFlagAndInAList() throws {
        for (name, value, isSet) in Self.good {
            var direct = MountOptions()
            try direct.set(name, value)
            #expect(isSet(direct), "--\(name.rawValue)")
            var listed = MountOptions()
            try listed.set(list: name.rawValue + (value.map { "=\($0)" } ?? ""))
            #expect(listed == direct, "-o \(name.rawValue)")
        }
        #expect(Set(Self.good.map(\.0)) == Set(MountOptionName.allCases))
    }

    @Test(arguments: [
        (MountOptionName.memory, "lots"), (.memory, "-1"), (.memory, "1.5G"), (.memory, "512X"), (.memory, ""),
        (.memory, "99999999999T"), (.memory, "1M"), (.memory, "٣G"), (.cacheSize, "1M"), (.cacheSize, "none"),
        (.cacheFree, "100"), (.cacheFree, "-1"), (.cacheFree, "10%"), (.cacheDirectory, ""),
        (.stagingSize, "12 G"), (.partSize, "4M"), (.partSize, "6G"), (.partSize, "K"), (.ttl, "-1"), (.ttl, "1e3"),
        (.ttl, "60s"), (.ttl, "inf"), (.ttl, ""), (.connections, "0"), (.connections, "+5"), (.connections, "many"),
        (.uid, "no such user"), (.uid, "4294967295"), (.uid, "-1"), (.uid, ""), (.gid, "no such group"), (.umask, "8"),
        (.umask, "1777"), (.fileMode, "rw-"), (.fileMode, ""), (.addressing, "dns"), (.attributes, "all"),
        (.logLevel, "loud"), (.serverSideEncryption, "rot13"), (.region, "eu west"), (.region, ""), (.acl, "a\nb"),
        (.endpoint, "localhost"), (.stateDirectory, ""), (.profile, ""), (.customerKeyFile, ""),
    ])
    func malformedValuesAreRefusedByName(name: MountOptionName, value: String) {
        var options = MountOptions()
        let error = #expect(throws: UsageError.self) { try options.set(name, value) }
        #expect(error?.message.contains("--\(name.rawValue)") == true, "\(error?.message ?? "")")
        #expect(options == MountOptions())
    }

    @Test(arguments: [
        ("a,b", ["a", "b"]), ("a\\,b,c", ["a,b", "c"]), ("a\\\\,b", ["a\\", "b"]), (",a,,", ["a"]), ("", []),
        ("k=v=w", ["k=v=w"]),
    ])
    func listsSplitAtUnescapedCommas(text: String, items: [String]) throws {
        #expect(try MountOptionList.split(text) == items)
    }

    @Test(arguments: [
        "a\\", "frobnicate", "ro=1", "ttl", "allow_other=1", "remount", "noatime=1", "bind", "ttl=60,frob",
    ])
    func badListsAreRefused(text: String) {
        var options = MountOptions()
        #expect(throws: UsageError.self) { try options.set(list: text) }
    }

    @Test func aListFromFstab() throws {
        var options = MountOptions()
        try options.set(
            list: "defaults,_netdev,nofail,x-systemd.automount,X-mount.mkdir=0755,comment=hi,noauto,allow_other,"
                + "ro,noatime,nodiratime,sync,profile=a\\,b,uid=1000,log_level=debug")
        #expect(options.isReadOnly)
        #expect(options.isOtherAllowed)
        #expect(options.profile == "a,b")
        #expect(options.ownerUID == 1000)
        #expect(options.logLevel == .debug)
        #expect(options.kernel.names == ["nosuid", "nodev", "exec", "noatime", "nodiratime", "sync"])
    }

    @Test(arguments: [
        ("defaults", ["nosuid", "nodev", "exec"]), ("user", ["nosuid", "nodev", "noexec"]),
        ("user,exec", ["nosuid", "nodev", "exec"]), ("suid,owner", ["nosuid", "nodev", "exec"]),
        ("suid,dev", ["suid", "dev", "exec"]), ("noatime,relatime", ["nosuid", "nodev", "exec", "relatime"]),
        ("sync,async", ["nosuid", "nodev", "exec"]),
    ])
    func laterKernelOptionsWin(text: String, names: [String]) throws {
        var options = MountOptions()
        try options.set(list: text)
        #expect(options.kernel.names == names)
    }

    @Test(arguments: [("ro,rw", false), ("rw,ro", true), ("read-only,rw", false), ("ro", true)])
    func theLastOfReadOnlyAndReadWriteWins(text: String, isReadOnly: Bool) throws {
        var options = MountOptions()
        try options.set(list: text)
        #expect(options.isReadOnly == isReadOnly)
    }
}
