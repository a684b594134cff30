// Retries, and what a store learns from refusals: region, clock, keys.

import Base
import HTTPTransport
import MemoryStore
import ObjectModel
import S3Protocol
import Testing

@testable import ObjectStore

@Suite(.timeLimit(.minutes(3)))
struct S3RetryTests {
    let key = ObjectKey("a")!
    static let ok = ScriptedServer.Reply.object("", etag: "e")
    static let emptyList = ScriptedServer.Reply.answer(
        200, body: "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>")

    @Test(arguments: [
        ScriptedServer.Reply.error(500, "InternalError"), .error(503, "SlowDown"), .answer(502), .answer(504),
        .answer(429), .error(400, "RequestTimeout"), .failure(.receiveFailed), .failure(.sendFailed),
        .failure(.timedOut(.stall)), .failure(.connect, mayHaveReached: false),
        .failure(.resolve, mayHaveReached: false),
    ])
    func isRetried(_ reply: ScriptedServer.Reply) async throws {
        let server = ScriptedServer(reply, reply, Self.emptyList)
        _ = try await server.store().list(ListRequest(prefix: "", delimited: true))
        #expect(server.seen.count == 3)
    }

    @Test(arguments: [
        (ScriptedServer.Reply.answer(404), StoreError.Kind.notFound), (.answer(403), .accessDenied),
        (.answer(401), .badCredentials), (.answer(501), .unsupported), (.answer(405), .unsupported),
        (.failure(.responseTooLarge), .malformedResponse), (.failure(.cancelled), .cancelled),
        (.failure(.invalidRequest), .invalidRequest),
    ])
    func isNotRetried(_ reply: ScriptedServer.Reply, _ kind: StoreError.Kind) async throws {
        let server = ScriptedServer(reply)
        let store = try server.store()
        #expect(await failureKind { () throws(StoreError) in try await store.head(key) } == kind)
        #expect(server.seen.count == 1)
    }

    @Test(arguments: [
        ("AccessDenied", 403, StoreError.Kind.accessDenied), ("InvalidAccessKeyId", 403, .badCredentials),
        ("SignatureDoesNotMatch", 403, .badCredentials), ("ExpiredToken", 400, .expiredCredentials),
        ("NoSuchBucket", 404, .bucketNotFound), ("QuotaExceeded", 403, .quotaExceeded),
        ("EntityTooLarge", 400, .tooLarge), ("KMS.DisabledException", 400, .accessDenied),
        ("SomethingNew", 400, .invalidRequest), ("SomethingNew", 403, .accessDenied),
        ("NotImplemented", 501, .unsupported),
    ])
    func codesBecomeKinds(_ code: String, _ status: Int, _ kind: StoreError.Kind) async throws {
        let server = ScriptedServer(.error(status, code, ["x-amz-request-id": "r7"]))
        let store = try server.store()
        do throws(StoreError) {
            _ = try await store.list(ListRequest(prefix: "", delimited: true))
            Issue.record("success")
        } catch {
            #expect(error.kind == kind && error.code == code && error.httpStatus == status && error.requestID == "r7")
            #expect(error.operation == "ListObjectsV2")
        }
    }

    @Test func givesUpAfterTheLastAttempt() async throws {
        let server = ScriptedServer(
            .error(500, "InternalError"), .error(500, "InternalError"), .error(500, "InternalError"))
        let store = try server.store(retry: RetryPolicy(attemptsMax: 3))
        #expect(await failureKind { () throws(StoreError) in try await store.head(key) } == .serverFault)
        #expect(server.seen.count == 3)
    }

    @Test func unreachableIsGivenUpSoon() async throws {
        let down = ScriptedServer.Reply.failure(.connect, mayHaveReached: false)
        let server = ScriptedServer(down, down, down, down, down, down, down, down)
        let store = try server.store()
        let start = server.time.monotonicNanoseconds
        #expect(await failureKind { () throws(StoreError) in try await store.head(key) } == .unreachable)
        #expect(server.time.monotonicNanoseconds - start <= 6_000_000_000)
    }

    @Test func retryAfterIsObeyed() async throws {
        let server = ScriptedServer(.error(503, "SlowDown", ["Retry-After": "20"]), Self.ok)
        let start = server.time.monotonicNanoseconds
        _ = try await server.store().head(key)
        #expect(server.time.monotonicNanoseconds - start >= 20_000_000_000)
    }

