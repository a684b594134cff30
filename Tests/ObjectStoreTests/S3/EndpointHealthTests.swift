// When a server counts as down, by tables and on scripted answers.

import Base
import HTTPTransport
import MemoryStore
import ObjectModel
import S3Protocol
import Testing

@testable import ObjectStore

@Suite(.timeLimit(.minutes(3)))
struct EndpointHealthTests {
    enum Event: Sendable {
        case answered(UInt64)
        case failed(began: UInt64)
    }

    static let histories: [([Event], UInt64?)] = [
        ([], nil),
        ([.failed(began: 5)], 5),
        ([.answered(3), .failed(began: 5)], 5),
        ([.answered(5), .failed(began: 5)], nil),
        ([.answered(7), .failed(began: 5)], nil),
        ([.failed(began: 5), .failed(began: 2)], 5),
        ([.failed(began: 5), .answered(9)], nil),
        ([.failed(began: 5), .answered(9), .failed(began: 8)], nil),
        ([.failed(began: 5), .answered(9), .failed(began: 10)], 10),
    ]

    @Test(arguments: histories)
    func isDownSince(_ events: [Event], _ since: UInt64?) {
        var health = EndpointHealth()
        for event in events {
            switch event {
            case .answered(let now): _ = health.answered(now: now)
            case .failed(let began): _ = health.failed(began: began, kind: .timedOut, message: "")
            }
        }
        #expect(health.outage?.sinceNanoseconds == since)
        #expect(health.admit() == (since == nil ? .go : .probe(isPatient: false)))
    }

    @Test func changesAreToldOnce() {
        var health = EndpointHealth()
        #expect(health.answered(now: 1) == nil)
        let outage = EndpointHealth.Outage(sinceNanoseconds: 5, kind: .timedOut, message: "m")
        #expect(health.failed(began: 5, kind: .timedOut, message: "m") == .wentDown(outage))
        #expect(health.failed(began: 6, kind: .unreachable, message: "n") == nil)
        #expect(health.outage?.message == "n" && health.outage?.kind == .unreachable)
        #expect(health.answered(now: 25) == .cameBack(afterNanoseconds: 20))
        #expect(health.answered(now: 26) == nil)
    }

    @Test func oneProbeAtATimeAndEveryFourthIsPatient() {
        var health = EndpointHealth()
        _ = health.failed(began: 5, kind: .timedOut, message: "")
        var patient: [Bool] = []
        for _ in 0..<9 {
            guard case .probe(let isPatient) = health.admit() else {
                Issue.record("no probe")
                return
            }
            patient.append(isPatient)
            #expect(health.admit() == .join)
            health.probeFailed(kind: .timedOut, message: "")
            health.probeEnded()
        }
        #expect(patient == [false, false, false, true, false, false, false, true, false])
    }

    let key = ObjectKey("a")!
    static let dead = ScriptedServer.Reply.failure(.timedOut(.stall))
    static let ok = ScriptedServer.Reply.object("", etag: "e")

    @Test func aCallOnADeadServerIsOneProbe() async throws {
        let server = ScriptedServer(Self.dead, Self.dead, Self.dead, Self.dead)
        let store = try server.store(retry: RetryPolicy(attemptsMax: 2))
        let key = key
        #expect(await failureKind { () throws(StoreError) in try await store.head(key) } == .timedOut)
        #expect(!store.reachability.isReachable)
        for _ in 0..<2 {
            #expect(await failureKind { () throws(StoreError) in try await store.head(key) } == .timedOut)
        }
        #expect(server.lines == ["HEAD /bucket/a", "HEAD /bucket/a", "HEAD /bucket", "HEAD /bucket"])
        #expect(server.seen[2].request.timeouts == store.configuration.probeTimeouts)
    }

    @Test(arguments: [ScriptedServer.Reply.answer(200), .answer(403), .answer(503)])
    func anyAnswerBringsItBack(_ answer: ScriptedServer.Reply) async throws {
        let server = ScriptedServer(Self.dead, answer, Self.ok)
        let store = try server.store(retry: .never)
        let key = key
        #expect(await failureKind { () throws(StoreError) in try await store.head(key) } == .timedOut)
        _ = try await store.head(key)
        #expect(store.reachability == .reachable)
        #expect(server.lines == ["HEAD /bucket/a", "HEAD /bucket", "HEAD /bucket/a"])
        #expect(server.seen[2].request.timeouts != store.configuration.probeTimeouts)
    }

