// A server that answers as a test says, request by request, and keeps what it was asked.

import Base
import HTTPTransport
import MemoryStore
import ObjectModel
@testable import ObjectStore
import S3Protocol
import Testing

/// Answers the n-th request with the n-th reply; more requests than replies are an issue.
final class ScriptedServer: HTTPSending {
    enum Reply: Sendable {
        /// A complete answer. Header fields that every answer to an object request needs are added by `object`.
        case answer(Int, [String: String] = [:], body: String = "")
        /// An object's body: 200, or 206 when `range` is given.
        case object(String, etag: String, range: Range<Int>? = nil, headers: [String: String] = [:])
        /// As `object`, but the connection breaks after some bytes of the body.
        case cutObject(String, etag: String, range: Range<Int>? = nil, afterBytes: Int)
        case failure(HTTPError.Kind, mayHaveReached: Bool = true)

        static func error(_ status: Int, _ code: String, _ headers: [String: String] = [:]) -> Reply {
            .answer(status, headers, body: "<Error><Code>\(code)</Code><Message>scripted</Message></Error>")
        }
    }

    struct Seen: Sendable {
        let request: HTTPRequest
        let body: [UInt8]

        /// `PUT /bucket/key?query`.
        var line: String { "\(request.method.rawValue) \(request.url.dropFirst("http://s3.test".count))" }
        subscript(_ name: String) -> String? { HeaderFields(request.headers)[name] }
    }

    private struct State {
        var replies: [Reply]
        var seen: [Seen] = []
    }

    private let state: Lock<State>
    let time = SimulatedTime()

    convenience init(_ replies: Reply...) { self.init(replies) }

    init(_ replies: [Reply]) {
        state = Lock(State(replies: replies))
    }

    var seen: [Seen] { state.withLock { $0.seen } }
    var lines: [String] { seen.map(\.line) }
    var remainingCount: Int { state.withLock { $0.replies.count } }

    /// A store on this server, whose jitter is always the longest.
    func store(
        retry: RetryPolicy = RetryPolicy(), conditions: ConditionSupport = .works,
        credentials: any CredentialSource = FixedCredentials(
            AWSCredentials(accessKeyID: "AKID", secretAccessKey: "secret")),
        configure: (inout S3StoreConfiguration) -> Void = { _ in },
        onRequest: (@Sendable (S3RequestRecord) -> Void)? = nil
    ) throws -> S3Store {
        var configuration = S3StoreConfiguration(bucket: "bucket", endpoint: try Endpoint(parsing: "http://s3.test"))
        configuration.retry = retry
        configure(&configuration)
        let store = S3Store(
            configuration: configuration, transport: self, credentials: credentials, time: time, dice: { 0.999 },
            onRequest: onRequest)
        store.state.withLock { state in
            for kind in ConditionKind.allCases { state.conditions[kind] = ConditionState(support: conditions) }
        }
        return store
    }

    func send(
        _ request: HTTPRequest, body: (any HTTPBodySource)?, sink: (any HTTPResponseSink)?
    ) async throws(HTTPError) -> HTTPResponse {
        var bytes = [UInt8](repeating: 0, count: body?.byteCount ?? 0)
        if let body, !bytes.isEmpty {
            let isRead = bytes.withUnsafeMutableBytes { body.read(into: $0, at: 0) }
            if !isRead { throw HTTPError(.bodySourceFailed, message: "", mayHaveReachedServer: true) }
        }
        let seen = Seen(request: request, body: bytes)
        let reply: Reply? = state.withLock { state in
            state.seen.append(seen)
            return state.replies.isEmpty ? nil : state.replies.removeFirst()
        }
        switch reply {
        case nil:
            Issue.record("no reply left for \(seen.line)")
            throw HTTPError(.invalidRequest, message: "", mayHaveReachedServer: false)
        case .failure(let kind, let mayHaveReached):
            throw HTTPError(kind, message: "scripted", mayHaveReachedServer: mayHaveReached)
        case .answer(let status, let headers, let body):
            return respond(status, headers, Array(body.utf8), to: request, sink)
        case .object(let body, let etag, let range, let headers):
            let (status, all, bytes) = Self.object(body, etag, range)
            return respond(status, all.merging(headers) { $1 }, bytes, to: request, sink)
        case .cutObject(let body, let etag, let range, let afterBytes):
            let (status, headers, bytes) = Self.object(body, etag, range)
            _ = respond(status, headers, Array(bytes.prefix(afterBytes)), to: request, sink)
            throw HTTPError(.receiveFailed, message: "scripted", mayHaveReachedServer: true)
        }
    }

    private static func object(
        _ body: String, _ etag: String, _ range: Range<Int>?
    ) -> (Int, [String: String], [UInt8]) {
        let all = Array(body.utf8)
        let bytes = range.map { Array(all[$0]) } ?? all
        var headers = [
            "ETag": "\"\(etag)\"", "Content-Length": String(bytes.count),
            "Last-Modified": "Fri, 24 May 2013 00:00:00 GMT",
        ]
        if let range { headers["Content-Range"] = "bytes \(range.lowerBound)-\(range.upperBound - 1)/\(all.count)" }
        return (range == nil ? 200 : 206, headers, bytes)
    }

    private func respond(
        _ status: Int, _ headers: [String: String], _ body: [UInt8], to request: HTTPRequest,
        _ sink: (any HTTPResponseSink)?
    ) -> HTTPResponse {
        let head = HTTPResponseHead(status: status, headers: headers.map { ($0.key, $0.value) })
        var metrics = HTTPMetrics()
        metrics.sendCount = 1
        metrics.bodyBytesReceived = body.count
        let body = request.method == .head ? [] : body
        if let sink, sink.begin(head) {
            // In two pieces, so that a sink sees more than one.
            let middle = body.count / 2
            for piece in [body[..<middle], body[middle...]] where !piece.isEmpty {
                Array(piece).withUnsafeBytes { sink.receive($0) }
            }
            return HTTPResponse(head: head, metrics: metrics)
        }
        return HTTPResponse(head: head, body: body, metrics: metrics)
    }
}

/// The kind of the error that `body` throws; nil when it succeeds.
func failureKind<Value>(_ body: () async throws(StoreError) -> Value) async -> StoreError.Kind? {
    do throws(StoreError) {
        _ = try await body()
        return nil
    } catch {
        return error.kind
    }
}

/// The MD5 of a text, as the ETag of a plain object.
func md5(_ text: String) -> String { Hex.encode(Digest.of(Array(text.utf8), .md5)) }
