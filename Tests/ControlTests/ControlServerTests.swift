// Server and client over a real socket: every request, and everything a client can do wrong.

import Base
import Glibc
import Testing

@testable import Control

@Suite(.timeLimit(.minutes(3)), .onItsOwnThread)
struct ControlServerTests {
    let runtime: RuntimeDirectory
    let mountpoint = "/mnt/data"

    init() throws {
        runtime = try RuntimeDirectory()
    }

    private func serve(_ mount: RecordingMount = RecordingMount()) throws -> ControlServer {
        try ControlServer(directory: runtime.directory, mountpoint: mountpoint, delegate: mount)
    }

    private func connect(silenceSeconds: Int = 10) throws -> ControlClient {
        try .connect(mountpoint: mountpoint, directories: [runtime.directory], silenceSeconds: silenceSeconds)
    }

    private func raw() throws -> ControlSocket {
        try .connect(to: runtime.directory.socketPath(mountpoint: mountpoint), timeoutSeconds: 10)
    }

    private func deadline(_ seconds: UInt64 = 30) -> UInt64 {
        SystemTime().monotonicNanoseconds + seconds * 1_000_000_000
    }

    private func replies(_ socket: ControlSocket) -> [ControlReply] {
        var replies: [ControlReply] = []
        while case .line(let line) = socket.readLine(bytesMax: 1 << 20, deadlineNanoseconds: deadline()) {
            if let reply = try? ControlCoding.reply(line) { replies.append(reply) }
        }
        return replies
    }

