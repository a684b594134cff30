// The settings of a transport.

/// How a transport connects, and its limits.
public struct HTTPConfiguration: Sendable {
    /// Threads, each with its own curl multi handle and its share of the connections. 1...16.
    public var loopCount: Int
    /// Connections at once, over all loops. Requests beyond it wait in order of arrival.
    public var connectionsMax: Int
    /// PEM file of certificate authorities to trust instead of the system's.
    public var caBundlePath: String?
    /// For requests that bring none of their own.
    public var timeouts: HTTPTimeouts
    public var userAgent: String
    /// The largest body that is collected rather than streamed, in bytes. Beyond it: `.responseTooLarge`.
    public var collectedBodyBytesMax: Int
    /// The header fields of one response together, in bytes. Beyond it: `.responseTooLarge`.
    public var headerBytesMax: Int
    /// Header fields, in lower case, whose values never appear in a log or an error.
    public var secretHeaders: Set<String>

    /// Proxies are taken from the environment as curl does: `http_proxy`, `https_proxy`, `all_proxy`, `no_proxy`.
    public init(
        loopCount: Int = 1, connectionsMax: Int = 64, caBundlePath: String? = nil,
        timeouts: HTTPTimeouts = HTTPTimeouts(), userAgent: String = "pail",
        collectedBodyBytesMax: Int = 16 << 20, headerBytesMax: Int = 256 << 10,
        secretHeaders: Set<String> = HTTPConfiguration.standardSecretHeaders
    ) {
        precondition((1...16).contains(loopCount) && connectionsMax >= loopCount)
        precondition(collectedBodyBytesMax >= 0 && headerBytesMax > 0)
        self.loopCount = loopCount
        self.connectionsMax = connectionsMax
        self.caBundlePath = caBundlePath
        self.timeouts = timeouts
        self.userAgent = userAgent
        self.collectedBodyBytesMax = collectedBodyBytesMax
        self.headerBytesMax = headerBytesMax
        self.secretHeaders = secretHeaders
    }

    /// What S3 requests carry that must not be seen.
    public static let standardSecretHeaders: Set<String> = [
        "authorization", "proxy-authorization", "x-amz-security-token",
        "x-amz-server-side-encryption-customer-key", "x-amz-copy-source-server-side-encryption-customer-key",
    ]
}
