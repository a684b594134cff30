// Why no complete response came.

/// A request without a complete response.
public struct HTTPError: Error, Sendable, Equatable, CustomStringConvertible {
    /// The closed set that the layers above decide by.
    public enum Kind: Sendable, Hashable {
        /// The host name (or the proxy's) does not resolve.
        case resolve
        /// Nothing listens there, or the network is unreachable, or the proxy refused.
        case connect
        /// The TLS handshake or the verification of the certificate failed, or the CA bundle cannot be read.
        case tls
        case timedOut(HTTPTimeoutPhase)
        /// The connection broke while the request was sent.
        case sendFailed
        /// The connection broke before the end of the response: nothing came, or less than announced.
        case receiveFailed
        /// The body source answered false.
        case bodySourceFailed
        /// The header fields or a collected body exceed the limit of the configuration.
        case responseTooLarge
        /// The answer is not HTTP/1.x as it should be.
        case malformedResponse
        /// The URL or a header field cannot be sent: the caller's mistake.
        case invalidRequest
        /// The task was cancelled.
        case cancelled
        /// The transport was shut down.
        case shutDown
        /// curl failed for a reason that is none of the above (out of memory, say).
        case other
    }

    public var kind: Kind
    /// curl's words, for people only. Contains no header fields.
    public var message: String
    /// Whether any byte of the request may have reached the server. False means that repeating it is always safe.
    public var mayHaveReachedServer: Bool

    public init(_ kind: Kind, message: String, mayHaveReachedServer: Bool) {
        self.kind = kind
        self.message = message
        self.mayHaveReachedServer = mayHaveReachedServer
    }

    public var description: String { "\(kind): \(message)" }
}

/// Which limit of `HTTPTimeouts` was exceeded.
public enum HTTPTimeoutPhase: String, Sendable, Hashable, CustomStringConvertible {
    case connect
    case stall
    /// The body came far slower than others; see `HTTPRequest.isGivenUpWhenSlow`.
    case slow
    case total

    /// Without the names of types: it gets into log lines.
    public var description: String { rawValue }
}
