// What comes back: status and header fields, the collected body, and what it cost.

/// The final status line and header fields; those of 1xx answers and trailers are not among them.
public struct HTTPResponseHead: Sendable {
    public var status: Int
    /// In the order of arrival, as the server spelled them; values without surrounding white space.
    public var headers: [(name: String, value: String)]

    public init(status: Int, headers: [(name: String, value: String)] = []) {
        self.status = status
        self.headers = headers
    }

    /// The first field of this name; case does not matter.
    public subscript(_ name: String) -> String? {
        headers.first { Self.isSameName($0.name, name) }?.value
    }

    /// The value of `Content-Length`, where it is given and well-formed.
    public var contentLength: Int? {
        self["Content-Length"].flatMap { Int($0) }.flatMap { $0 < 0 ? nil : $0 }
    }

    /// Whether two field names are the same: ASCII letters compare without case (RFC 9110, 5.1).
    public static func isSameName(_ left: String, _ right: String) -> Bool {
        left.utf8.count == right.utf8.count && zip(left.utf8, right.utf8).allSatisfy { lower($0) == lower($1) }
    }

    private static func lower(_ byte: UInt8) -> UInt8 {
        (0x41...0x5A).contains(byte) ? byte | 0x20 : byte
    }
}

/// A complete response.
public struct HTTPResponse: Sendable {
    public var head: HTTPResponseHead
    /// The body, unless it went to a sink.
    public var body: [UInt8]
    public var metrics: HTTPMetrics

    public init(head: HTTPResponseHead, body: [UInt8] = [], metrics: HTTPMetrics = HTTPMetrics()) {
        self.head = head
        self.body = body
        self.metrics = metrics
    }

    public var status: Int { head.status }
}

/// What a request took.
public struct HTTPMetrics: Sendable, Hashable {
    /// From the start of the transfer to the first byte of the response.
    public var firstByteNanoseconds: UInt64 = 0
    /// From `send` to the end of the response, waiting for a free connection included.
    public var totalNanoseconds: UInt64 = 0
    /// Bytes of the request body that were handed to the network.
    public var bodyBytesSent = 0
    /// Bytes of the response body.
    public var bodyBytesReceived = 0
    /// The longest time without a byte in either direction, as far as it was seen: pauses below some 100 ms are not.
    public var longestPauseNanoseconds: UInt64 = 0
    /// Whether a connection of the pool served it: no TCP or TLS handshake was paid.
    public var isConnectionReused = false
    /// How often the request was begun: 1, or more when curl began anew because a connection of the pool turned out to
    /// be closed. Then the server may have seen it twice, which matters to a conditional write.
    public var sendCount = 0

    public init() {}
}
