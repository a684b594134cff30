// Reads that are late are raced, and what stalls is asked for again; the reader sees each byte once.

import Base
import HTTPTransport
import MemoryStore
import ObjectModel
import S3Protocol
import Testing

@testable import ObjectStore

/// Serves one object by ranges. A test says what becomes of the n-th request.
final class RacingServer: HTTPSending {
    enum Fate: Sendable {
        case served
        /// No answer until it is cancelled.
        case silent
        /// The head and some bytes, then nothing until it is cancelled.
        case stalled(afterBytes: Int)
        /// The head and some bytes, then the transport gives it up.
        case givenUp(HTTPTimeoutPhase, afterBytes: Int)
        case refused(Int)
    }

    private struct State {
        var requests: [HTTPRequest] = []
        var cancelledCount = 0
    }

    let content = Array("0123456789".utf8)
    private let fate: @Sendable (Int) -> Fate
    private let state = Lock(State())

    /// - Parameter fate: of the n-th request, from 0.
    init(_ fate: @escaping @Sendable (Int) -> Fate) {
        self.fate = fate
    }

    var requests: [HTTPRequest] { state.withLock { $0.requests } }
    var cancelledCount: Int { state.withLock { $0.cancelledCount } }

    func send(
        _ request: HTTPRequest, body: (any HTTPBodySource)?, sink: (any HTTPResponseSink)?
    ) async throws(HTTPError) -> HTTPResponse {
        let number = state.withLock { state in
            state.requests.append(request)
            return state.requests.count - 1
        }
        var bytes = content[...]
        if let field = HeaderFields(request.headers)["Range"] {
            let ends = field.dropFirst("bytes=".count).split(separator: "-").compactMap { Int($0) }
            bytes = content[ends[0]...min(ends[1], content.count - 1)]
        }
        let head = HTTPResponseHead(
            status: 206,
            headers: [
                ("ETag", "\"e\""), ("Last-Modified", "Fri, 24 May 2013 00:00:00 GMT"),
                ("Content-Range", "bytes \(bytes.startIndex)-\(bytes.endIndex - 1)/\(content.count)"),
            ])
        switch fate(number) {
        case .served:
            deliver(bytes, head, sink)
            return HTTPResponse(head: head)
        case .refused(let status): return HTTPResponse(head: HTTPResponseHead(status: status))
        case .silent: break
        case .stalled(let count): deliver(bytes.prefix(count), head, sink)
        case .givenUp(let phase, let count):
            deliver(bytes.prefix(count), head, sink)
            throw HTTPError(.timedOut(phase), message: "scripted", mayHaveReachedServer: true)
        }
        let cancelled = OneShot<Void>()
        await withTaskCancellationHandler {
            await cancelled.wait()
        } onCancel: {
            cancelled.set(())
        }
        state.withLock { $0.cancelledCount += 1 }
        throw HTTPError(.cancelled, message: "", mayHaveReachedServer: true)
    }

    private func deliver(_ bytes: ArraySlice<UInt8>, _ head: HTTPResponseHead, _ sink: (any HTTPResponseSink)?) {
        guard let sink, sink.begin(head), !sink.isAbandoned else { return }
        bytes.withUnsafeBytes { sink.receive($0) }
    }
}

@Suite(.timeLimit(.minutes(3)))
struct HedgeTests {
    let key = ObjectKey("a")!
    let sink = CollectingSink()

    /// A store that has seen enough reads to know what is late, and may hedge.
    func store(_ server: RacingServer) throws -> S3Store {
        var configuration = S3StoreConfiguration(bucket: "bucket", endpoint: try Endpoint(parsing: "http://s3.test"))
        configuration.retry = RetryPolicy(attemptsMax: 3)
        let store = S3Store(
            configuration: configuration, transport: server, credentials: FixedCredentials(nil), time: SimulatedTime(),
            dice: { 0.999 })
        store.stragglers.withLock { policy in
            for operation in [S3Operation.getObject, .headObject, .listObjectsV2] {
                for _ in 0..<40 {
                    _ = policy.begin(operation, attempt: 1, stallMillisecondsMax: 0)
                    policy.noteFirstByte(operation, nanoseconds: 1_000_000)
                }
            }
        }
        return store
    }

