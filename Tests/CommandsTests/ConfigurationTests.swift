// Config files: what they say, what goes before what, and what is told of mistakes.

import Testing

@testable import Commands

@Suite(.timeLimit(.minutes(3)))
struct ConfigurationTests {
    static let system = """
        [defaults]
        endpoint = "https://s3.example.org"
        ttl = 30
        allow-other = true
        cache-dir = "/srv/cache"

        [mounts.data]
        source = "s3://system"
        """

    static let user = """
        [defaults]
        ttl = 5.5

        [mounts.data]
        source = "s3://bucket/prefix"
        mountpoint = "~/data"
        allow-other = false
        read_only = true
        file-mode = "0640"
        cache-size = "20G"
        connections = 8
        options = ["noexec", "noatime"]
        state-dir = "~/state"

        [mounts."odd name"]
        source = "other"
        """

    static func configuration(_ texts: [String]) throws -> Configuration {
        Configuration(
            files: try texts.enumerated().map { try ConfigFile($1, path: "/config\($0).toml") }, home: "/home/u")
    }

    static func plan(_ name: String?, variables: [String: String] = [:], lists: [String] = []) throws -> MountPlan {
        var environment = MountPlanTests.user
        environment.variables = variables
        var options = try configuration([system, user]).options(forMount: name, environment: environment)
        for list in lists { try options.set(list: list) }
        return try MountPlan.resolve(options, source: "s3://b", mountpoint: "/m", environment: environment)
    }

    @Test func theUsersMountGoesBeforeTheSystems() throws {
        let files = try Self.configuration([Self.system, Self.user])
        let mount = try files.mount(named: "data")
        #expect(mount.source == "s3://bucket/prefix" && mount.mountpoint == "/home/u/data")
        #expect(try files.mount(named: "odd name").mountpoint == nil)
        #expect(files.hasMount(named: "data") && !files.hasMount(named: "nope"))
    }

    @Test func everyKindOfValueIsRead() throws {
        let plan = try Self.plan("data")
        #expect(plan.endpoint?.description == "https://s3.example.org")
        #expect(plan.ttlMilliseconds == 5500)
        // False undoes a default.
        #expect(!plan.isOtherAllowed && plan.isReadOnly)
        #expect(plan.fileMode == 0o640 && plan.cacheBytesMax == 20 << 30 && plan.connectionsMax == 8)
        #expect(plan.kernelOptionNames.contains("noexec") && plan.kernelOptionNames.contains("noatime"))
        #expect(plan.stateDirectory == "/home/u/state" && plan.cacheDirectory == "/srv/cache")
    }

    @Test func withoutANameTheDefaultsHold() throws {
        let plan = try Self.plan(nil)
        #expect(plan.isOtherAllowed && !plan.isReadOnly && plan.ttlMilliseconds == 5500)
    }

    @Test func theEnvironmentGoesBeforeTheFile() throws {
        let variables = [
            "AWS_ENDPOINT_URL": "http://env", "PAIL_STATE_DIR": "/env/state", "PAIL_CACHE_DIR": "/env/cache",
        ]
        let plan = try Self.plan("data", variables: variables)
        #expect(plan.endpoint?.description == "http://env")
        #expect(plan.stateDirectory == "/env/state" && plan.cacheDirectory == "/env/cache")
    }

    @Test func optionsGoBeforeBoth() throws {
        let plan = try Self.plan(
            "data", variables: ["AWS_ENDPOINT_URL": "http://env"], lists: ["endpoint=http://flag,ttl=1,rw,exec"])
        #expect(plan.endpoint?.description == "http://flag" && plan.ttlMilliseconds == 1000)
        #expect(!plan.isReadOnly && plan.kernelOptionNames.contains("exec"))
    }

    @Test func keysOfTheEnvironmentGoBeforeAProfileOfTheFile() throws {
        let file = try ConfigFile("[defaults]\nprofile = \"work\"", path: "/c")
        let files = Configuration(files: [file], home: nil)
        var environment = MountPlanTests.user
        #expect(try files.options(forMount: nil, environment: environment).profile == "work")
        environment.variables = ["AWS_ACCESS_KEY_ID": "k"]
        #expect(try files.options(forMount: nil, environment: environment).profile == nil)
    }