    @Test func clockIsCorrected() async throws {
        // The simulated clock stands at 2023-11-14; the server's is two hours ahead.
        let server = ScriptedServer(
            .error(403, "RequestTimeTooSkewed", ["Date": "Wed, 15 Nov 2023 00:13:20 GMT"]), Self.emptyList, Self.ok)
        let store = try server.store()
        _ = try await store.list(ListRequest(prefix: "", delimited: true))
        _ = try await store.head(key)
        #expect(server.seen.map { $0["x-amz-date"] } == ["20231114T221320Z", "20231115T001320Z", "20231115T001320Z"])
    }

    @Test func clockIsCorrectedForHeadWithoutACode() async throws {
        let server = ScriptedServer(.answer(403, ["Date": "Wed, 15 Nov 2023 00:13:20 GMT"]), Self.ok)
        _ = try await server.store().head(key)
        #expect(server.seen[1]["x-amz-date"] == "20231115T001320Z")
    }

    @Test func hopelessClockDoesNotLoop() async throws {
        let skewed = ScriptedServer.Reply.error(
            403, "RequestTimeTooSkewed", ["Date": "Wed, 15 Nov 2023 00:13:20 GMT"])
        let server = ScriptedServer(skewed, skewed)
        let store = try server.store()
        let kind = await failureKind { () throws(StoreError) in
            try await store.list(ListRequest(prefix: "", delimited: true))
        }
        #expect(kind == .badCredentials)
    }

    @Test func regionFollowsTheServer() async throws {
        let server = ScriptedServer(
            .answer(
                400, body: "<Error><Code>AuthorizationHeaderMalformed</Code><Region>eu-west-1</Region></Error>"),
            Self.emptyList)
        let store = try server.store()
        _ = try await store.list(ListRequest(prefix: "", delimited: true))
        #expect(store.region == "eu-west-1")
        #expect(server.seen[1]["Authorization"]?.contains("/eu-west-1/s3/") == true)
    }

