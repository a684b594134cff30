// A tiny HTTP server for Prometheus: GET /metrics and GET /healthz, one connection at a time.

internal import Base
internal import CLinux
internal import Glibc
internal import Synchronization

/// Listens on one TCP address until stopped. Thread-safe.
///
/// Figures only: nothing can be changed through it, and no key or content is told. Whoever can reach the address can read
/// them, which is why it is the loopback by default.
public final class MetricsServer: Sendable {
    /// A scraper that says nothing for so long is let go; others wait meanwhile.
    private static let silenceMilliseconds: Int32 = 2_000
    /// The longest request head that is read.
    private static let headBytesMax = 8 << 10

    /// The port that it listens on.
    public let port: UInt16
    private let listener: Int32
    private let source: @Sendable () -> MountMetrics
    private let hasStopped = Atomic<Bool>(false)

    /// Starts to listen.
    /// - Parameters:
    ///   - host: numeric, IPv4 or IPv6.
    ///   - port: 0 lets the kernel choose.
    ///   - source: called on the server's thread for each request.
    /// - Throws: `.other` when the address cannot be had.
    public init(host: String, port: UInt16, source: @escaping @Sendable () -> MountMetrics) throws(ControlError) {
        var actual: UInt16 = 0
        let listener = pail_listen_tcp(host, port, &actual)
        guard listener >= 0 else {
            let reason = String(cString: strerror(errno))
            throw ControlError(.other, "cannot listen on \(host) port \(port): \(reason)")
        }
        self.listener = listener
        self.port = actual
        self.source = source
        NamedThread.start("pail-metrics") { [self] in serve() }
    }

    /// Ends it; a request under way is still answered.
    public func stop() {
        hasStopped.store(true, ordering: .relaxed)
        // Wakes the thread, which closes the descriptor.
        shutdown(listener, Int32(SHUT_RDWR))
    }

    private func serve() {
        while !hasStopped.load(ordering: .relaxed) {
            let connection = pail_accept(listener)
            if connection < 0 {
                if errno == EINTR || errno == ECONNABORTED { continue }
                if hasStopped.load(ordering: .relaxed) { break }
                // Out of descriptors, or the like: that may pass.
                usleep(100_000)
                continue
            }
            answer(connection)
            close(connection)
        }
        close(listener)
    }

    private func answer(_ connection: Int32) {
        guard let head = readHead(connection) else { return }
        let words = head.prefix { $0 != "\r" && $0 != "\n" && $0 != "\r\n" }.split(separator: " ")
        guard words.count == 3, words[2].hasPrefix("HTTP/1.") else {
            return send(connection, "400 Bad Request", "bad request\n")
        }
        guard words[0] == "GET" || words[0] == "HEAD" else {
            return send(connection, "405 Method Not Allowed", "only GET\n")
        }
        let isHead = words[0] == "HEAD"
        switch words[1].prefix(while: { $0 != "?" }) {
        case "/metrics": send(connection, "200 OK", source().text, isHead: isHead)
        case "/healthz":
            let metrics = source()
            send(
                connection, metrics.isHealthy ? "200 OK" : "503 Service Unavailable", metrics.healthText + "\n",
                isHead: isHead)
        case "/": send(connection, "200 OK", "pail: /metrics /healthz\n", isHead: isHead)
        default: send(connection, "404 Not Found", "there are /metrics and /healthz\n", isHead: isHead)
        }
    }

    private func readHead(_ connection: Int32) -> String? {
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 2048)
        while bytes.count < Self.headBytesMax {
            var watch = pollfd(fd: connection, events: Int16(POLLIN), revents: 0)
            guard poll(&watch, 1, Self.silenceMilliseconds) > 0 else { return nil }
            let count = read(connection, &buffer, buffer.count)
            guard count > 0 else { return nil }
            bytes += buffer[..<count]
            let text = String(decoding: bytes, as: UTF8.self)
            if text.utf8.count >= 4, bytes.suffix(4).elementsEqual("\r\n\r\n".utf8) || bytes.suffix(2) == [10, 10] {
                return text
            }
        }
        return nil
    }

    private func send(_ connection: Int32, _ status: String, _ body: String, isHead: Bool = false) {
        let head =
            "HTTP/1.1 \(status)\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"
            + "Content-Length: \(body.utf8.count)\r\nConnection: close\r\n\r\n"
        var rest = Array((isHead ? head : head + body).utf8)[...]
        while !rest.isEmpty {
            var watch = pollfd(fd: connection, events: Int16(POLLOUT), revents: 0)
            guard poll(&watch, 1, Self.silenceMilliseconds) > 0 else { return }
            let count = rest.withUnsafeBytes { bytes in
                // SAFETY: the pointer is used during the call only.
                Glibc.send(connection, bytes.baseAddress, bytes.count, Int32(MSG_NOSIGNAL) | Int32(MSG_DONTWAIT))
            }
            if count < 0 {
                guard errno == EINTR || errno == EAGAIN else { return }
                continue
            }
            rest = rest.dropFirst(count)
        }
    }
}
