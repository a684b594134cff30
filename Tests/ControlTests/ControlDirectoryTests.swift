// The runtime directory: who may use it, where it is, what becomes of stale sockets.

import Base
import Glibc
import Testing

@testable import Control

@Suite(.timeLimit(.minutes(3)), .onItsOwnThread)
struct ControlDirectoryTests {
    let runtime: RuntimeDirectory

    init() throws {
        runtime = try RuntimeDirectory()
    }

    @Test func directoryAndSocketBelongToTheUserAlone() throws {
        let server = try ControlServer(
            directory: ControlDirectory(path: "\(runtime.path)/a/b/run"), mountpoint: "/m", delegate: RecordingMount())
        defer { server.stop() }
        #expect(modeOf("\(runtime.path)/a/b/run") == 0o700)
        #expect(modeOf(server.socketPath) == 0o600)
    }

    @Test func aDirectoryOpenToOthersIsClosed() throws {
        mkdir(runtime.directory.path, 0o755)
        chmod(runtime.directory.path, 0o755)
        try runtime.directory.create()
        #expect(modeOf(runtime.directory.path) == 0o700)
    }

    @Test func whatIsNotADirectoryOfOursIsRefused() throws {
        symlink("/tmp", runtime.directory.path)
        let link = #expect(throws: ControlError.self) { try runtime.directory.create() }
        #expect(link?.code == .unusableDirectory)
        let usable = ControlDirectory(path: "\(runtime.path)/other")
        #expect(try ControlDirectory.firstUsable(of: [runtime.directory, usable]) == usable)
        if geteuid() == 0 {
            let foreign = ControlDirectory(path: "\(runtime.path)/foreign")
            mkdir(foreign.path, 0o700)
            chown(foreign.path, 65_534, 65_534)
            let error = #expect(throws: ControlError.self) { try foreign.create() }
            #expect(error?.code == .notPermitted)
            #expect(foreign.liveSocketPaths().isEmpty)
        }
    }

    @Test(
        arguments: [
            (0, nil, ["/run/pail", "/state/run"]),
            (0, "/run/user/0", ["/run/pail", "/state/run"]),
            (1_000, "/run/user/1000", ["/run/user/1000/pail", "/tmp/pail-1000", "/state/run"]),
            (1_000, "/custom", ["/custom/pail", "/run/user/1000/pail", "/tmp/pail-1000", "/state/run"]),
            (1_000, nil, ["/run/user/1000/pail", "/tmp/pail-1000", "/state/run"]),
            (1_000, "relative", ["/run/user/1000/pail", "/tmp/pail-1000", "/state/run"]),
            (1_000, "", ["/run/user/1000/pail", "/tmp/pail-1000", "/state/run"]),
        ] as [(UInt32, String?, [String])])
    func socketsAreLookedForWhereTheyCanBe(user: UInt32, runtime: String?, expected: [String]) {
        let found = ControlDirectory.candidates(stateDirectory: "/state", runtimeDirectory: runtime, userID: user)
        #expect(found.map(\.path) == expected)
    }

    /// FNV-1a test vectors of RFC 9923 (64 bits): they pin the names of sockets across versions.
    @Test(arguments: [("", "cbf29ce484222325"), ("a", "af63dc4c8601ec8c"), ("foobar", "85944171f73967e8")])
    func theNameOfASocketIsAHash(text: String, expected: String) {
        #expect(ControlDirectory.mountIdentifier(mountpoint: text) == expected)
    }

    @Test func mountsAreListedAndStaleSocketsRemoved() throws {
        let first = try ControlServer(directory: runtime.directory, mountpoint: "/a", delegate: RecordingMount())
        let second = try ControlServer(directory: runtime.directory, mountpoint: "/b", delegate: RecordingMount())
        defer { second.stop() }
        let stale = runtime.directory.socketPath(mountpoint: "/killed")
        close(try ControlSocket.listen(at: stale, backlog: 1))
        #expect(runtime.directory.liveSocketPaths() == [first.socketPath, second.socketPath].sorted())
        #expect(access(stale, F_OK) != 0)
        first.stop()
        #expect(runtime.directory.liveSocketPaths() == [second.socketPath])
        #expect(ControlDirectory(path: "/none").liveSocketPaths().isEmpty)
    }

