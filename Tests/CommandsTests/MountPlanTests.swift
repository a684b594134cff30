// From options and environment to a plan.

import Logging
import Testing

@testable import Commands

@Suite(.timeLimit(.minutes(3)))
struct MountPlanTests {
    static let user = LaunchEnvironment(
        uid: 1000, gid: 100, home: "/home/u", workingDirectory: "/work", memoryBytes: 2 << 30)

    static func plan(
        _ list: String = "", source: String = "s3://b/p", environment: LaunchEnvironment = user
    ) throws -> MountPlan {
        var options = MountOptions()
        try options.set(list: list)
        return try MountPlan.resolve(options, source: source, mountpoint: "/mnt/b", environment: environment)
    }

    @Test func defaults() throws {
        let plan = try Self.plan()
        #expect(plan.location == BucketLocation(bucket: "b", prefix: "p/"))
        #expect(plan.endpoint == nil && plan.region == nil && plan.profile == nil && plan.caBundlePath == nil)
        #expect(plan.addressing == .auto && plan.attributes == .adaptive && plan.logLevel == .info)
        #expect(plan.stateDirectory == "/home/u/.local/state/pail")
        #expect(plan.cacheDirectory == "/home/u/.cache/pail")
        #expect(plan.cacheBytesMax == 10 << 30 && plan.cacheFreePercent == 10)
        #expect(plan.memoryBytes == 512 << 20)
        #expect(plan.ttlMilliseconds == 60_000)
        #expect(plan.ownerUID == 1000 && plan.ownerGID == 100)
        #expect(plan.fileMode == 0o644 && plan.directoryMode == 0o755)
        #expect(plan.kernelOptionNames == ["rw", "nosuid", "nodev", "exec"])
        #expect(plan.defaultLogPath == "/home/u/.local/state/pail/log/mnt-b.log")
        #expect(!plan.isAnonymous && !plan.isForeground && !plan.isReadOnly && !plan.isWriteThrough)
    }

    @Test(arguments: [(1 << 50, 1 << 30), (400 << 20, 100 << 20), (64 << 20, 32 << 20)])
    func memoryIsAQuarterWithinBounds(machine: Int, bytes: Int) throws {
        var environment = Self.user
        environment.memoryBytes = machine
        #expect(try Self.plan(environment: environment).memoryBytes == bytes)
    }

    @Test(arguments: [
        (["AWS_ENDPOINT_URL": "http://a"], "", "http://a"),
        (["AWS_ENDPOINT_URL": "http://a", "AWS_ENDPOINT_URL_S3": "http://b"], "", "http://b"),
        (["AWS_ENDPOINT_URL": "http://a", "AWS_ENDPOINT_URL_S3": ""], "", "http://a"),
        (["AWS_ENDPOINT_URL": "http://a"], "endpoint=http://c", "http://c"),
        // What an option overrides is not even looked at.
        (["AWS_ENDPOINT_URL": "nonsense"], "endpoint=http://c", "http://c"),
    ])
    func endpointComesFromTheEnvironment(variables: [String: String], list: String, url: String) throws {
        var environment = Self.user
        environment.variables = variables
        #expect(try Self.plan(list, environment: environment).endpoint?.url == url)
    }

    @Test func theOtherVariables() throws {
        var environment = Self.user
        environment.variables = [
            "AWS_REGION": "r1", "AWS_DEFAULT_REGION": "r2", "AWS_CA_BUNDLE": "ca.pem",
            "PAIL_STATE_DIR": "state",
        ]
        let plan = try Self.plan(environment: environment)
        #expect(plan.region == "r1")
        #expect(plan.caBundlePath == "/work/ca.pem" && plan.stateDirectory == "/work/state")
        environment.variables = ["AWS_DEFAULT_REGION": "r2"]
        #expect(try Self.plan(environment: environment).region == "r2")
        environment.variables = ["AWS_REGION": "not a region"]
        let error = #expect(throws: UsageError.self) { try Self.plan(environment: environment) }
        #expect(error?.message.contains("$AWS_REGION") == true)
    }

    @Test func whereStateLives() throws {
        var environment = Self.user
        environment.variables = ["XDG_STATE_HOME": "/x"]
        #expect(try environment.stateDirectory() == "/x/pail")
        environment.variables = ["XDG_CACHE_HOME": "/y"]
        #expect(try environment.completedCacheDirectory() == "/y/pail")
        environment.variables["PAIL_CACHE_DIR"] = "cache"
        #expect(try environment.completedCacheDirectory() == "/work/cache")
        environment.variables = ["XDG_STATE_HOME": "relative"]
        #expect(try environment.stateDirectory() == "/home/u/.local/state/pail")
        environment.home = nil
        #expect(throws: UsageError.self) { try environment.stateDirectory() }
        environment.uid = 0
        #expect(try environment.stateDirectory() == "/var/lib/pail")
    }

    @Test(
        arguments: [
            ("umask=022", 0o644, 0o755), ("umask=002", 0o664, 0o775), ("umask=077", 0o600, 0o700),
            ("umask=077,file-mode=0640", 0o640, 0o700), ("dir-mode=0711", 0o644, 0o711),
        ] as [(String, UInt16, UInt16)])
    func modes(list: String, file: UInt16, directory: UInt16) throws {
        let plan = try Self.plan(list)
        #expect(plan.fileMode == file && plan.directoryMode == directory)
    }

    @Test(arguments: ["allow-other,allow-root", "sse-kms-key-id=k", "sse=AES256,sse-kms-key-id=k"])
    func contradictionsAreRefused(list: String) {
        #expect(throws: UsageError.self) { try Self.plan(list) }
    }

    @Test(arguments: [
        ("/", "-"), ("/mnt/b", "mnt-b"), ("/mnt/a-b", "mnt-a\\x2db"), ("/a b/.c", "a\\x20b-\\x2ec"),
        ("/ü", "\\xc3\\xbc"),
    ])
    func mountNamesAreFileNames(path: String, name: String) {
        #expect(MountPlan.mountName(of: path) == name)
        #expect(MountPlan.mountName(of: "/" + String(repeating: "ü", count: 500)).utf8.count <= 200)
    }

    @Test func memoryOfControlGroups() {
        let files = MachineMemory.controlGroupFiles(selfGroups: "4:cpu,memory:/x\n0::/user.slice/u\n")
        #expect(
            files == [
                "/sys/fs/cgroup/memory/x/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.limit_in_bytes",
                "/sys/fs/cgroup/user.slice/u/memory.max", "/sys/fs/cgroup/user.slice/memory.max",
                "/sys/fs/cgroup/memory.max",
            ])
        #expect(MachineMemory.limit("max\n") == nil)
        #expect(MachineMemory.limit("536870912\n") == 536_870_912)
        #expect(MachineMemory.bytes() > 1 << 20)
    }
}