    @Test(arguments: [
        ("[defaults]\ncache-sise = 1", ["/config0.toml, [defaults]: unknown key 'cache-sise'", "'cache-size'"]),
        ("[mounts.a]\nsource = \"b\"\nread-onyl = true", ["[mounts.a]: unknown key 'read-onyl'", "'read-only'"]),
        ("[mounts.a]\nsorce = \"b\"", ["'source' is missing"]),
        ("[mounts.a]\nsource = \"b\"\nmuontpoint = \"/x\"", ["'muontpoint'", "'mountpoint'"]),
        ("[default]\nttl = 1", ["unknown key 'default'", "'defaults'"]),
        ("ttl = 1", ["unknown key 'ttl'", "belongs below [defaults]"]),
        ("mounts = 1", ["'mounts' must be a table"]),
        ("[mounts]\na = 1", ["'mounts.a' must be a table"]),
        ("[defaults]\nforeground = true", ["unknown key 'foreground'"]),
        ("[defaults]\nread-only = \"yes\"", ["'read-only' must be true or false"]),
        ("[defaults]\nfile-mode = 644", ["'file-mode' must be in quotes"]),
        ("[defaults]\nttl = [1]", ["'ttl' must be a number or text"]),
        ("[defaults]\noptions = [1]", ["'options' must be a list of texts"]),
        ("[defaults]\nsecret_access_key = \"x\"", ["~/.aws/credentials", "profile"]),
        ("[defaults]\nttl = ", ["/config0.toml, line 2"]),
        ("[defaults]\nttl = 1\nttl = 2", ["/config0.toml, line 3"]),
    ])
    func mistakesAreNamed(text: String, words: [String]) {
        let error = #expect(throws: UsageError.self) { try Self.configuration([text]) }
        for word in words { #expect(error?.message.contains(word) == true, "\(error?.message ?? "")") }
    }

    @Test(arguments: [
        ("ttl = \"soon\"", "'ttl' of [defaults] in /config0.toml must be a number of seconds"),
        ("cache-dir = \"cache\"", "'cache-dir' of [defaults] in /config0.toml must begin with / or ~/"),
        ("options = [\"frob\"]", "unknown mount option 'frob'"),
    ])
    func wrongValuesNameTheirPlace(text: String, words: String) throws {
        let files = try Self.configuration(["[defaults]\n\(text)"])
        let error = #expect(throws: UsageError.self) {
            try files.options(forMount: nil, environment: MountPlanTests.user)
        }
        #expect(error?.message.contains(words) == true, "\(error?.message ?? "")")
    }

    @Test func aMountpointDependsOnNobodysPlace() throws {
        let files = try Self.configuration(["[mounts.a]\nsource = \"b\"\nmountpoint = \"data\""])
        let error = #expect(throws: UsageError.self) { try files.mount(named: "a") }
        #expect(error?.message.contains("'mountpoint' of [mounts.a] in /config0.toml must begin with") == true)
    }

    @Test func anUnknownNameNamesTheNearest() throws {
        let files = try Self.configuration([Self.user])
        let error = #expect(throws: UsageError.self) { try files.mount(named: "dta") }
        #expect(error?.message.contains("did you mean 'data'") == true)
    }

    @Test(arguments: [
        ("", "", 0), ("a", "", 1), ("ttl", "ttl", 0), ("tll", "ttl", 1), ("tlt", "ttl", 1), ("cahce", "cache", 1),
        ("abc", "xyz", 3), ("TTL", "ttl", 0), ("read-onl", "read-only", 1),
    ])
    func distancesAreThoseOfTypists(first: String, second: String, distance: Int) {
        #expect(NearestName.distance(first, second) == distance)
        #expect(NearestName.distance(second, first) == distance)
    }

    @Test func theFilesAreWhereXDGSays() {
        var environment = MountPlanTests.user
        #expect(Configuration.paths(environment) == ["/etc/pail/config.toml", "/home/u/.config/pail/config.toml"])
        environment.variables = ["XDG_CONFIG_HOME": "/x"]
        #expect(Configuration.paths(environment) == ["/etc/pail/config.toml", "/x/pail/config.toml"])
        environment.variables = ["XDG_CONFIG_HOME": "relative"]
        environment.home = nil
        #expect(Configuration.paths(environment) == ["/etc/pail/config.toml"])
    }
}