    @Test func refusalsAreAnswers() async throws {
        let server = ScriptedServer(.error(503, "SlowDown"), .error(503, "SlowDown"), Self.dead)
        let store = try server.store(retry: RetryPolicy(attemptsMax: 3))
        let key = key
        #expect(await failureKind { () throws(StoreError) in try await store.head(key) } == .timedOut)
        #expect(store.reachability == .reachable, "it answered during the call")
    }

    /// Holds the probe until told, and counts what is asked.
    final class HeldServer: HTTPSending {
        let probeSeen = OneShot<Void>()
        let answer = OneShot<Bool>()
        private let state = Lock((isDead: true, count: 0))

        var count: Int { state.withLock { $0.count } }

        func send(
            _ request: HTTPRequest, body: (any HTTPBodySource)?, sink: (any HTTPResponseSink)?
        ) async throws(HTTPError) -> HTTPResponse {
            var isDead = state.withLock { state in
                state.count += 1
                return state.isDead
            }
            if request.url.hasSuffix("/bucket") {
                probeSeen.set(())
                isDead = await !answer.wait()
                state.withLock { [isDead] in $0.isDead = isDead }
            }
            if isDead { throw HTTPError(.timedOut(.stall), message: "scripted", mayHaveReachedServer: true) }
            let fields = ["ETag": "\"e\"", "Content-Length": "0", "Last-Modified": "Fri, 24 May 2013 00:00:00 GMT"]
            return HTTPResponse(head: HTTPResponseHead(status: 200, headers: fields.map { ($0.key, $0.value) }))
        }
    }

    func downStore(on server: HeldServer) async throws -> S3Store {
        var configuration = S3StoreConfiguration(bucket: "bucket", endpoint: try Endpoint(parsing: "http://s3.test"))
        configuration.retry = .never
        let store = S3Store(
            configuration: configuration, transport: server, credentials: FixedCredentials(nil), time: SimulatedTime())
        let key = key
        #expect(await failureKind { () throws(StoreError) in try await store.head(key) } == .timedOut)
        return store
    }

    @Test(arguments: [true, false])
    func callsShareAProbe(_ isBack: Bool) async throws {
        let server = HeldServer()
        let store = try await downStore(on: server)
        let key = key
        let calls = (0..<10).map { _ in
            Task { await failureKind { () throws(StoreError) in try await store.head(key) } }
        }
        await server.probeSeen.wait()
        server.answer.set(isBack)
        for call in calls { #expect(await call.value == (isBack ? nil : .timedOut)) }
        // The dead one, and then: one probe and ten calls; or probes alone, one for all who came while it ran.
        #expect(isBack ? server.count == 12 : server.count <= 11)
        #expect(store.reachability.isReachable == isBack)
    }

    @Test func requestsUnderWayAreTold() async throws {
        let server = HeldServer()
        let store = try await downStore(on: server)
        #expect(store.requestsUnderWay.isEmpty)
        let key = key
        let call = Task { await failureKind { () throws(StoreError) in try await store.head(key) } }
        await server.probeSeen.wait()
        let told = store.requestsUnderWay
        #expect(told.map(\.operation) == [.headBucket] && told.map(\.attempt) == [1])
        server.answer.set(true)
        #expect(await call.value == nil)
        #expect(store.requestsUnderWay.isEmpty)
    }

    @Test func aCancelledWaiterDoesNotWait() async throws {
        let server = HeldServer()
        let store = try await downStore(on: server)
        let key = key
        let prober = Task { await failureKind { () throws(StoreError) in try await store.head(key) } }
        await server.probeSeen.wait()
        let waiter = Task { await failureKind { () throws(StoreError) in try await store.head(key) } }
        waiter.cancel()
        #expect(await waiter.value == .cancelled)
        server.answer.set(true)
        #expect(await prober.value == nil)
    }
}
