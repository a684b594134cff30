// The seam between the layers that speak HTTP and the one that carries it; tests put a scripted server behind it.

/// Something that performs HTTP requests. Thread-safe.
public protocol HTTPSending: Sendable {
    /// Performs one request, without retrying it, and returns when the response is complete.
    ///
    /// - Parameters:
    ///   - body: what to send; nil sends no body (and `Content-Length: 0` with PUT and POST).
    ///   - sink: who decides where the response body goes; nil collects it into `HTTPResponse.body`.
    /// - Throws: `HTTPError` when no complete response came. Any complete response, whatever its status, is a result.
    ///   Cancelling the task ends the request promptly with `.cancelled`. Once the call has ended, however it ended,
    ///   neither `body` nor `sink` is called again.
    func send(
        _ request: HTTPRequest, body: (any HTTPBodySource)?, sink: (any HTTPResponseSink)?
    ) async throws(HTTPError) -> HTTPResponse
}

/// Where a request body comes from. Read by position, because curl begins anew on a stale connection.
public protocol HTTPBodySource: AnyObject, Sendable {
    /// The length in bytes; constant.
    var byteCount: Int { get }
    /// Fills `buffer` with the bytes at `offset`; the ranges asked for lie within the body. Returns false when the
    /// bytes cannot be had: the request fails with `.bodySourceFailed`. Called on a transport thread, one call at a
    /// time; may read a local disk, must not wait for the network or for a task.
    func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int) -> Bool
}

/// Where a response body goes. Called on a transport thread, one call at a time; must not block.
public protocol HTTPResponseSink: AnyObject, Sendable {
    /// Called once, when the final head is there and before any byte of the body (also when there is none).
    /// - Returns: true to stream the body to `receive`; false to collect it into `HTTPResponse.body`, bounded by
    ///   `HTTPConfiguration.collectedBodyBytesMax`: what error bodies and XML answers want.
    func begin(_ head: HTTPResponseHead) -> Bool
    /// The next bytes of the body, in order, each once. The pointer is valid during the call only.
    func receive(_ bytes: UnsafeRawBufferPointer)
    /// Whether nobody wants the rest: then the request ends with `.cancelled`. Asked before each call of `receive`.
    var isAbandoned: Bool { get }
}

extension HTTPResponseSink {
    public var isAbandoned: Bool { false }
}