    @Test func aStaleSocketIsReplacedAndALiveOneIsNot() throws {
        try runtime.directory.create()
        close(try ControlSocket.listen(at: runtime.directory.socketPath(mountpoint: "/m"), backlog: 1))
        let server = try ControlServer(directory: runtime.directory, mountpoint: "/m", delegate: RecordingMount())
        defer { server.stop() }
        try ControlClient(socketPath: server.socketPath).ping()
        let error = #expect(throws: ControlError.self) {
            try ControlServer(directory: runtime.directory, mountpoint: "/m", delegate: RecordingMount())
        }
        #expect(error?.code == .alreadyServed)
        try ControlClient(socketPath: server.socketPath).ping()
    }

    @Test func aServerDoesNotRemoveItsSuccessorsSocket() throws {
        let old = try ControlServer(directory: runtime.directory, mountpoint: "/m", delegate: RecordingMount())
        unlink(old.socketPath)
        let new = try ControlServer(directory: runtime.directory, mountpoint: "/m", delegate: RecordingMount())
        defer { new.stop() }
        old.stop()
        try ControlClient(socketPath: new.socketPath).ping()
    }

    /// A login's runtime directory goes with the login, while the mount stays.
    @Test func aSocketThatIsRemovedIsMadeAgain() throws {
        let record = MountRecord(pid: 7, stagingDirectory: "/state/staging/7-a")
        let other = ControlDirectory(path: "\(runtime.path)/other")
        let server = try ControlServer(
            directories: [runtime.directory, other], mountpoint: "/m", delegate: RecordingMount(), record: record,
            checkMilliseconds: 10)
        defer { server.stop() }
        func found() -> MountRecord? {
            MountRecord.read(mountpoint: "/m", directories: [runtime.directory, other], ownerID: geteuid())
        }
        func connects(_ directory: ControlDirectory) -> Bool {
            for _ in 0..<1_000 {
                if let client = try? ControlClient.connect(mountpoint: "/m", directories: [directory]),
                    (try? client.ping()) != nil
                {
                    return true
                }
                poll(nil, 0, 10)
            }
            return false
        }
        #expect(found() == record)
        for name in [server.socketPath, runtime.directory.recordPath(mountpoint: "/m")] { unlink(name) }
        #expect(rmdir(runtime.directory.path) == 0)
        #expect(connects(runtime.directory) && modeOf(runtime.directory.path) == 0o700)
        // A place that cannot be had any more: a file is in its way.
        for name in [server.socketPath, runtime.directory.recordPath(mountpoint: "/m")] { unlink(name) }
        rmdir(runtime.directory.path)
        close(open(runtime.directory.path, O_CREAT | O_WRONLY, 0o600))
        #expect(connects(other) && other.liveSocketPaths() == [server.socketPath])
        for _ in 0..<1_000 where found() == nil { poll(nil, 0, 10) }
        #expect(found() == record)
    }

    @Test func aRecordTellsWhatIsLeftOrGoes() throws {
        let directories = [runtime.directory]
        let record = MountRecord(pid: 7, stagingDirectory: "/state/staging/7-a")
        func serve() throws -> ControlServer {
            try ControlServer(
                directories: directories, mountpoint: "/m", delegate: RecordingMount(), record: record)
        }
        func found(ownerID: UInt32 = geteuid()) -> MountRecord? {
            MountRecord.read(mountpoint: "/m", directories: directories, ownerID: ownerID)
        }
        try serve().stop()
        #expect(found() == nil)
        let left = DrainResult(filesLeft: 1, bytesLeft: 2, failures: [.init(path: "a", error: "AccessDenied")])
        try serve().stop(left: left)
        #expect(found()?.left == left && found(ownerID: geteuid() + 1) == nil)
        var other = record
        other.pid = 8
        other.remove(mountpoint: "/m", directories: directories, ownerID: geteuid())
        #expect(found()?.left == left)
        record.remove(mountpoint: "/m", directories: directories, ownerID: geteuid())
        #expect(found() == nil)
        unlink(runtime.directory.recordPath(mountpoint: "/m"))
        symlink("/dev/zero", runtime.directory.recordPath(mountpoint: "/m"))
        #expect(found() == nil)
    }

    @Test func pathsLongerThanAnAddressWork() throws {
        let directory = ControlDirectory(path: "\(runtime.path)/" + String(repeating: "long/", count: 40) + "run")
        let server = try ControlServer(directory: directory, mountpoint: "/m", delegate: RecordingMount())
        defer { server.stop() }
        #expect(server.socketPath.utf8.count > 200)
        try ControlClient(socketPath: server.socketPath).ping()
        #expect(directory.liveSocketPaths() == [server.socketPath])
    }

    @Test(.enabled(if: geteuid() == 0, "needs root"))
    func aSocketServedBySomebodyElseIsNotTrusted() throws {
        let server = try ControlServer(directory: runtime.directory, mountpoint: "/m", delegate: RecordingMount())
        defer { server.stop() }
        // As root sees a socket of user 65534 behind which root itself listens.
        chown(server.socketPath, 65_534, 65_534)
        let error = #expect(throws: ControlError.self) { try ControlClient(socketPath: server.socketPath) }
        #expect(error?.code == .notPermitted)
    }
}
