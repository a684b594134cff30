// Where a mount listens for Prometheus.

/// An IP address and a port.
public struct ListenAddress: Sendable, Hashable, Codable, CustomStringConvertible {
    /// Numeric, IPv4 or IPv6 (without brackets).
    public let host: String
    /// 0 lets the kernel choose.
    public let port: UInt16

    public init(host: String, port: UInt16) {
        self.host = host
        self.port = port
    }

    /// `127.0.0.1:9100`, `[::1]:9100`.
    public var description: String { host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)" }

    /// Parses `ADDRESS:PORT`, `:PORT` or `PORT`; without an address it is the loopback: figures are nobody else's business
    /// unless somebody says so.
    static func parse(_ text: String, origin: String) throws(UsageError) -> ListenAddress {
        let colon = text.lastIndex(of: ":")
        let portText = colon.map { text[text.index(after: $0)...] } ?? text[...]
        var host = colon.map { String(text[..<$0]) } ?? ""
        if host.hasPrefix("["), host.hasSuffix("]") { host = String(host.dropFirst().dropLast()) }
        guard let port = UInt16(portText), portText.utf8.first != UInt8(ascii: "+") else {
            throw UsageError("\(origin) must be ADDRESS:PORT or PORT, such as 127.0.0.1:9464, not '\(text)'")
        }
        let isNumeric =
            host.isEmpty || host == "localhost"
            || host.utf8.allSatisfy { byte in
                (0x30...0x39).contains(byte) || (0x61...0x66).contains(byte | 0x20) || byte == 0x2e || byte == 0x3a
            }
        guard isNumeric else { throw UsageError("\(origin) takes a numeric address, not the name '\(host)'") }
        return ListenAddress(host: host.isEmpty || host == "localhost" ? "127.0.0.1" : host, port: port)
    }
}
