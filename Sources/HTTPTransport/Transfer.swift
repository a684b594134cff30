// One request on its way: what curl's callbacks do to it.

internal import Base
internal import CCurl

/// A request between `send` and the resumption of its caller.
///
/// States: submitted → waiting (for a connection) → running → finished; each may also go to finished directly.
///
/// SAFETY: `@unchecked Sendable` because after its submission only the thread of its loop touches the `var`s; the
/// caller sets `continuation` before it, and the lock of the loop's inbox orders the two.
final class Transfer: @unchecked Sendable {
    typealias Outcome = Result<HTTPResponse, HTTPError>

    let request: HTTPRequest
    let body: (any HTTPBodySource)?
    let bodyByteCount: Int
    let timeouts: HTTPTimeouts
    let submittedNanoseconds: UInt64
    private let sink: (any HTTPResponseSink)?
    private let collectedBodyBytesMax: Int

    /// Taken when the transfer finishes.
    var continuation: CheckedContinuation<Outcome, Never>?
    /// Set while running: the place in the loop's array, and the handle.
    var runningIndex = 0
    var easy: EasyHandle?
    /// Whether the loop has taken it up, and whether the cancellation overtook that.
    var isAccepted = false
    var isCancelled = false
    private(set) var isFinished = false

    /// Why we told curl to give up, where we did.
    private(set) var failure: HTTPError?
    /// How often curl had a connection and began to send the request.
    private(set) var sendCount = 0
    private var parser: ResponseHeadParser
    private(set) var isStreaming = false
    private var collected: [UInt8] = []
    private(set) var bodyBytesReceived = 0
    private var bodyOffset = 0
    // What the stall limit is about: the last sum of bytes seen, and when it last changed.
    private var movedBytes = -1
    private var movedNanoseconds: UInt64 = 0
    private var longestPauseNanoseconds: UInt64 = 0
    /// What the worker's comparison with others is about: the body at the last look, and whether it was slow then.
    var comparedBytes: Int?
    var wasSlow = false
    /// Of the body, already in the worker's sum.
    var countedBytes = 0

    init(
        request: HTTPRequest, body: (any HTTPBodySource)?, sink: (any HTTPResponseSink)?,
        configuration: HTTPConfiguration, now: UInt64
    ) {
        self.request = request
        self.body = body
        self.sink = sink
        bodyByteCount = body?.byteCount ?? 0
        timeouts = request.timeouts ?? configuration.timeouts
        submittedNanoseconds = now
        collectedBodyBytesMax = configuration.collectedBodyBytesMax
        parser = ResponseHeadParser(byteCountMax: configuration.headerBytesMax)
    }

    // MARK: - Called by curl

    /// A connection is there and the request goes out now.
    func beginRequest() {
        sendCount += 1
    }

    /// False makes curl give up.
    func receiveHeader(_ line: UnsafeRawBufferPointer) -> Bool {
        switch parser.receive(line) {
        case .more: return true
        case .complete: return beginResponse()
        case .tooLarge: return fail(.responseTooLarge, "the response header is larger than the limit")
        case .malformed: return fail(.malformedResponse, "the response header is malformed")
        }
    }

    /// False makes curl give up.
    func receiveBody(_ bytes: UnsafeRawBufferPointer) -> Bool {
        bodyBytesReceived += bytes.count
        if isStreaming, let sink {
            if sink.isAbandoned { return fail(.cancelled, "the rest of the answer is not wanted") }
            sink.receive(bytes)
            return true
        }
        guard collected.count + bytes.count <= collectedBodyBytesMax else { return failTooLarge() }
        collected.append(contentsOf: bytes)
        return true
    }

    /// The number of bytes put into `room`, 0 at the end; nil makes curl give up.
    func readBody(into room: UnsafeMutableRawBufferPointer) -> Int? {
        let count = min(room.count, bodyByteCount - bodyOffset)
        guard count > 0, let body else { return 0 }
        let piece = UnsafeMutableRawBufferPointer(rebasing: room[..<count])
        guard body.read(into: piece, at: bodyOffset) else {
            _ = fail(.bodySourceFailed, "the source of the request body failed at offset \(bodyOffset)")
            return nil
        }
        bodyOffset += count
        return count
    }

