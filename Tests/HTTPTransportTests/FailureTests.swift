// Every way in which no complete response comes, each with its kind.

import Glibc
import HTTPTransport
import Testing

@Suite(.timeLimit(.minutes(3)))
struct FailureTests {
    let server = FaultServer()
    let transport = HTTPTransport(
        configuration: HTTPConfiguration(collectedBodyBytesMax: 100_000, headerBytesMax: 50_000))

    /// The error of a request that must not succeed.
    private func failure(
        _ url: String, method: HTTPMethod = .get, timeouts: HTTPTimeouts? = nil, body: PatternSource? = nil,
        sink: PatternSink? = nil
    ) async throws -> HTTPError {
        let request = HTTPRequest(method: method, url: url, timeouts: timeouts)
        let error = await #expect(throws: HTTPError.self) {
            try await transport.send(request, body: body, sink: sink)
        }
        return try #require(error)
    }

    @Test(arguments: [
        ("/cut/1000/500", HTTPError.Kind.receiveFailed), ("/cut/1000/0", .receiveFailed),
        ("/cut-chunk", .receiveFailed), ("/reset", .receiveFailed), ("/reset-in-body", .receiveFailed),
        ("/empty", .receiveFailed), ("/garbage", .malformedResponse), ("/bad-status", .malformedResponse),
        ("/bad-field", .malformedResponse), ("/bytes/100001", .responseTooLarge),
        ("/chunked/100001", .responseTooLarge), ("/head-bytes/60000", .responseTooLarge),
        ("/head-bytes/200000", .responseTooLarge),
    ])
    func brokenAnswer(path: String, kind: HTTPError.Kind) async throws {
        let error = try await failure(server.url(path))
        #expect(error.kind == kind, "\(error)")
        #expect(error.mayHaveReachedServer)
        #expect(!error.message.isEmpty)
    }

    @Test func atTheLimitsIsFine() async throws {
        let response = try await transport.send(HTTPRequest(method: .get, url: server.url("/bytes/100000")))
        #expect(response.body.count == 100_000)
        let padded = try await transport.send(HTTPRequest(method: .get, url: server.url("/head-bytes/49000")))
        #expect(padded.head["X-Pad"]?.utf8.count == 49_000)
    }

    @Test func shortBodyIsAnErrorForTheSinkToo() async throws {
        let sink = PatternSink()
        let error = try await failure(server.url("/cut/1000/500"), sink: sink)
        #expect(error.kind == .receiveFailed)
        #expect(sink.seen.byteCount == 500)
        #expect(sink.seen.isPattern)
    }

    @Test func answerDuringTheUploadIsDelivered() async throws {
        let source = PatternSource(byteCount: 64 << 20)
        let request = HTTPRequest(method: .put, url: server.url("/forbid"))
        let response = try await transport.send(request, body: source)
        #expect(response.status == 403)
        #expect(response.body == Array("<Error/>".utf8))
        #expect(response.metrics.bodyBytesSent < source.byteCount)
        // The handle, given up in the middle of sending, is fit for the next upload.
        let next = try await transport.send(
            HTTPRequest(method: .put, url: server.url("/take")), body: PatternSource(byteCount: 5_000_000))
        #expect(next.body == Array("pattern".utf8))
    }

    @Test func connectionBreaksDuringTheUpload() async throws {
        let error = try await failure(
            server.url("/break-upload"), method: .put, body: PatternSource(byteCount: 64 << 20))
        #expect([.sendFailed, .receiveFailed].contains(error.kind), "\(error)")
        #expect(error.mayHaveReachedServer)
    }

    @Test func sourceFails() async throws {
        let source = PatternSource(byteCount: 8 << 20, failsFrom: 4 << 20)
        let error = try await failure(server.url("/take"), method: .put, body: source)
        #expect(error.kind == .bodySourceFailed)
    }

    @Test(arguments: ["/stall/1000", "/silent"])
    func stall(path: String) async throws {
        let timeouts = HTTPTimeouts(stallMilliseconds: 300)
        let sink = PatternSink()
        let error = try await failure(server.url(path), timeouts: timeouts, sink: sink)
        #expect(error.kind == .timedOut(.stall))
        #expect(error.mayHaveReachedServer)
        #expect(sink.seen.byteCount == (path == "/silent" ? 0 : 1000))
    }

    @Test func slowButMovingIsNoStall() async throws {
        let timeouts = HTTPTimeouts(stallMilliseconds: 400)
        let request = HTTPRequest(method: .get, url: server.url("/slow/30/30"), timeouts: timeouts)
        let response = try await transport.send(request)
        #expect(response.body.count == 30)
    }

    @Test func totalLimitHoldsWhileBytesMove() async throws {
        let timeouts = HTTPTimeouts(stallMilliseconds: 5000, totalMilliseconds: 300)
        let error = try await failure(server.url("/slow/1000/30"), timeouts: timeouts)
        #expect(error.kind == .timedOut(.total))
    }

    @Test func connectLimit() async throws {
        // A queue for one connection, full: the kernel ignores further SYNs.
        let (listener, port) = FaultServer.listen(backlog: 0)
        var sockets = [listener]
        defer { for socket in sockets { close(socket) } }
        for _ in 0..<4 {
            let filler = socket(AF_INET, Int32(SOCK_STREAM.rawValue | SOCK_NONBLOCK.rawValue), 0)
            var address = FaultServer.loopback(port: port)
            withUnsafePointer(to: &address) { pointer in
                pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    _ = connect(filler, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
                }
            }
            sockets.append(filler)
        }
        let timeouts = HTTPTimeouts(connectMilliseconds: 300)
        let error = try await failure("http://127.0.0.1:\(port)/", timeouts: timeouts)
        #expect(error.kind == .timedOut(.connect))
        #expect(!error.mayHaveReachedServer)
    }

    @Test func nothingListens() async throws {
        let (listener, port) = FaultServer.listen(backlog: 1)
        close(listener)
        let error = try await failure("http://127.0.0.1:\(port)/")
        #expect(error.kind == .connect)
        #expect(!error.mayHaveReachedServer)
    }

    @Test func unknownHost() async throws {
        let error = try await failure("http://no-such-host.invalid/", timeouts: HTTPTimeouts(connectMilliseconds: 5000))
        #expect(error.kind == .resolve || error.kind == .timedOut(.connect))
        // The same handle must not be set up again: curl keeps a buffer of a transfer that failed so early.
        let second = try await failure("http://nosuch.invalid/", timeouts: HTTPTimeouts(connectMilliseconds: 5000))
        #expect(second.kind == .resolve || second.kind == .timedOut(.connect))
        #expect(!error.mayHaveReachedServer)
    }

    @Test(arguments: [
        ("", [("", "")]), ("nonsense", []), ("ftp://127.0.0.1/", []), ("http://127.0.0.1/a b", []),
        ("http://127.0.0.1/", [("X-A", "one\r\nX-B: two")]), ("http://127.0.0.1/", [("X A", "one")]),
        ("http://127.0.0.1/", [("X-A", "nul\0")]),
    ])
    func impossibleRequest(url: String, headers: [(String, String)]) async throws {
        let request = HTTPRequest(method: .get, url: url, headers: headers.map { (name: $0.0, value: $0.1) })
        let error = await #expect(throws: HTTPError.self) { try await transport.send(request, body: nil, sink: nil) }
        // `nonsense` is a host name to curl.
        #expect(error?.kind == .invalidRequest || url == "nonsense")
        #expect(error?.mayHaveReachedServer == false)
    }
}
