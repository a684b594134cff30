// Connections are kept, bounded and replaced; requests wait for them, and can be given up at any point.

import Base
import HTTPTransport
import Testing

@Suite(.timeLimit(.minutes(3)))
struct PoolTests {
    let server = FaultServer()

    private func transport(loops: Int = 1, connections: Int) -> HTTPTransport {
        HTTPTransport(configuration: HTTPConfiguration(loopCount: loops, connectionsMax: connections))
    }

    @Test func connectionIsKept() async throws {
        let transport = transport(connections: 4)
        for index in 0..<20 {
            let response = try await transport.send(HTTPRequest(method: .get, url: server.url("/bytes/100")))
            #expect(response.metrics.isConnectionReused == (index > 0))
        }
        #expect(server.current.connections == 1)
        #expect(server.current.requests == 20)
    }

    @Test func connectionClosedByTheServerIsReplaced() async throws {
        let transport = transport(connections: 4)
        for _ in 0..<5 {
            let response = try await transport.send(HTTPRequest(method: .get, url: server.url("/close")))
            #expect(response.body == Array("ok".utf8))
            #expect(!response.metrics.isConnectionReused)
        }
        #expect(server.current.connections == 5)
    }

    /// The kept connection is closed just as the next request uses it: curl begins anew, body included.
    @Test(arguments: [0, 100, 3_000_000])
    func staleConnectionIsRetried(byteCount: Int) async throws {
        let transport = transport(connections: 4)
        _ = try await transport.send(HTTPRequest(method: .get, url: server.url("/once")))
        let source = PatternSource(byteCount: byteCount)
        let response = try await transport.send(HTTPRequest(method: .put, url: server.url("/take")), body: source)
        #expect(response.body == Array("pattern".utf8))
        #expect(response.metrics.sendCount == 2)
        #expect(!response.metrics.isConnectionReused)
        #expect(server.current.bodyBytes == byteCount)
    }

    @Test(arguments: [1, 2])
    func manyRequestsShareFewConnections(loops: Int) async throws {
        let transport = transport(loops: loops, connections: 16)
        let statuses = try await withThrowingTaskGroup(of: Bool.self) { group in
            for index in 0..<300 {
                group.addTask {
                    let sink = PatternSink()
                    let request = HTTPRequest(method: .get, url: server.url("/bytes/\(index * 997)"))
                    _ = try await transport.send(request, sink: sink)
                    return sink.seen.isPattern && sink.seen.byteCount == index * 997
                }
            }
            return try await group.reduce(into: [Bool]()) { $0.append($1) }
        }
        #expect(statuses.count == 300)
        #expect(statuses.allSatisfy { $0 })
        #expect(server.current.openConnectionsMax <= 16)
        #expect(server.current.openConnectionsMax > loops)
        #expect(server.current.requests == 300)
    }

    @Test func allConnectionsAreUsed() async throws {
        let transport = transport(loops: 2, connections: 6)
        try await withThrowingTaskGroup(of: Void.self) { group in
            for _ in 0..<12 {
                group.addTask {
                    _ = try await transport.send(HTTPRequest(method: .get, url: server.url("/gate")))
                }
            }
            await server.arrivalsAtGate(6)
            #expect(server.current.requests == 6)
            server.openGate()
            try await group.waitForAll()
        }
        #expect(server.current.requests == 12)
        #expect(server.current.openConnectionsMax == 6)
    }

    @Test func newConnectionWhereAskedFor() async throws {
        let transport = transport(connections: 4)
        var request = HTTPRequest(method: .get, url: server.url("/bytes/1"))
        _ = try await transport.send(request)
        request.isOnNewConnection = true
        #expect(try await transport.send(request).metrics.isConnectionReused == false)
        request.isOnNewConnection = false
        #expect(try await transport.send(request).metrics.isConnectionReused == true)
    }

    @Test func urgentRequestsGoFirst() async throws {
        let transport = transport(connections: 1)
        let order = Lock([Int]())
        let server = server
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { _ = try await transport.send(HTTPRequest(method: .get, url: server.url("/gate"))) }
            await server.arrivalsAtGate(1)
            for index in 1...4 {
                let isSubmitted = OneShot<Void>()
                group.addTask {
                    var request = HTTPRequest(method: .get, url: server.url("/bytes/\(index)"))
                    request.isUrgent = index == 4
                    isSubmitted.set(())
                    let count = try await transport.send(request).body.count
                    order.withLock { $0.append(count) }
                }
                await isSubmitted.wait()
            }
            // All have been submitted when the last one is refused: its limit is the shortest.
            let limit = HTTPTimeouts(totalMilliseconds: 300)
            let late = HTTPRequest(method: .get, url: server.url("/bytes/9"), timeouts: limit)
            await #expect(throws: HTTPError.self) { try await transport.send(late) }
            server.openGate()
            try await group.waitForAll()
        }
        let first = order.withLock { $0.first }
        #expect(first == 4)
    }

    @Test func longPausesAreMeasured() async throws {
        let transport = transport(connections: 1)
        let slow = try await transport.send(HTTPRequest(method: .get, url: server.url("/slow/3/500")))
        #expect(slow.metrics.longestPauseNanoseconds >= 300_000_000)
        let fast = try await transport.send(HTTPRequest(method: .get, url: server.url("/bytes/1000")))
        #expect(fast.metrics.longestPauseNanoseconds < 300_000_000)
    }

    @Test func waitingCountsForTheTotalLimit() async throws {
        let transport = transport(connections: 1)
        let url = server.url("/gate")
        let first = Task { try await transport.send(HTTPRequest(method: .get, url: url)) }
        await server.arrivalsAtGate(1)
        let timeouts = HTTPTimeouts(connectMilliseconds: 100, totalMilliseconds: 300)
        let error = await #expect(throws: HTTPError.self) {
            try await transport.send(HTTPRequest(method: .get, url: url, timeouts: timeouts))
        }
        #expect(error?.kind == .timedOut(.total))
        #expect(error?.mayHaveReachedServer == false)
        server.openGate()
        #expect(try await first.value.status == 200)
    }
}