    @Test func everyRequestReachesTheMountAndIsAnswered() throws {
        let mount = RecordingMount()
        let left = DrainResult(filesLeft: 1, bytesLeft: 2, failures: [.init(path: "a", error: "AccessDenied")])
        mount.state.withLock { $0.drainResult = left }
        let server = try serve(mount)
        defer { server.stop() }
        let client = try connect()
        try client.ping()
        #expect(try client.status() == mount.state.withLock { $0.status })
        try client.flush(path: "a/b c")
        try client.flush(path: "/mnt/data/./d//e/")
        try client.flush(path: "/mnt/data")
        try client.refresh(path: "x")
        #expect(try client.drain() == left)
        #expect(
            mount.state.withLock { $0.asked } == ["flush a/b c", "flush d/e", "flush ", "refresh x", "drain"])
    }

    @Test func aFailureReachesTheClientWithItsCode() throws {
        let mount = RecordingMount()
        let failure = ControlError(.uploadFailed, "run7/x: AccessDenied")
        mount.state.withLock { $0.failure = failure }
        let server = try serve(mount)
        defer { server.stop() }
        let client = try connect()
        #expect(throws: failure) { try client.flush(path: "run7/x") }
        #expect(throws: failure) { try client.drain() }
        #expect(throws: failure) { try client.refresh(path: "") }
        // The connection stays of use.
        try client.ping()
    }

    @Test(arguments: [
        ("/mnt/database", ControlError.Code.outsideMount), ("/", .outsideMount), ("/mnt", .outsideMount),
        ("a/../b", .malformed), ("/mnt/data/..", .malformed), ("a\0b", .malformed),
    ])
    func pathsOutsideAreRefused(path: String, code: ControlError.Code) throws {
        let mount = RecordingMount()
        let server = try serve(mount)
        defer { server.stop() }
        let error = #expect(throws: ControlError.self) { try connect().flush(path: path) }
        #expect(error?.code == code)
        #expect(mount.state.withLock { $0.asked } == [])
    }

    @Test func progressIsToldUntilTheEnd() throws {
        let mount = RecordingMount(isOpen: false)
        let steps = (0..<1_000).map { UploadProgress(filesLeft: 1_000 - $0, bytesLeft: $0) }
        mount.state.withLock { $0.progress = steps }
        let server = try serve(mount)
        defer { server.stop() }
        var told: [UploadProgress?] = []
        let result = try connect().drain { progress in
            told.append(progress)
            // The last report, and then a heartbeat, by which nothing is new.
            if told.suffix(2) == [steps.last, steps.last] { mount.gate.set(()) }
            return true
        }
        #expect(result.isComplete)
        // A thousand reports at once make a few lines, and none goes back.
        let figures = told.compactMap { $0?.filesLeft }
        #expect(figures == figures.sorted(by: >))
        #expect(figures.count < 100)
    }

    @Test func aFlushThatTakesTooLongIsGivenUp() async throws {
        let mount = RecordingMount(isOpen: false)
        let server = try serve(mount)
        defer { server.stop() }
        let client = try connect()
        let error = #expect(throws: ControlError.self) { try client.flush(path: "a", timeoutSeconds: 0.05) }
        #expect(error?.code == .timedOut)
        await mount.cancelled.wait()
        try client.ping()
    }

    @Test func aClientMayStopWaiting() async throws {
        let mount = RecordingMount(isOpen: false)
        let server = try serve(mount)
        defer { server.stop() }
        let client = try connect()
        let error = #expect(throws: ControlError.self) { try client.drain { _ in false } }
        #expect(error?.code == .timedOut)
        await mount.cancelled.wait()
        #expect(throws: ControlError.self) { try client.ping() }
    }

    @Test func aClientThatGoesAwayCancelsItsRequest() async throws {
        let mount = RecordingMount(isOpen: false)
        let server = try serve(mount)
        defer { server.stop() }
        do {
            let socket = try raw()
            #expect(socket.write(ControlCoding.line(ControlRequest.drain), deadlineNanoseconds: deadline()))
            await mount.begun.wait()
        }
        await mount.cancelled.wait()
    }

    @Test func aHalfClosedConnectionStillGetsItsAnswer() throws {
        let server = try serve()
        defer { server.stop() }
        let socket = try raw()
        let lines = ControlCoding.line(ControlRequest.drain) + ControlCoding.line(ControlRequest.ping)
        #expect(socket.write(lines, deadlineNanoseconds: deadline()))
        shutdown(socket.descriptor, Int32(SHUT_WR))
        #expect(replies(socket).filter(\.isFinal) == [.drained(DrainResult()), .done])
    }

    @Test(arguments: [
        ("", "malformed"), ("{}", "malformed"), ("[]", "malformed"), ("null", "malformed"),
        ("{\"version\":1}", "malformed"),
        (#"{"version":2,"request":"ping"}"#, "unsupported_version"),
        (#"{"version":1,"request":"format"}"#, "malformed"),
        (#"{"version":1,"request":"flush"}"#, "malformed"),
        (#"{"version":1,"request":"flush","path":7}"#, "malformed"),
        (#"{"version":1,"request":"flush","path":"a","timeout_seconds":-1}"#, "malformed"),
        (#"{"version":1,"request":"flush","path":"a","timeout_seconds":1e300}"#, "malformed"),
        (#"{"version":1,"request":"ping""#, "malformed"),
        (String(repeating: "[", count: 60_000), "malformed"),
        (String(repeating: "x", count: 70_000), "malformed"),
        ("\u{0}\u{1}\u{2}", "malformed"),
    ])
    func malformedRequestsAreAnsweredAndTheConnectionCloses(line: String, code: String) throws {
        let server = try serve()
        defer { server.stop() }
        let socket = try raw()
        _ = socket.write(Array("\(line)\n".utf8), deadlineNanoseconds: deadline())
        let answers = replies(socket)
        guard answers.count == 1, case .failed(let error) = answers[0] else {
            Issue.record("answered \(answers)")
            return
        }
        #expect(error.code.rawValue == code)
        try connect().ping()
    }

    /// Random changes to good requests: whatever comes, the server answers with lines of the protocol or closes, and lives.
    @Test(arguments: [UInt64(1), 2, 3, 4])
    func noiseDoesNotHurtTheServer(seed: UInt64) throws {
        let server = try serve()
        defer { server.stop() }
        var random = SeededRandom(state: seed)
        let good: [ControlRequest] = [
            .ping, .status, .drain, .flush(path: "a/b", timeoutSeconds: 3), .refresh(path: "ü/\"\\"),
        ]
        for _ in 0..<60 {
            var bytes: [UInt8] = []
            for _ in 0..<Int.random(in: 1...4, using: &random) {
                bytes += ControlCoding.line(good.randomElement(using: &random)!)
            }
            for _ in 0..<Int.random(in: 0...6, using: &random) where !bytes.isEmpty {
                let index = Int.random(in: 0..<bytes.count, using: &random)
                switch Int.random(in: 0..<4, using: &random) {
                case 0: bytes[index] = .random(in: 0...255, using: &random)
                case 1: bytes.remove(at: index)
                case 2: bytes.insert(contentsOf: Array(#"{"[:,]}\u00"#.utf8), at: index)
                default: bytes.removeSubrange(index...)
                }
            }
            let socket = try raw()
            guard socket.write(bytes, deadlineNanoseconds: deadline()) else { continue }
            shutdown(socket.descriptor, Int32(SHUT_WR))
            while case .line(let line) = socket.readLine(bytesMax: 1 << 20, deadlineNanoseconds: deadline()) {
                #expect(throws: Never.self, "seed \(seed)") { try ControlCoding.reply(line) }
            }
        }
        try connect().ping()
    }

    @Test func tooManyClientsAreTurnedAwayAndRoomComesBack() throws {
        let server = try serve()
        defer { server.stop() }
        var clients: [ControlClient] = []
        for _ in 0..<ControlServer.clientCountMax {
            let client = try connect()
            try client.ping()
            clients.append(client)
        }
        let error = #expect(throws: ControlError.self) { try connect().ping() }
        #expect(error?.code == .tooManyClients)
        clients.removeAll()
        // The server notices each goodbye on a thread of its own.
        while server.clientCount > 0 { sched_yield() }
        try connect().ping()
    }

    @Test func aStoppingServerSaysSoAndLeavesNothing() async throws {
        let mount = RecordingMount(isOpen: false)
        let server = try serve(mount)
        let path = server.socketPath
        let socket = try raw()
        #expect(socket.write(ControlCoding.line(ControlRequest.drain), deadlineNanoseconds: deadline()))
        await mount.begun.wait()
        server.stop()
        server.stop()
        guard case .failed(let error) = replies(socket).last else {
            Issue.record("no last word")
            return
        }
        #expect(error.code == .stopping)
        await mount.cancelled.wait()
        #expect(access(path, F_OK) != 0)
        let gone = #expect(throws: ControlError.self) { try connect() }
        #expect(gone?.code == .notRunning)
    }

    @Test func aServerThatDoesNotAnswerIsNotWaitedForLong() throws {
        try runtime.directory.create()
        let path = runtime.directory.socketPath(mountpoint: mountpoint)
        let listener = try ControlSocket.listen(at: path, backlog: 4)
        defer { close(listener) }
        let error = #expect(throws: ControlError.self) { try connect(silenceSeconds: 1).ping() }
        #expect(error?.code == .unresponsive)
    }

    @Test func aLongListOfUploadsIsCut() throws {
        let mount = RecordingMount()
        mount.state.withLock { state in
            state.status.uploads = (0..<1_500).map {
                .init(path: "f\($0)", bytesDone: 0, bytesTotal: 1, since: "2026-07-30T10:00:00Z")
            }
        }
        let server = try serve(mount)
        defer { server.stop() }
        let status = try connect().status()
        #expect(status.uploads.count == MountStatus.uploadsMax)
        #expect(status.uploadsOmitted == 500)
    }
}

private struct SeededRandom: RandomNumberGenerator {
    var state: UInt64

    /// SplitMix64.
    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var value = state
        value = (value ^ (value >> 30)) &* 0xbf58_476d_1ce4_e5b9
        value = (value ^ (value >> 27)) &* 0x94d0_49bb_1331_11eb
        return value ^ (value >> 31)
    }
}