    func seekBody(to offset: Int) -> Bool {
        guard (0...bodyByteCount).contains(offset) else { return false }
        bodyOffset = offset
        return true
    }

    private func beginResponse() -> Bool {
        isStreaming = sink?.begin(parser.head) ?? false
        guard !isStreaming, request.method != .head else { return true }
        let announced = parser.head.contentLength ?? 0
        guard announced <= collectedBodyBytesMax else { return failTooLarge() }
        collected.reserveCapacity(announced)
        return true
    }

    private func failTooLarge() -> Bool {
        fail(.responseTooLarge, "the response body is larger than \(ByteCount.describe(collectedBodyBytesMax))")
    }

    private func fail(_ kind: HTTPError.Kind, _ message: String) -> Bool {
        failure = HTTPError(kind, message: message, mayHaveReachedServer: sendCount > 0)
        return false
    }

    // MARK: - Called by the loop

    /// Which limit is exceeded, if one is. The connect limit is curl's business.
    func exceededLimit(now: UInt64) -> HTTPTimeoutPhase? {
        let total = UInt64(timeouts.totalMilliseconds) * 1_000_000
        if total > 0, now &- submittedNanoseconds >= total { return .total }
        let stall = UInt64(timeouts.stallMilliseconds) * 1_000_000
        guard stall > 0, sendCount > 0, let easy else { return nil }
        // The read callback does not tell how much has left: curl may work on one large buffer for a long time.
        let sent = Int(pail_easy_get_offset(easy.curl, CURLINFO_SIZE_UPLOAD_T))
        let moved = sent + parser.byteCount + bodyBytesReceived + sendCount
        if moved != movedBytes {
            if movedBytes >= 0 { longestPauseNanoseconds = max(longestPauseNanoseconds, now &- movedNanoseconds) }
            movedBytes = moved
            movedNanoseconds = now
            return nil
        }
        return now &- movedNanoseconds >= stall ? .stall : nil
    }

    /// Ends a transfer that curl says is done. The handle has left the multi handle.
    func finish(code: CURLcode, now: UInt64) {
        guard let easy else { preconditionFailure("a transfer that does not run cannot be done") }
        if let failure {
            finish(.failure(failure))
        } else if code != CURLE_OK {
            let kind = HTTPError.Kind(code, isSent: sendCount > 0, isHeadComplete: parser.isComplete)
            finish(error: kind, easy.message(for: code))
        } else if !parser.isComplete {
            finish(error: .malformedResponse, "the response has no final head")
        } else {
            let metrics = metrics(of: easy, now: now)
            finish(.success(HTTPResponse(head: parser.head, body: collected, metrics: metrics)))
        }
    }

    func finish(error kind: HTTPError.Kind, _ message: String) {
        finish(.failure(HTTPError(kind, message: message, mayHaveReachedServer: sendCount > 0)))
    }

    private func finish(_ outcome: Outcome) {
        precondition(!isFinished, "a transfer ends once")
        isFinished = true
        let continuation = continuation.take()
        continuation?.resume(returning: outcome)
    }

    private func metrics(of easy: EasyHandle, now: UInt64) -> HTTPMetrics {
        var metrics = HTTPMetrics()
        let firstByteMicroseconds = pail_easy_get_offset(easy.curl, CURLINFO_STARTTRANSFER_TIME_T)
        metrics.firstByteNanoseconds = UInt64(max(0, firstByteMicroseconds)) * 1000
        metrics.totalNanoseconds = now &- submittedNanoseconds
        metrics.bodyBytesSent = Int(pail_easy_get_offset(easy.curl, CURLINFO_SIZE_UPLOAD_T))
        metrics.bodyBytesReceived = bodyBytesReceived
        metrics.longestPauseNanoseconds = longestPauseNanoseconds
        metrics.isConnectionReused = pail_easy_get_long(easy.curl, CURLINFO_NUM_CONNECTS) == 0
        metrics.sendCount = sendCount
        return metrics
    }
}
