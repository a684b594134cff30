// What is sent arrives as given, and what arrives is delivered as sent.

import Glibc
import HTTPTransport
import Testing

@Suite(.timeLimit(.minutes(3)))
struct ExchangeTests {
    let server = FaultServer()
    let transport = HTTPTransport(configuration: HTTPConfiguration(userAgent: "pail-test/1"))

    @Test(arguments: [HTTPMethod.put, .post], [0, 1, 16_384, 1_048_579, 5_000_000])
    func bodyIsEchoed(method: HTTPMethod, byteCount: Int) async throws {
        let request = HTTPRequest(method: method, url: server.url("/echo"), headers: [("X-Field", "value with spaces")])
        let response = try await transport.send(request, body: PatternSource(byteCount: byteCount))
        #expect(response.status == 200)
        #expect(response.head["echo-method"] == method.rawValue)
        #expect(response.head["Echo-Content-Length"] == "\(byteCount)")
        #expect(response.head["Echo-X-Field"] == "value with spaces")
        #expect(response.head["Echo-Expect"] == nil)
        #expect(response.head["Echo-Accept-Encoding"] == nil)
        #expect(response.head["Echo-Transfer-Encoding"] == nil)
        #expect(response.head["Echo-Content-Type"] == nil)
        #expect(response.head["Echo-User-Agent"] == "pail-test/1")
        #expect(response.body.count == byteCount)
        #expect(response.body.withUnsafeBytes { Pattern.matches($0, at: 0) })
        #expect(response.metrics.bodyBytesSent == byteCount)
        #expect(response.metrics.bodyBytesReceived == byteCount)
        #expect(response.metrics.sendCount == 1)
        #expect(response.metrics.firstByteNanoseconds > 0)
        #expect(response.metrics.totalNanoseconds >= response.metrics.firstByteNanoseconds)
    }

    @Test(arguments: [HTTPMethod.put, .post])
    func noBodyMeansLengthZero(method: HTTPMethod) async throws {
        let response = try await transport.send(HTTPRequest(method: method, url: server.url("/echo")))
        #expect(response.head["Echo-Content-Length"] == "0")
        #expect(response.body.isEmpty)
    }

    @Test(arguments: [HTTPMethod.get, .head, .delete])
    func bodylessMethodsSendNoLength(method: HTTPMethod) async throws {
        let response = try await transport.send(HTTPRequest(method: method, url: server.url("/echo")))
        #expect(response.head["Echo-Method"] == method.rawValue)
        #expect(response.head["Echo-Content-Length"] == nil)
        #expect(response.body.isEmpty == (method == .head))
    }

    @Test func fieldsAreSentAsGiven() async throws {
        let fields = [("Content-Type", "text/csv"), ("X-Empty", ""), ("x-amz-meta-a", "1"), ("Content-Length", "7")]
        let request = HTTPRequest(method: .put, url: server.url("/echo"), headers: fields)
        let response = try await transport.send(request, body: PatternSource(byteCount: 3))
        #expect(response.head["Echo-Content-Type"] == "text/csv")
        #expect(response.head["Echo-X-Empty"] == "")
        #expect(response.head["Echo-x-amz-meta-a"] == "1")
        #expect(response.head["Echo-Content-Length"] == "3")
    }

    @Test func urlIsSentAsItIs() async throws {
        let path = "/echo/a/../b/./c//d%2Fe%20f?x=%7E&y"
        let response = try await transport.send(HTTPRequest(method: .get, url: server.url(path)))
        #expect(String(decoding: response.body, as: UTF8.self).hasPrefix("GET \(path) HTTP/1.1\r\n"))
    }