    func get(_ store: S3Store) async -> StoreError.Kind? {
        let request = GetRequest(key: key, etag: ETag("e"), range: ByteRange(2, 9))
        let kind = await failureKind { () throws(StoreError) in try await store.get(request, into: sink) }
        sink.end()
        #expect(sink.breaches == [])
        return kind
    }

    @Test func aSilentRequestIsOvertaken() async throws {
        let server = RacingServer { $0 == 0 ? .silent : .served }
        let store = try store(server)
        #expect(await get(store) == nil)
        #expect(sink.bytes == Array("2345678".utf8))
        #expect(server.requests.map(\.isUrgent) == [false, true] && server.cancelledCount == 1)
        let counters = try #require(store.counters.operations[.getObject])
        #expect(counters.requestCount == 2 && counters.hedgeCount == 1 && counters.hedgeWonCount == 1)
        #expect(counters.failureCount == 0 && counters.retryCount == 0)
    }

    @Test func aServerThatIsSlowAsAWholeGetsFewMore() async throws {
        let server = RacingServer { _ in .served }
        let store = try store(server)
        store.stragglers.withLock { while $0.takeHedge(.headObject) {} }
        for _ in 0..<19 { _ = try? await store.head(key) }
        #expect(server.requests.count == 19)
    }

    @Test func whoDeliversIsNotOvertaken() async throws {
        // The first has sent its head and stalls; the transport gives it up, and only then the rest is asked for.
        let server = RacingServer { $0 == 0 ? .givenUp(.stall, afterBytes: 3) : .served }
        let store = try store(server)
        #expect(await get(store) == nil)
        #expect(sink.bytes == Array("2345678".utf8))
        let ranges = server.requests.map { HeaderFields($0.headers)["Range"] }
        #expect(ranges.first == "bytes=2-8" && ranges.last == "bytes=5-8")
        #expect(HeaderFields(server.requests.last!.headers)["If-Match"] == "\"e\"")
    }

    @Test(arguments: [HTTPTimeoutPhase.stall, .slow])
    func whatIsGivenUpIsAskedForAtOnceOnANewConnection(_ phase: HTTPTimeoutPhase) async throws {
        let server = RacingServer { $0 == 0 ? .givenUp(phase, afterBytes: 3) : .served }
        let store = try store(server)
        store.stragglers.withLock { while $0.takeHedge(.headObject) {} }
        let before = store.time.monotonicNanoseconds
        #expect(await get(store) == nil)
        #expect(store.time.monotonicNanoseconds == before, "without a pause")
        #expect(sink.bytes == Array("2345678".utf8))
        #expect(server.requests.map(\.isOnNewConnection) == [false, true])
        #expect(server.requests.allSatisfy { $0.isGivenUpWhenSlow })
        #expect(store.counters.operations[.getObject]?.stallCount == 1)
    }

    @Test func aRefusalOfOneDoesNotDecide() async throws {
        // The hedge is refused by a busy server while the first is still on its way.
        let server = RacingServer { $0 == 0 ? .silent : $0 == 1 ? .refused(503) : .served }
        let store = try store(server)
        let call = Task { await get(store) }
        while server.requests.count < 2 { await Task.yield() }
        call.cancel()
        #expect(await call.value == .cancelled)
        #expect(server.requests.count == 2 && server.cancelledCount == 1)
    }

    @Test func aConclusiveRefusalDecides() async throws {
        let server = RacingServer { $0 == 0 ? .silent : .refused(404) }
        let store = try store(server)
        #expect(await get(store) == .notFound)
        #expect(server.cancelledCount == 1 && sink.bytes.isEmpty)
    }

    @Test func headsAreHedgedToo() async throws {
        let server = RacingServer { $0 == 0 ? .silent : .refused(404) }
        let store = try store(server)
        let key = key
        #expect(await failureKind { () throws(StoreError) in try await store.head(key) } == .notFound)
        #expect(server.requests.count == 2)
    }

    @Test func writesAreNot() async throws {
        let server = RacingServer { _ in .refused(404) }
        let store = try store(server)
        try await store.delete(key)
        #expect(server.requests.count == 1 && server.requests[0].timeouts == nil)
    }

    @Test func cancellationEndsBoth() async throws {
        let server = RacingServer { _ in .silent }
        let store = try store(server)
        let call = Task { await get(store) }
        while server.requests.count < 2 { await Task.yield() }
        call.cancel()
        #expect(await call.value == .cancelled)
        #expect(server.cancelledCount == 2)
    }
}