    @Test func redirectMovesTheEndpointOnAWS() async throws {
        let server = ScriptedServer(.answer(301, ["x-amz-bucket-region": "ap-south-1"]), Self.ok)
        let store = try server.store { $0.endpoint = Endpoint.aws(region: "us-east-1") }
        _ = try await store.head(key)
        #expect(
            server.seen.map(\.request.url) == [
                "https://bucket.s3.us-east-1.amazonaws.com/a", "https://bucket.s3.ap-south-1.amazonaws.com/a",
            ])
        #expect(store.region == "ap-south-1")
    }

    @Test func temporaryRedirectNamesAHost() async throws {
        let body = "<Error><Code>TemporaryRedirect</Code><Endpoint>bucket.s3-us-west-2.amazonaws.com</Endpoint></Error>"
        let server = ScriptedServer(.answer(307, body: body), Self.emptyList)
        let store = try server.store { $0.endpoint = Endpoint.aws(region: "us-east-1") }
        _ = try await store.list(ListRequest(prefix: "", delimited: true))
        #expect(store.region == "us-west-2")
    }

    @Test(arguments: ["evil.example", "http://evil.example/", ""])
    func redirectsElsewhereAreNotFollowed(_ endpoint: String) async throws {
        let body = "<Error><Code>TemporaryRedirect</Code><Endpoint>\(endpoint)</Endpoint></Error>"
        let server = ScriptedServer(.answer(307, body: body))
        let store = try server.store { $0.endpoint = Endpoint.aws(region: "us-east-1") }
        let kind = await failureKind { () throws(StoreError) in
            try await store.list(ListRequest(prefix: "", delimited: true))
        }
        #expect(kind == .invalidRequest)
        #expect(server.seen.count == 1)
    }

    @Test func regionsThatPointAtEachOtherEnd() async throws {
        let server = ScriptedServer(
            .answer(301, ["x-amz-bucket-region": "a-1"]), .answer(301, ["x-amz-bucket-region": "b-1"]),
            .answer(301, ["x-amz-bucket-region": "a-1"]))
        let store = try server.store()
        #expect(await failureKind { () throws(StoreError) in try await store.head(key) } == .invalidRequest)
    }

    /// A source whose second answer is fresh.
    final class Renewing: CredentialSource {
        private let isRenewed = Lock(false)

        func credentials() async throws(CredentialError) -> AWSCredentials? {
            let token = isRenewed.withLock { $0 } ? "new" : "old"
            return AWSCredentials(accessKeyID: "AKID", secretAccessKey: "s", sessionToken: token)
        }

        func reject(_ credentials: AWSCredentials) async {
            #expect(credentials.sessionToken == "old")
            isRenewed.withLock { $0 = true }
        }
    }

    @Test(arguments: [ScriptedServer.Reply.error(400, "ExpiredToken"), .answer(400), .answer(403)])
    func expiredKeysAreRenewed(_ reply: ScriptedServer.Reply) async throws {
        let server = ScriptedServer(reply, Self.ok)
        _ = try await server.store(credentials: Renewing()).head(key)
        #expect(server.seen.map { $0["x-amz-security-token"] } == ["old", "new"])
    }

    @Test func headWithoutAReasonAsksForOne() async throws {
        let server = ScriptedServer(.answer(400), .error(400, "ExpiredToken"))
        let store = try server.store()
        #expect(await failureKind { () throws(StoreError) in try await store.head(key) } == .expiredCredentials)
        #expect(server.lines == ["HEAD /bucket/a", "GET /bucket/a"])
    }

    @Test func missingCredentials() async throws {
        struct Missing: CredentialSource {
            func credentials() async throws(CredentialError) -> AWSCredentials? {
                throw CredentialError(.notFound, message: "looked everywhere")
            }
        }
        let store = try ScriptedServer().store(credentials: Missing())
        #expect(await failureKind { () throws(StoreError) in try await store.head(key) } == .badCredentials)
    }

    @Test func anonymousRequestsAreUnsigned() async throws {
        let server = ScriptedServer(Self.ok)
        _ = try await server.store(credentials: FixedCredentials(nil)).head(key)
        #expect(server.seen[0]["Authorization"] == nil && server.seen[0]["x-amz-date"] == nil)
    }

    @Test func cancelledTaskEndsSoon() async throws {
        let server = ScriptedServer()
        let store = try server.store()
        let key = key
        let task = Task {
            withUnsafeCurrentTask { $0?.cancel() }
            return await failureKind { () throws(StoreError) in try await store.head(key) }
        }
        #expect(await task.value == .cancelled)
    }

    @Test func everyRequestIsReported() async throws {
        let records = Lock([S3RequestRecord]())
        let server = ScriptedServer(
            .failure(.receiveFailed), .error(500, "InternalError", ["x-amz-request-id": "r1"]), .answer(404))
        let store = try server.store(onRequest: { record in records.withLock { $0.append(record) } })
        _ = try? await store.head(key)
        let seen = records.withLock { $0 }
        #expect(seen.map(\.attempt) == [1, 2, 3])
        #expect(seen.map(\.status) == [nil, 500, 404])
        #expect(seen.allSatisfy { $0.operation == .headObject && $0.key == key })
        let counters = try #require(store.counters.operations[.headObject])
        #expect(counters.requestCount == 3 && counters.retryCount == 2 && counters.failureCount == 2)
    }

    @Test func listing() async throws {
        let server = ScriptedServer(
            .answer(
                200,
                body: """
                    <ListBucketResult><EncodingType>url</EncodingType><IsTruncated>true</IsTruncated>
                    <NextContinuationToken>t</NextContinuationToken><Contents><Key>p%2Fa+b</Key><Size>1</Size>
                    <LastModified>2013-05-24T00:00:00Z</LastModified><ETag>"e"</ETag></Contents></ListBucketResult>
                    """), Self.emptyList)
        let store = try server.store()
        let page = try await store.list(ListRequest(prefix: "p/", delimited: true))
        #expect(page.objects.map(\.key.string) == ["p/a b"] && page.continuation == "t")
        _ = try await store.list(ListRequest(prefix: "p/", delimited: true, continuation: page.continuation))
        #expect(server.lines[1].contains("continuation-token=t"))
    }

    @Test func garbageIsMalformed() async throws {
        let server = ScriptedServer(.answer(200, body: "<html>portal</html>"), .answer(200))
        let store = try server.store()
        let list = await failureKind { () throws(StoreError) in
            try await store.list(ListRequest(prefix: "", delimited: true))
        }
        #expect(list == .malformedResponse)
        #expect(await failureKind { () throws(StoreError) in try await store.head(key) } == .malformedResponse)
    }
}
