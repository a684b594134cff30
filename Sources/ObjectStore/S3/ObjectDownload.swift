// A GET over as many requests as it takes: what was delivered, what must come next, and whether an answer is what was
// asked for.

internal import HTTPTransport
internal import ObjectModel
internal import S3Protocol
internal import Synchronization

/// The state of one GET.
///
/// Phases: nothing known → `info` known and pinned (first good head; `begin` was called) → `delivered` grows to the
/// whole range. A request that breaks in between is followed by one for the rest, of the pinned version.
///
/// SAFETY: `@unchecked Sendable`: the fields are touched by the transport's thread while a request runs, and by the
/// calling task between requests; `HTTPSending.send` orders the two.
final class ObjectDownload: HTTPResponseSink, @unchecked Sendable {
    let key: ObjectKey
    private let sink: any BodySink
    private let wanted: ByteRange?
    /// The caller's, later that of the first answer.
    private var etag: ETag?
    private(set) var info: ObjectInfo?
    /// The positions that `begin` announced.
    private var range: ByteRange?
    private(set) var deliveredByteCount = 0
    /// Set by the task's cancellation, on any thread.
    private let isCancelled = Atomic(false)
    /// Whether the current request's body is the wanted one.
    private var isAccepting = false
    /// An answer of success that is not what was asked for. Final: asking again would give the same.
    private(set) var failure: StoreError?

    init(_ request: GetRequest, sink: any BodySink) {
        key = request.key
        etag = request.etag
        wanted = request.range
        self.sink = sink
    }

    var isComplete: Bool { range.map { deliveredByteCount == $0.count } ?? false }

    /// Nothing is delivered any more, however much is on its way. Thread-safe.
    func cancel() {
        isCancelled.store(true, ordering: .relaxed)
    }

    var isAbandoned: Bool { isCancelled.load(ordering: .relaxed) }

    /// The request for what is missing.
    func nextRequest(_ builder: RequestBuilder) -> S3Request {
        isAccepting = false
        let rest = range.map { ByteRange($0.lowerBound + deliveredByteCount, $0.upperBound) } ?? wanted
        return builder.getObject(key, range: rest, ifMatch: etag)
    }

    func begin(_ head: HTTPResponseHead) -> Bool {
        guard head.status == 200 || head.status == 206 else { return false }
        do throws(StoreError) {
            try accept(head)
            isAccepting = true
        } catch {
            failure = error
        }
        // Of a wrong answer no more is read than the limit of collected bodies.
        return isAccepting
    }

    func receive(_ bytes: UnsafeRawBufferPointer) {
        guard isAccepting, let range, !isCancelled.load(ordering: .relaxed) else { return }
        let room = range.count - deliveredByteCount
        if bytes.count > room {
            failure = malformed("the body is longer than announced")
            isAccepting = false
            return
        }
        deliveredByteCount += bytes.count
        sink.receive(bytes)
    }

    /// What a request that ended well leaves to say: nil, or why its body cannot stand.
    var problem: StoreError? {
        if let failure { return failure }
        return isComplete ? nil : malformed("the body is shorter than announced")
    }

    private func accept(_ head: HTTPResponseHead) throws(StoreError) {
        let headers = HeaderFields(head.headers)
        let now: ObjectInfo
        do throws(AnswerError) {
            now = try ObjectInfo(key, headers: headers)
        } catch {
            throw malformed(error.description)
        }
        if let etag, now.version.etag != etag {
            // Some servers ignore If-Match.
            throw StoreError(
                .preconditionFailed, operation: S3Operation.getObject.rawValue, key: key, httpStatus: head.status,
                requestID: headers["x-amz-request-id"], message: "the object has changed")
        }
        let total = now.version.byteCount
        if let info, info.version.byteCount != total {
            throw malformed("the object's length changed with its ETag unchanged")
        }
        let expected = try expectedRange(total: total)
        if head.status == 206 {
            guard let field = headers["Content-Range"].flatMap({ ContentRange($0) }), field.range == expected else {
                throw malformed("the answer has another range than asked for")
            }
        } else if expected != ByteRange(0, total) {
            throw malformed("the server ignored the range")
        }
        if let length = head.contentLength, length != expected.count {
            throw malformed("Content-Length does not fit the range")
        }
        if info == nil {
            info = now
            etag = now.version.etag
            range = expected
            sink.begin(now, range: expected)
        }
    }

    /// What this request must give of an object of `total` bytes.
    private func expectedRange(total: Int) throws(StoreError) -> ByteRange {
        if let range { return ByteRange(range.lowerBound + deliveredByteCount, range.upperBound) }
        guard let wanted else { return ByteRange(0, total) }
        guard wanted.lowerBound < total else { throw malformed("a range beyond the end was answered") }
        return ByteRange(wanted.lowerBound, min(wanted.upperBound, total))
    }

    private func malformed(_ message: String) -> StoreError {
        StoreError(.malformedResponse, operation: S3Operation.getObject.rawValue, key: key, message: message)
    }
}
