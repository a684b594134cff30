// What passes between the command and the daemon, and the state directory.

import Glibc
import Testing

@testable import Commands

@Suite(.timeLimit(.minutes(3)))
struct StartTests {
    @Test func plansSurviveTheWay() throws {
        let plan = try MountPlanTests.plan(
            "endpoint=http://h:1,region=r,ro,noatime,noexec,memory=64M,profile=p,ca-bundle=c,umask=077,log-level=trace")
        let bytes = JSONText.encode(plan)
        #expect(!bytes.contains(UInt8(ascii: "\n")))
        #expect(JSONText.decode(MountPlan.self, from: bytes) == plan)
        #expect(JSONText.decode(MountPlan.self, from: bytes.dropLast()) == nil)
    }

    @Test func messagesAreReadInAnyPieces() {
        let messages: [ReadyMessage] = [
            .stage("asking\nhttp://h"), .notice("n"), .ready, .failed(MountFailure("w", code: "C", remedy: "r")),
            .failed(MountFailure("w")),
        ]
        var bytes: [UInt8] = []
        for message in messages { bytes += JSONText.encode(message) + [UInt8(ascii: "\n")] }
        bytes += Array("nonsense\n".utf8)
        for size in [1, 7, bytes.count] {
            var reader = ReadyMessageReader()
            var read: [ReadyMessage] = []
            for start in stride(from: 0, to: bytes.count, by: size) {
                read += reader.take(bytes[start..<min(bytes.count, start + size)])
            }
            #expect(read == messages)
        }
    }

    @Test func stateDirectoriesArePrivate() throws {
        let root = "/tmp/pail-state-\(getpid())"
        let path = "\(root)/a/b"
        defer {
            rmdir("\(root)/a/b")
            rmdir("\(root)/a")
            rmdir(root)
        }
        try StateDirectory.prepare(path)
        var status = stat()
        for part in [root, "\(root)/a", path] {
            #expect(stat(part, &status) == 0 && status.st_mode & 0o777 == 0o700)
        }
        chmod(path, 0o755)
        try StateDirectory.prepare(path)
        #expect(stat(path, &status) == 0 && status.st_mode & 0o777 == 0o700)
    }

    @Test func aFileOrAStrangersDirectoryIsRefused() throws {
        let error = #expect(throws: MountFailure.self) { try StateDirectory.prepare("/etc/passwd/x") }
        #expect(error?.remedy?.contains("--state-dir") == true)
        #expect(throws: MountFailure.self) { try StateDirectory.prepare("/etc/passwd") }
        let path = "/tmp/pail-stranger-\(getpid())"
        mkdir(path, 0o777)
        defer { rmdir(path) }
        // Only root can make what belongs to another; an ordinary user meets it in /.
        let strange = geteuid() == 0 ? path : "/"
        if geteuid() == 0 { chown(path, 65_534, 65_534) }
        let refused = #expect(throws: MountFailure.self) { try StateDirectory.prepare(strange) }
        #expect(refused?.what.contains("belongs to") == true)
    }
}