@Suite(.timeLimit(.minutes(3)))
struct EndingTests {
    let server = FaultServer()
    let transport = HTTPTransport(configuration: HTTPConfiguration(connectionsMax: 1))

    private func kind(_ task: Task<HTTPResponse, any Error>) async -> HTTPError.Kind? {
        guard case .failure(let error) = await task.result else { return nil }
        return (error as? HTTPError)?.kind
    }

    @Test func cancelledInTheBody() async throws {
        let sink = PatternSink()
        let url = server.url("/slow/1000000/1")
        let task = Task { try await transport.send(HTTPRequest(method: .get, url: url), sink: sink) }
        await sink.firstByte()
        task.cancel()
        #expect(await kind(task) == .cancelled)
        let seen = sink.seen.byteCount
        // The connection is free for others, and the sink is left alone meanwhile.
        _ = try await transport.send(HTTPRequest(method: .get, url: server.url("/slow/20/5")))
        #expect(sink.seen.byteCount == seen)
    }

    @Test func abandonedBodyEndsTheRequest() async throws {
        final class Abandoning: HTTPResponseSink {
            let bytes = Lock(0)
            func begin(_ head: HTTPResponseHead) -> Bool { true }
            func receive(_ piece: UnsafeRawBufferPointer) { bytes.withLock { $0 += piece.count } }
            var isAbandoned: Bool { bytes.withLock { $0 } > 0 }
        }
        let sink = Abandoning()
        let error = await #expect(throws: HTTPError.self) {
            try await transport.send(HTTPRequest(method: .get, url: server.url("/slow/1000000/1")), sink: sink)
        }
        #expect(error?.kind == .cancelled)
        _ = try await transport.send(HTTPRequest(method: .get, url: server.url("/bytes/1")))
    }

    @Test func cancelledInTheUpload() async throws {
        let source = PatternSource(byteCount: 1 << 30)
        let url = server.url("/gate")
        let task = Task { try await transport.send(HTTPRequest(method: .put, url: url), body: source) }
        await server.arrivalsAtGate(1)
        task.cancel()
        #expect(await kind(task) == .cancelled)
        let reads = source.reads
        server.openGate()
        _ = try await transport.send(HTTPRequest(method: .get, url: server.url("/bytes/1")))
        #expect(source.reads == reads)
    }

    @Test func cancelledWhileWaiting() async throws {
        let url = server.url("/gate")
        let first = Task { try await transport.send(HTTPRequest(method: .get, url: url)) }
        await server.arrivalsAtGate(1)
        let second = Task { try await transport.send(HTTPRequest(method: .get, url: url)) }
        second.cancel()
        #expect(await kind(second) == .cancelled)
        server.openGate()
        #expect(try await first.value.status == 200)
        #expect(server.current.requests == 1)
    }

    @Test func cancelledBefore() async throws {
        let url = server.url("/bytes/1")
        let task = Task {
            withUnsafeCurrentTask { $0?.cancel() }
            return try await transport.send(HTTPRequest(method: .get, url: url))
        }
        #expect(await kind(task) == .cancelled)
        #expect(server.current.connections == 0)
    }

    /// Cancellation at any moment: every request ends, and the transport works afterwards.
    @Test func cancelledAtRandom() async throws {
        let transport = HTTPTransport(configuration: HTTPConfiguration(loopCount: 2, connectionsMax: 8))
        var random = SystemRandomNumberGenerator()
        var ended = 0
        for _ in 0..<10 {
            let tasks = (0..<40).map { index in
                Task { try await transport.send(HTTPRequest(method: .get, url: server.url("/bytes/\(index * 5000)"))) }
            }
            for task in tasks.shuffled(using: &random) {
                task.cancel()
                await Task.yield()
            }
            for task in tasks {
                let kind = await kind(task)
                if kind == nil || kind == .cancelled { ended += 1 }
            }
        }
        #expect(ended == 400)
        #expect(try await transport.send(HTTPRequest(method: .get, url: server.url("/bytes/7"))).body.count == 7)
    }

    @Test func shutdownEndsEverything() async throws {
        defer { server.openGate() }
        let url = server.url("/gate")
        let running = Task { try await transport.send(HTTPRequest(method: .get, url: url)) }
        await server.arrivalsAtGate(1)
        let waiting = Task { try await transport.send(HTTPRequest(method: .get, url: url)) }
        transport.shutdown()
        transport.shutdown()
        #expect(await kind(running) == .shutDown)
        #expect(await kind(waiting) == .shutDown)
        let late = await #expect(throws: HTTPError.self) {
            try await transport.send(HTTPRequest(method: .get, url: url))
        }
        #expect(late?.kind == .shutDown)
    }
}
