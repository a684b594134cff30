// What goes out, except the body: method, URL, header fields, time limits.

public enum HTTPMethod: String, Sendable {
    case get = "GET"
    case head = "HEAD"
    case put = "PUT"
    case post = "POST"
    case delete = "DELETE"
}

/// How long a request may take. Zero switches a limit off.
public struct HTTPTimeouts: Sendable, Hashable {
    /// From the start of the transfer to the established (TLS) connection, name resolution included. The time that a
    /// request waits for a free connection of the pool does not count.
    public var connectMilliseconds: Int
    /// The longest pause in which not one byte moves in either direction, waiting for the answer included. Watched
    /// from the start of the transfer; seconds are its granularity.
    public var stallMilliseconds: Int
    /// From `send` to the end of the response, waiting for a free connection included.
    public var totalMilliseconds: Int

    public init(connectMilliseconds: Int = 10_000, stallMilliseconds: Int = 20_000, totalMilliseconds: Int = 0) {
        precondition(connectMilliseconds >= 0 && stallMilliseconds >= 0 && totalMilliseconds >= 0)
        self.connectMilliseconds = connectMilliseconds
        self.stallMilliseconds = stallMilliseconds
        self.totalMilliseconds = totalMilliseconds
    }
}

public struct HTTPRequest: Sendable {
    public var method: HTTPMethod
    /// Absolute, percent-encoded by the caller, `http` or `https`. It is sent as it is: dot segments are kept.
    public var url: String
    /// Sent in this order. `Content-Length` comes from the body; `Host`, `User-Agent` and `Accept` are curl's unless given.
    public var headers: [(name: String, value: String)]
    /// Nil takes those of the transport's configuration.
    public var timeouts: HTTPTimeouts?
    /// Goes ahead of all that wait for a connection.
    public var isUrgent = false
    /// Takes no kept connection: those may be dead without our knowing.
    public var isOnNewConnection = false
    /// Fails with `.timedOut(.slow)` when its body comes far slower than those of other requests do: for requests that
    /// can be repeated for the rest.
    public var isGivenUpWhenSlow = false

    public init(
        method: HTTPMethod, url: String, headers: [(name: String, value: String)] = [], timeouts: HTTPTimeouts? = nil
    ) {
        self.method = method
        self.url = url
        self.headers = headers
        self.timeouts = timeouts
    }
}
