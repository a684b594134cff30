// HTTPS: a certificate of an own authority is accepted with the CA bundle option, and only then.

import Glibc
import HTTPTransport
import Testing

@Suite(.timeLimit(.minutes(3)))
struct TLSTests {
    @Test func ownAuthority() async throws {
        let server = try TLSServer()
        defer { server.stop() }
        let trusting = HTTPTransport(configuration: HTTPConfiguration(caBundlePath: server.caPath))
        let url = "https://127.0.0.1:\(server.port)/file"

        let response = try await trusting.send(HTTPRequest(method: .get, url: url))
        #expect(response.status == 200)
        #expect(response.body == server.content)

        // The certificate is for 127.0.0.1 only.
        let named = "https://localhost:\(server.port)/file"
        await refuses(trusting, named)
        await refuses(HTTPTransport(configuration: HTTPConfiguration()), url)
        await refuses(HTTPTransport(configuration: HTTPConfiguration(caBundlePath: "/no/such/bundle")), url)
    }

    @Test func oldProtocolIsRefused() async throws {
        let server = try TLSServer(options: ["-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0"])
        defer { server.stop() }
        let transport = HTTPTransport(configuration: HTTPConfiguration(caBundlePath: server.caPath))
        await refuses(transport, "https://127.0.0.1:\(server.port)/file")
    }

    private func refuses(_ transport: HTTPTransport, _ url: String) async {
        let error = await #expect(throws: HTTPError.self) {
            try await transport.send(HTTPRequest(method: .get, url: url))
        }
        #expect(error?.kind == .tls, "\(String(describing: error))")
        #expect(error?.mayHaveReachedServer == false)
    }
}

/// `openssl s_server -WWW` over a directory of its own, with a fresh authority and certificate.
private final class TLSServer {
    let port: Int
    let caPath: String
    let content = Array("over TLS\n".utf8)
    private let directory: String
    private let process: ChildProcess

    init(options: [String] = []) throws {
        var template = Array("/tmp/pail-tls-XXXXXX".utf8CString)
        directory = String(cString: try #require(mkdtemp(&template)))
        caPath = directory + "/ca.pem"
        try Self.write(content, to: directory + "/file")
        try Self.write(Array("subjectAltName=IP:127.0.0.1\n".utf8), to: directory + "/san")
        let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        for arguments in [
            ["req", "-x509", "-subj", "/CN=test authority", "-days", "2", "-keyout", "ca.key", "-out", "ca.pem"] + key,
            ["req", "-subj", "/CN=server", "-keyout", "key.pem", "-out", "csr.pem"] + key,
            [
                "x509", "-req", "-in", "csr.pem", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2",
                "-extfile", "san", "-out", "cert.pem",
            ],
        ] {
            try #require(try ChildProcess(Self.openssl, arguments, in: directory).wait())
        }
        let arguments = ["s_server", "-WWW", "-accept", "127.0.0.1:0", "-cert", "cert.pem", "-key", "key.pem"]
        process = try ChildProcess(Self.openssl, arguments + options, in: directory)
        // It says `ACCEPT 127.0.0.1:PORT` when it listens.
        var port: Int?
        while port == nil, let line = process.nextLine() {
            if line.hasPrefix("ACCEPT") { port = line.split(separator: ":").last.flatMap { Int($0) } }
        }
        self.port = try #require(port)
    }

    func stop() {
        process.stop()
        for name in ["file", "san", "ca.key", "ca.pem", "key.pem", "csr.pem", "cert.pem", "ca.srl"] {
            unlink(directory + "/" + name)
        }
        rmdir(directory)
    }

    private static func write(_ bytes: [UInt8], to path: String) throws {
        let file = try #require(fopen(path, "w"))
        fwrite(bytes, 1, bytes.count, file)
        fclose(file)
    }

    private static let openssl = "/usr/bin/openssl"
}
