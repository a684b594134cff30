// The header lines, as tables.

import Testing

@testable import HTTPTransport

@Suite(.timeLimit(.minutes(3)))
struct ResponseHeadParserTests {
    /// Feeds lines until one is not `.more`.
    private func parse(_ lines: [String], byteCountMax: Int = 1000) -> (ResponseHeadParser.Event, HTTPResponseHead) {
        var parser = ResponseHeadParser(byteCountMax: byteCountMax)
        for line in lines {
            let event = Array(line.utf8).withUnsafeBytes { parser.receive($0) }
            if event != .more { return (event, parser.head) }
        }
        return (.more, parser.head)
    }

    @Test(arguments: [
        (["HTTP/1.1 200 OK\r\n", "A: b\r\n", "\r\n"], 200, "A=b"),
        (["HTTP/1.0 404\r\n", "\r\n"], 404, ""),
        (["HTTP/1.1 200 OK\n", "A:b\n", "a: \t c d \n", "\n"], 200, "A=b;a=c d"),
        (["HTTP/1.1 100 Continue\r\n", "X: y\r\n", "\r\n", "HTTP/1.1 206 P C\r\n", "Z:\r\n", "\r\n"], 206, "Z="),
        (["HTTP/1.1 200 OK\r\n", "A: b\r\n", "  c\r\n", "\t\r\n", "D: e:f\r\n", "\r\n"], 200, "A=b c ;D=e:f"),
    ])
    func completes(lines: [String], status: Int, fields: String) {
        let (event, head) = parse(lines)
        #expect(event == .complete)
        #expect(head.status == status)
        #expect(head.headers.map { "\($0.name)=\($0.value)" }.joined(separator: ";") == fields)
    }

    @Test(arguments: [
        ["\r\n"], ["HTTP/1.1\r\n"], ["HTTP/1.1 20 OK\r\n"], ["HTTP/1.1 2000 OK\r\n"], ["HTTP/1.1 2x0 OK\r\n"],
        ["FTP 200 OK\r\n"], ["HTTP/1.1 099 OK\r\n"], ["HTTP/1.1 200 OK\r\n", "no colon\r\n"],
        ["HTTP/1.1 200 OK\r\n", ": value\r\n"], ["HTTP/1.1 200 OK\r\n", " folded first\r\n"],
    ])
    func refuses(lines: [String]) {
        #expect(parse(lines).0 == .malformed)
    }

    @Test func isBounded() {
        let lines = ["HTTP/1.1 200 OK\r\n", "A: bcd\r\n"]
        let total = lines.joined().utf8.count
        #expect(parse(lines, byteCountMax: total).0 == .more)
        #expect(parse(lines, byteCountMax: total - 1).0 == .tooLarge)
    }

    @Test func trailersAreDroppedButCounted() {
        var parser = ResponseHeadParser(byteCountMax: 30)
        for line in ["HTTP/1.1 200 OK\r\n", "\r\n", "T: u\r\n"] {
            _ = Array(line.utf8).withUnsafeBytes { parser.receive($0) }
        }
        #expect(parser.head["T"] == nil)
        #expect(Array("T2: 0123456789\r\n".utf8).withUnsafeBytes { parser.receive($0) } == .tooLarge)
    }

    @Test func lookupIgnoresCase() {
        let head = HTTPResponseHead(status: 200, headers: [("ETag", "\"a\""), ("content-LENGTH", "12"), ("etag", "b")])
        #expect(head["etag"] == "\"a\"")
        #expect(head["ETAG"] == "\"a\"")
        #expect(head["eta"] == nil)
        #expect(head.contentLength == 12)
        #expect(HTTPResponseHead(status: 200, headers: [("Content-Length", "-1")]).contentLength == nil)
        #expect(HTTPResponseHead(status: 200, headers: [("Content-Length", "1e3")]).contentLength == nil)
    }
}

@Suite(.timeLimit(.minutes(3)))
struct SecretTests {
    @Test func secretsAreNotShown() {
        let fields = [("Authorization", "AWS4 SECRET"), ("X-Amz-Security-Token", "SECRET"), ("Range", "bytes=0-1")]
        let request = HTTPRequest(method: .get, url: "http://host/key", headers: fields)
        let shown = HTTPConfiguration().describe(request)
        #expect(!shown.contains("SECRET"))
        #expect(shown.contains("Range: bytes=0-1"))
        #expect("\(request)" == "GET http://host/key")
    }
}
