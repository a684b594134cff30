// The checks before a mount: one typed problem, with its remedy, for everything that stands in the way.

import Base
import Glibc
import Testing

@testable import Mounts

@Suite(.timeLimit(.minutes(3)))
struct MountPointTests {
    let scratch: TemporaryDirectory
    let base: ByteString
    /// An environment in which nothing is wrong, whatever this machine has.
    var environment: FuseEnvironment

    init() throws {
        scratch = try TemporaryDirectory()
        base = try MountTable.current().resolve(scratch.path)
        try scratch.makeDirectory("bin")
        try scratch.write("bin/fusermount3", "#!/bin/sh\n")
        chmod("\(scratch.path)/bin/fusermount3", 0o755)
        try scratch.write("fuse.conf", "# user_allow_other\n\n")
        environment = FuseEnvironment(
            devicePath: "/dev/null", configurationPath: "\(scratch.path)/fuse.conf",
            programDirectories: ["\(scratch.path)/bin"], userID: 1_000)
    }

    private func point(_ change: (inout MountPoint) -> Void = { _ in }) -> MountPoint {
        var point = MountPoint(environment: environment)
        change(&point)
        return point
    }

    @Test func anEmptyDirectoryWillDo() async throws {
        try scratch.makeDirectory("empty")
        try scratch.link("link", to: "empty")
        #expect(try await point().prepare("\(scratch.path)/empty/") == base + "/empty")
        #expect(try await point().prepare("\(scratch.path)/link") == base + "/empty")
    }

    @Test func directoriesThatWillNotDoAreRefused() async throws {
        try scratch.makeDirectory("full/entry")
        try scratch.write("file", "")
        let path = scratch.path
        await #expect(throws: MountPointProblem.missing(base + "/none")) { try await point().prepare("\(path)/none") }
        await #expect(throws: MountPointProblem.notDirectory(base + "/file")) {
            try await point().prepare("\(path)/file")
        }
        await #expect(throws: MountPointProblem.notDirectory(base + "/file/x")) {
            try await point().prepare("\(path)/file/x")
        }
        await #expect(throws: MountPointProblem.notEmpty(base + "/full", entry: "entry")) {
            try await point().prepare("\(path)/full")
        }
        #expect(try await point { $0.allowsEntries = true }.prepare("\(path)/full") == base + "/full")
    }

    @Test func missingPartsOfFuseAreNamed() async throws {
        try scratch.makeDirectory("empty")
        let path = "\(scratch.path)/empty"
        await #expect(throws: MountPointProblem.fuseDeviceMissing("/none/fuse")) {
            try await point { $0.environment.devicePath = "/none/fuse" }.prepare(path)
        }
        await #expect(throws: MountPointProblem.fuseDeviceUnusable("/proc", errno: EISDIR)) {
            try await point { $0.environment.devicePath = "/proc" }.prepare(path)
        }
        await #expect(throws: MountPointProblem.fusermountMissing) {
            try await point { $0.environment.programDirectories = ["/none"] }.prepare(path)
        }
        // Root mounts without it.
        let root = point {
            $0.environment.programDirectories = ["/none"]
            $0.environment.userID = 0
        }
        #expect(try await root.prepare(path) == base + "/empty")
    }

    @Test(arguments: [
        ("", false), ("#user_allow_other\n", false), ("user_allow_other", true),
        ("mount_max = 9\n user_allow_other \n", true),
        ("user_allow_other yes\n", false), ("user_allow_others\n", false),
    ])
    func othersAreAllowedByConfigurationOnly(text: String, allowed: Bool) async throws {
        try scratch.makeDirectory("empty")
        try scratch.write("fuse.conf", text)
        #expect(environment.allowsOthersForUsers == allowed)
        let point = point { $0.allowsOthers = true }
        if allowed {
            #expect(try await point.prepare("\(scratch.path)/empty") == base + "/empty")
        } else {
            await #expect(throws: MountPointProblem.othersNotAllowed("\(scratch.path)/fuse.conf")) {
                try await point.prepare("\(scratch.path)/empty")
            }
        }
        var root = point
        root.environment.userID = 0
        #expect(try await root.prepare("\(scratch.path)/empty") == base + "/empty")
    }

    @Test func everyProblemIsOneLineWithItsPath() {
        let mount = MountTable(parsing: Array("2 1 0:2 / /m rw - fuse.pail s3://b rw\n".utf8)).entries[0]
        let problems: [MountPointProblem] = [
            .missing("/m"), .notDirectory("/m"), .notEmpty("/m", entry: "x"), .alreadyMounted(mount),
            .unresponsive(mount), .staleMountStays(mount, .failed(errno: EIO)), .notWritable("/m"),
            .inaccessible("/m", errno: EACCES), .fuseDeviceMissing("/m"), .fuseDeviceUnusable("/m", errno: EPERM),
            .othersNotAllowed("/m"),
        ]
        for problem in problems {
            #expect(problem.description.contains("/m"))
            #expect(!problem.description.contains("\n"))
        }
    }
}
