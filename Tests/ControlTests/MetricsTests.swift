// The document for Prometheus, and the server that hands it out.

import Base
import Glibc
import Testing

@testable import Control

@Suite(.timeLimit(.minutes(3)))
struct MetricsTests {
    static func metrics(unreachableSeconds: Int? = nil, failedUploads: Int = 0) -> MountMetrics {
        var status = MountStatus(
            version: "1", pid: 1, mountpoint: "/mnt/a \"b\"\\", source: "s3://b", endpoint: "http://h", region: "",
            startedAt: "", uptimeSeconds: 7, dirtyFiles: 2, dirtyBytes: 300, failedUploads: failedUploads,
            requests: ["GetObject": .init(count: 10, errors: 3, bytes: 99)])
        status.unreachableSeconds = unreachableSeconds
        status.connections = .init(max: 48, reading: 3, readingMax: 17)
        status.operations = ["read": .init(count: 4, errors: 1, p50Seconds: nil, p99Seconds: nil)]
        let table = LatencyTable(kindCount: 1)
        table.record(kind: 0, nanoseconds: 1_000)
        table.record(kind: 0, nanoseconds: 1 << 50)
        return MountMetrics(
            status: status, requestLatencies: ["GetObject": table.histogram(kind: 0)],
            operationLatencies: ["read": table.histogram(kind: 0)], residentBytes: 5, waitingCount: 25,
            uploadFailureCount: 6)
    }

    @Test(arguments: [
        #"pail_uptime_seconds{mountpoint="/mnt/a \"b\"\\"} 7"#,
        #"operation="GetObject",outcome="ok"} 7"#,
        #"operation="GetObject",outcome="error"} 3"#,
        #"pail_dirty_bytes{mountpoint="/mnt/a \"b\"\\"} 300"#,
        #"operation="read",le="1.6384e-05"} 1"#,
        #"operation="read",le="17.179869184"} 1"#,
        #"operation="read",le="+Inf"} 2"#,
        "# TYPE pail_fuse_operation_seconds histogram",
        "# TYPE pail_s3_requests_total counter",
        #"kind="resident"} 5"#,
        #"pail_upload_failures_total{mountpoint="/mnt/a \"b\"\\"} 6"#,
        #"pail_read_requests{mountpoint="/mnt/a \"b\"\\"} 3"#,
        #"pail_read_requests_limit{mountpoint="/mnt/a \"b\"\\"} 17"#,
        #"pail_fuse_waiting{mountpoint="/mnt/a \"b\"\\"} 25"#,
    ])
    func theFiguresAreThere(words: String) {
        #expect(Self.metrics().text.contains(words), "\(Self.metrics().text)")
    }

    @Test func everyLineIsASampleOrAComment() {
        for line in Self.metrics().text.split(separator: "\n") {
            if line.hasPrefix("# HELP pail_") || line.hasPrefix("# TYPE pail_") { continue }
            #expect(
                line.hasPrefix("pail_") && line.contains("{mountpoint=")
                    && Double(line.split(separator: " ").last!) != nil)
        }
    }

    @Test func healthIsTheStoreAndTheUploads() {
        #expect(Self.metrics().isHealthy && Self.metrics().healthText == "ok")
        #expect(!Self.metrics(unreachableSeconds: 3).isHealthy)
        #expect(Self.metrics(failedUploads: 2).healthText == "2 uploads are failing")
    }

    @Test(arguments: [
        ("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", "200 OK", "pail_info"),
        ("GET /metrics?x=1 HTTP/1.0\r\n\r\n", "200 OK", "pail_info"),
        ("GET /healthz HTTP/1.1\r\n\r\n", "503 Service Unavailable", "not answered for 9 s"),
        ("GET / HTTP/1.1\r\n\r\n", "200 OK", "/healthz"),
        ("GET /etc/passwd HTTP/1.1\r\n\r\n", "404 Not Found", ""),
        ("POST /metrics HTTP/1.1\r\n\r\n", "405 Method Not Allowed", ""),
        ("nonsense\r\n\r\n", "400 Bad Request", ""),
    ])
    func theServerAnswers(request: String, status: String, words: String) throws {
        let server = try MetricsServer(host: "127.0.0.1", port: 0) { Self.metrics(unreachableSeconds: 9) }
        defer { server.stop() }
        let answer = Self.exchange(server.port, request)
        #expect(answer.hasPrefix("HTTP/1.1 \(status)\r\n"), "\(answer)")
        #expect(answer.contains(words))
    }

    @Test func aConnectionThatSaysNothingIsInNobodysWay() throws {
        let server = try MetricsServer(host: "127.0.0.1", port: 0) { Self.metrics() }
        defer { server.stop() }
        let silent = Self.connect(server.port)
        close(silent)
        #expect(Self.exchange(server.port, "GET /healthz HTTP/1.1\r\n\r\n").contains("ok"))
    }

    @Test func aTakenAddressIsSaid() throws {
        let server = try MetricsServer(host: "127.0.0.1", port: 0) { Self.metrics() }
        defer { server.stop() }
        #expect(throws: ControlError.self) {
            try MetricsServer(host: "127.0.0.1", port: server.port) { Self.metrics() }
        }
    }

    static func connect(_ port: UInt16) -> Int32 {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        let result = withUnsafePointer(to: address) {
            // SAFETY: a sockaddr_in is read as the sockaddr that it begins with.
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                Glibc.connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        #expect(result == 0)
        return descriptor
    }

    static func exchange(_ port: UInt16, _ request: String) -> String {
        let descriptor = connect(port)
        defer { close(descriptor) }
        let bytes = Array(request.utf8)
        _ = write(descriptor, bytes, bytes.count)
        var answer: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 4096)
        while true {
            let count = read(descriptor, &buffer, buffer.count)
            guard count > 0 else { break }
            answer += buffer[..<count]
        }
        return String(decoding: answer, as: UTF8.self)
    }
}