    @Test(arguments: [0..<1, 0..<1000, 65_520..<65_523, 999_999..<1_000_000, 5..<900_000])
    func rangeGoesToTheSink(range: Range<Int>) async throws {
        let fields = [("Range", "bytes=\(range.lowerBound)-\(range.upperBound - 1)")]
        let request = HTTPRequest(method: .get, url: server.url("/bytes/1000000"), headers: fields)
        let sink = PatternSink(offset: range.lowerBound)
        let response = try await transport.send(request, sink: sink)
        #expect(response.status == 206)
        #expect(response.head.contentLength == range.count)
        #expect(response.body.isEmpty)
        #expect(sink.seen.begins == 1)
        #expect(sink.seen.status == 206)
        #expect(sink.seen.byteCount == range.count)
        #expect(sink.seen.isPattern)
    }

    @Test func sinkMayDeclineTheBody() async throws {
        let sink = PatternSink(streams: false)
        let response = try await transport.send(HTTPRequest(method: .get, url: server.url("/status/404")), sink: sink)
        #expect(response.status == 404)
        #expect(response.body == Array("status".utf8))
        #expect(sink.seen.status == 404)
        #expect(sink.seen.byteCount == 0)
    }

    @Test func headHasLengthAndNoBody() async throws {
        let sink = PatternSink()
        let request = HTTPRequest(method: .head, url: server.url("/bytes/123456789012"))
        let response = try await transport.send(request, sink: sink)
        #expect(response.head.contentLength == 123_456_789_012)
        #expect(sink.seen.begins == 1)
        #expect(sink.seen.byteCount == 0)
        // The connection is in order afterwards.
        let next = try await transport.send(HTTPRequest(method: .get, url: server.url("/bytes/10")))
        #expect(next.body.count == 10)
        #expect(next.metrics.isConnectionReused)
    }

    @Test(arguments: [0, 1, 10_007, 300_000])
    func chunkedBodyWithTrailer(byteCount: Int) async throws {
        let sink = PatternSink()
        let response = try await transport.send(
            HTTPRequest(method: .get, url: server.url("/chunked/\(byteCount)")), sink: sink)
        #expect(sink.seen.byteCount == byteCount)
        #expect(sink.seen.isPattern)
        #expect(response.head["X-Trailer"] == nil)
        #expect(response.head.contentLength == nil)
    }

    @Test func interimHeadsAreSkipped() async throws {
        let sink = PatternSink(streams: false)
        let response = try await transport.send(HTTPRequest(method: .get, url: server.url("/interim")), sink: sink)
        #expect(response.status == 200)
        #expect(response.head["Link"] == nil)
        #expect(response.head["X-Final"] == "yes")
        #expect(sink.seen.begins == 1)
    }

    @Test func slowBytesAllArrive() async throws {
        let sink = PatternSink()
        _ = try await transport.send(HTTPRequest(method: .get, url: server.url("/slow/20/10")), sink: sink)
        #expect(sink.seen.byteCount == 20)
        #expect(sink.seen.isPattern)
    }

    @Test func largeBodyIsStreamedInBoundedMemory() async throws {
        let byteCount = 256 << 20
        let before = residentBytes()
        let sink = PatternSink()
        _ = try await transport.send(HTTPRequest(method: .get, url: server.url("/bytes/\(byteCount)")), sink: sink)
        #expect(sink.seen.byteCount == byteCount)
        #expect(sink.seen.isPattern)
        let source = PatternSource(byteCount: byteCount)
        let response = try await transport.send(HTTPRequest(method: .put, url: server.url("/take")), body: source)
        #expect(response.body == Array("pattern".utf8))
        #expect(server.current.bodyBytes == byteCount)
        // Other tests run in the same process, so the bound is generous; a collected body would exceed it. The shadow
        // memory of ThreadSanitizer would too.
        #if !PAIL_TSAN
            #expect(residentBytes() - before < 192 << 20)
        #endif
    }

    /// Of this process.
    private func residentBytes() -> Int {
        guard let file = fopen("/proc/self/statm", "r") else { return 0 }
        defer { fclose(file) }
        var line = [CChar](repeating: 0, count: 200)
        fgets(&line, 200, file)
        let text = String(decoding: line.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        return (Int(text.split(separator: " ")[1]) ?? 0) * 4096
    }
}
