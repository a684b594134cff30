// GET over broken connections, and answers that are not what was asked for.

import Base
import HTTPTransport
import MemoryStore
import ObjectModel
import S3Protocol
import Testing

@testable import ObjectStore

@Suite(.timeLimit(.minutes(3)))
struct S3GetTests {
    let key = ObjectKey("a")!
    let sink = CollectingSink()
    let text = "0123456789"

    func get(
        _ server: ScriptedServer, etag: String? = nil, range: ByteRange? = nil
    ) async throws -> Result<ObjectInfo, StoreError> {
        let store = try server.store()
        let result: Result<ObjectInfo, StoreError>
        do throws(StoreError) {
            let request = GetRequest(key: key, etag: etag.flatMap { ETag($0) }, range: range)
            result = .success(try await store.get(request, into: sink))
        } catch {
            result = .failure(error)
        }
        sink.end()
        #expect(sink.breaches == [])
        #expect(server.remainingCount == 0)
        return result
    }

    @Test func whole() async throws {
        let server = ScriptedServer(.object(text, etag: "e"))
        #expect(try await get(server).get().version.byteCount == 10)
        #expect(sink.bytes == Array(text.utf8) && sink.range == ByteRange(0, 10))
        #expect(server.lines == ["GET /bucket/a"])
        #expect(server.seen[0]["If-Match"] == nil && server.seen[0]["Authorization"] != nil)
    }

    @Test func rangeIsCutAtTheEnd() async throws {
        let server = ScriptedServer(.object(text, etag: "e", range: 8..<10))
        _ = try await get(server, etag: "e", range: ByteRange(8, 100)).get()
        #expect(sink.bytes == Array("89".utf8) && sink.range == ByteRange(8, 10))
        #expect(server.seen[0]["Range"] == "bytes=8-99" && server.seen[0]["If-Match"] == "\"e\"")
    }

    @Test func emptyObject() async throws {
        let server = ScriptedServer(.object("", etag: "e"))
        #expect(try await get(server).get().version.byteCount == 0)
        #expect(sink.range == ByteRange(0, 0))
    }

    @Test func resumesWhereTheBodyBroke() async throws {
        let server = ScriptedServer(
            .cutObject(text, etag: "e", afterBytes: 4), .failure(.connect, mayHaveReached: false),
            .error(503, "SlowDown"), .cutObject(text, etag: "e", range: 4..<10, afterBytes: 1),
            .object(text, etag: "e", range: 5..<10))
        #expect(try await get(server).get().version.etag == ETag("e"))
        #expect(sink.bytes == Array(text.utf8))
        #expect(server.seen.map { $0["Range"] } == [nil, "bytes=4-9", "bytes=4-9", "bytes=4-9", "bytes=5-9"])
        #expect(server.seen.dropFirst().allSatisfy { $0["If-Match"] == "\"e\"" })
    }

    @Test func resumesWithinARange() async throws {
        let server = ScriptedServer(
            .cutObject(text, etag: "e", range: 2..<8, afterBytes: 3), .object(text, etag: "e", range: 5..<8))
        _ = try await get(server, range: ByteRange(2, 8)).get()
        #expect(sink.bytes == Array("234567".utf8))
        #expect(server.seen[1]["Range"] == "bytes=5-7")
    }

    @Test func breakAfterTheLastByteIsSuccess() async throws {
        let server = ScriptedServer(.cutObject(text, etag: "e", afterBytes: 10))
        #expect(try await get(server).get().version.byteCount == 10)
        #expect(sink.bytes == Array(text.utf8))
    }

    @Test func progressRenewsThePatience() async throws {
        let long = String(repeating: "x", count: 30)
        let server = ScriptedServer(
            .cutObject(long, etag: "e", afterBytes: 1), .cutObject(long, etag: "e", range: 1..<30, afterBytes: 1),
            .cutObject(long, etag: "e", range: 2..<30, afterBytes: 1),
            .cutObject(long, etag: "e", range: 3..<30, afterBytes: 1), .object(long, etag: "e", range: 4..<30))
        let store = try server.store(retry: RetryPolicy(attemptsMax: 2))
        _ = try await store.get(GetRequest(key: key, etag: nil, range: nil), into: sink)
        #expect(sink.bytes.count == 30)
    }

