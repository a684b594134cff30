// HTTP over libcurl: the front of the loops.

internal import Base
internal import CCurl

/// Performs HTTP/1.1 requests on a bounded pool of kept connections. Thread-safe.
///
/// Each loop is a thread with a curl multi handle. A request goes to the loop with the fewest; there it waits, in order
/// of arrival, until one of the loop's connections is free. Bodies are streamed on the loop's thread, from the source's
/// bytes into curl's buffer, from curl's buffer into the sink: a slow source or sink holds up its whole loop.
///
/// Redirects are not followed, nothing is retried except by curl on a kept connection that turns out to be closed
/// before a byte of the answer, and no content encoding is asked for.
public final class HTTPTransport: HTTPSending {
    private let configuration: HTTPConfiguration
    private let loops: [TransferLoop]
    private let clock = SystemTime()

    /// Starts the loops' threads: not before a fork.
    public init(configuration: HTTPConfiguration = HTTPConfiguration()) {
        precondition(Self.isCurlReady, "libcurl cannot be initialised")
        self.configuration = configuration
        let count = configuration.loopCount
        loops = (0..<count).map { index in
            // The first ones take what does not divide evenly.
            let share = (configuration.connectionsMax + count - 1 - index) / count
            return TransferLoop(name: "pail-http-\(index)", configuration: configuration, connectionsMax: share)
        }
    }

    deinit {
        shutdown()
    }

    /// Ends all requests with `.shutDown`, closes the connections and ends the threads, without waiting for them.
    /// Requests sent afterwards fail with `.shutDown`. May be called more than once.
    public func shutdown() {
        for loop in loops { loop.close() }
    }

    public func send(
        _ request: HTTPRequest, body: (any HTTPBodySource)? = nil, sink: (any HTTPResponseSink)? = nil
    ) async throws(HTTPError) -> HTTPResponse {
        let transfer = Transfer(
            request: request, body: body, sink: sink, configuration: configuration, now: clock.monotonicNanoseconds)
        let loop = leastLoaded
        let outcome = await withTaskCancellationHandler {
            await withCheckedContinuation { (continuation: CheckedContinuation<Transfer.Outcome, Never>) in
                transfer.continuation = continuation
                if !loop.submit(transfer) {
                    let message = "the transport was shut down"
                    let error = HTTPError(.shutDown, message: message, mayHaveReachedServer: false)
                    continuation.resume(returning: .failure(error))
                }
            }
        } onCancel: {
            loop.cancel(transfer)
        }
        return try outcome.get()
    }

    private var leastLoaded: TransferLoop {
        if loops.count == 1 { return loops[0] }
        return loops.min { $0.load < $1.load }!
    }

    // Once a process, before any thread of ours uses curl; it must not run twice at once.
    private static let isCurlReady = curl_global_init(Int(CURL_GLOBAL_DEFAULT)) == CURLE_OK
}