    @Test func changeInTheMiddle() async throws {
        let server = ScriptedServer(.cutObject(text, etag: "e", afterBytes: 4), .error(412, "PreconditionFailed"))
        let result = try await get(server)
        #expect(throws: StoreError.self) { try result.get() }
        if case .failure(let error) = result { #expect(error.kind == .preconditionFailed) }
        #expect(sink.bytes == Array("0123".utf8))
    }

    /// Answers of success that must not reach the sink.
    @Test(arguments: [
        (ScriptedServer.Reply.object("0123456789", etag: "other", range: 2..<5), StoreError.Kind.preconditionFailed),
        (.object("0123456789", etag: "e"), .malformedResponse),
        (.object("0123456789", etag: "e", range: 3..<5), .malformedResponse),
        (.object("0123456789", etag: "e", range: 2..<4), .malformedResponse),
        (.object("0123456789", etag: "e", range: 2..<5, headers: ["Content-Length": "4"]), .malformedResponse),
        (.object("0123456789", etag: "e", range: 2..<5, headers: ["Content-Range": "junk"]), .malformedResponse),
        (.object("0123456789", etag: "", range: 2..<5), .malformedResponse),
        (.object("01", etag: "e", range: 0..<2), .malformedResponse),
        (.error(416, "InvalidRange"), .invalidRange),
        (.error(404, "NoSuchKey"), .notFound),
        (.error(404, "NoSuchBucket"), .bucketNotFound),
        (.error(403, "InvalidObjectState"), .archived),
        (.error(403, "AccessDenied"), .accessDenied),
    ])
    func wrongAnswers(_ reply: ScriptedServer.Reply, _ kind: StoreError.Kind) async throws {
        let server = ScriptedServer(reply)
        let result = try await get(server, etag: "e", range: ByteRange(2, 5))
        if case .failure(let error) = result {
            #expect(error.kind == kind, "\(error)")
        } else {
            Issue.record("success")
        }
        #expect(sink.bytes.isEmpty && sink.info == nil)
    }

    @Test func wrongAnswerToTheRest() async throws {
        let server = ScriptedServer(
            .cutObject(text, etag: "e", afterBytes: 4), .object("01234567", etag: "e", range: 4..<8))
        let result = try await get(server)
        if case .failure(let error) = result {
            #expect(error.kind == .malformedResponse)
        } else {
            Issue.record("success")
        }
        #expect(sink.bytes == Array("0123".utf8))
    }

    @Test func bodyShorterOrLongerThanAnnounced() async throws {
        let short = ScriptedServer(
            .object("0123", etag: "e", headers: ["Content-Range": "bytes 0-9/10", "Content-Length": "4"]))
        if case .failure(let error) = try await get(short) { #expect(error.kind == .malformedResponse) }
        let long = ScriptedServer(
            .answer(
                206,
                [
                    "ETag": "\"e\"", "Last-Modified": "Fri, 24 May 2013 00:00:00 GMT",
                    "Content-Range": "bytes 0-1/2",
                ], body: "0123"))
        let sink = CollectingSink()
        let store = try long.store()
        let kind = await failureKind { () throws(StoreError) in
            try await store.get(GetRequest(key: key, etag: nil, range: ByteRange(0, 2)), into: sink)
        }
        #expect(kind == .malformedResponse)
        #expect(sink.bytes.count <= 2 && sink.breaches == [])
    }

    @Test func emptyRangeIsRefusedWithoutARequest() async throws {
        let server = ScriptedServer()
        let result = try await get(server, range: ByteRange(3, 3))
        if case .failure(let error) = result { #expect(error.kind == .invalidRequest) } else { Issue.record("success") }
    }
}
