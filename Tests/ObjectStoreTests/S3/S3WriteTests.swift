// PUT, conditions, deletion, copies and multipart uploads against scripted answers.

import Base
import HTTPTransport
import MemoryStore
import ObjectModel
import S3Protocol
import Testing

@testable import ObjectStore

@Suite(.timeLimit(.minutes(3)))
struct S3WriteTests {
    typealias Reply = ScriptedServer.Reply

    let key = ObjectKey("a")!
    static let lost = Reply.failure(.receiveFailed)

    func request(_ text: String, _ condition: WriteCondition = .none, metadata: [String: String] = [:]) -> PutRequest {
        PutRequest(
            key: key, body: ByteArraySource(Array(text.utf8)), properties: ObjectProperties(metadata: metadata),
            condition: condition)
    }

    func made(_ etag: String) -> Reply { .answer(200, ["ETag": "\"\(etag)\""]) }

    @Test func putIsSignedAndSummed() async throws {
        let server = ScriptedServer(made(md5("body")))
        let etag = try await server.store().put(request("body", metadata: ["note": "ä"]))
        #expect(etag.value == md5("body"))
        let seen = server.seen[0]
        #expect(seen.body == Array("body".utf8))
        #expect(seen["Content-MD5"] == Base64.encode(Digest.of(Array("body".utf8), .md5)))
        #expect(seen["x-amz-content-sha256"] == Hex.encode(Digest.of(Array("body".utf8), .sha256)))
        #expect(seen["x-amz-meta-note"] == "=?UTF-8?B?w6Q=?=")
    }

    @Test func payloadIsUnsignedOverTLS() async throws {
        let server = ScriptedServer(made(md5("body")), made("x"))
        let store = try server.store { $0.endpoint = Endpoint.aws(region: "us-east-1") }
        _ = try await store.put(request("body"))
        #expect(server.seen[0]["x-amz-content-sha256"] == "UNSIGNED-PAYLOAD")
        #expect(server.seen[0]["Content-MD5"] != nil)
    }

    @Test func newerChecksum() async throws {
        let server = ScriptedServer(
            made(md5("123456789")), .answer(200, ["ETag": "\"e\"", "x-amz-checksum-crc64nvme": "AAAAAAAAAAA="]))
        let store = try server.store { $0.integrity = .crc64NVME }
        _ = try await store.put(request("123456789"))
        #expect(server.seen[0]["x-amz-checksum-crc64nvme"] == "rosUhgp5mIg=" && server.seen[0]["Content-MD5"] == nil)
        #expect(
            await failureKind { () throws(StoreError) in try await store.put(request("123456789")) }
                == .malformedResponse)
    }

    @Test func etagThatIsNoLongerTheMD5() async throws {
        let other = made(md5("something else"))
        let server = ScriptedServer(other, made(md5("body")), other)
        let store = try server.store()
        // Nothing is known of this server's ETags yet.
        _ = try await store.put(request("body"))
        _ = try await store.put(request("body"))
        #expect(
            await failureKind { () throws(StoreError) in try await store.put(request("body")) } == .malformedResponse)
    }

    @Test func brokenSource() async throws {
        final class Broken: BodySource {
            var byteCount: Int { 10 }
            func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int) -> Bool { false }
        }
        let store = try ScriptedServer().store()
        let put = PutRequest(key: key, body: Broken())
        #expect(await failureKind { () throws(StoreError) in try await store.put(put) } == .sourceFailed)
    }

    /// Who shows progress hears of what is sent, not of what is read for the sums ahead of it.
    @Test func bodiesHearWhatIsSent() async throws {
        final class Heard: BodySource {
            let reads = Lock([Int]())
            let sent = Lock([(offset: Int, afterReads: Int)]())
            var byteCount: Int { 4 }
            func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int) -> Bool {
                for index in buffer.indices { buffer[index] = UInt8(ascii: "b") }
                reads.withLock { $0.append(offset) }
                return true
            }
            func noteSent(upTo offset: Int) {
                let count = reads.withLock { $0.count }
                sent.withLock { $0.append((offset, count)) }
            }
        }
        let body = Heard()
        let store = try ScriptedServer(made(md5("bbbb"))).store()
        _ = try await store.put(PutRequest(key: key, body: body))
        let sent = body.sent.withLock { $0 }
        #expect(sent.last?.offset == 4)
        #expect(sent.allSatisfy { $0.afterReads > 1 }, "the first read is for the sums")
    }

    @Test func emptyPut() async throws {
        let server = ScriptedServer(made(md5("")))
        #expect(try await server.store().put(PutRequest(key: key, body: nil)).value == md5(""))
        #expect(server.seen[0]["Content-MD5"] == "1B2M2Y8AsgTpgAmY7PhCfg==")
    }

    // MARK: Conditions

    @Test func conditionsThatWorkCostNoHead() async throws {
        let server = ScriptedServer(made("n1"), made("n2"))
        let store = try server.store()
        _ = try await store.put(request("b", .ifMatch(ETag("old")!)))
        _ = try await store.put(request("b", .ifAbsent))
        #expect(server.lines == ["PUT /bucket/a", "PUT /bucket/a"])
        #expect(server.seen[0]["If-Match"] == "\"old\"" && server.seen[1]["If-None-Match"] == "*")
    }

    @Test func genuineConflicts() async throws {
        let server = ScriptedServer(
            .error(412, "PreconditionFailed"), .object("x", etag: "theirs"),
            .error(412, "PreconditionFailed"), .object("x", etag: "theirs"), .error(404, "NoSuchKey"))
        let store = try server.store()
        for condition in [WriteCondition.ifMatch(ETag("old")!), .ifAbsent, .ifMatch(ETag("old")!)] {
            let kind = await failureKind { () throws(StoreError) in try await store.put(request("b", condition)) }
            #expect(kind == .preconditionFailed)
        }
        #expect(store.capabilities.conditionalPut && server.remainingCount == 0)
    }

    /// RGW 16: the quoted form is refused, the bare one taken; known from then on.
    @Test func serverThatWantsNoQuotes() async throws {
        let server = ScriptedServer(
            .error(412, "PreconditionFailed"), .object("x", etag: "old"), made("n1"), made("n2"))
        let store = try server.store()
        #expect(try await store.put(request("b", .ifMatch(ETag("old")!))) == ETag("n1"))
        _ = try await store.put(request("b", .ifMatch(ETag("n1")!)))
        #expect(server.lines == ["PUT /bucket/a", "HEAD /bucket/a", "PUT /bucket/a", "PUT /bucket/a"])
        #expect(server.seen.map { $0["If-Match"] } == ["\"old\"", nil, "old", "n1"])
        #expect(store.capabilities.conditionalPut)
    }

    @Test func serverThatRefusesBothForms() async throws {
        let no = Reply.error(412, "PreconditionFailed")
        let old = Reply.object("x", etag: "old")
        let server = ScriptedServer(no, old, no, old, no, old, no, old, old, made("n1"))
        let store = try server.store()
        #expect(try await store.put(request("b", .ifMatch(ETag("old")!))) == ETag("n1"))
        #expect(server.seen.last?["If-Match"] == nil)
        #expect(!store.capabilities.conditionalPut)
    }

    /// Another client makes and removes the key between the refusal and the look, as with a lock file: once shows nothing, and of
    /// a server that has done what was asked it shows nothing ever.
    @Test(arguments: [false, true], [false, true])
    func regression_aRefusalThatWasRightOnceIsNoFaultOfTheServer(isIfMatch: Bool, isAccepted: Bool) async throws {
        let condition = isIfMatch ? WriteCondition.ifMatch(ETag("old")!) : .ifAbsent
        let no = Reply.error(412, "PreconditionFailed")
        let holds = isIfMatch ? Reply.object("x", etag: "old") : .answer(404)
        let before = isAccepted ? [made("n0")] : []
        let vain = [no, holds, no, holds, no, holds] + (isAccepted ? [no, holds, no, holds] : [])
        let server = ScriptedServer(before + vain + [made("n1")])
        let store = try server.store()
        if isAccepted { _ = try await store.put(request("b", condition)) }
        #expect(try await store.put(request("b", condition)) == ETag("n1"))
        #expect(server.remainingCount == 0 && store.capabilities.conditionalPut)
        let puts = server.seen.filter { $0.line.hasPrefix("PUT") }
        #expect(puts.allSatisfy { $0[isIfMatch ? "If-Match" : "If-None-Match"] != nil }, "never without condition")
    }

    @Test func serverWithoutConditions() async throws {
        let server = ScriptedServer(
            .error(501, "NotImplemented"), .answer(404), made("n1"), .object("x", etag: "n1"))
        let store = try server.store()
        #expect(try await store.put(request("b", .ifAbsent)) == ETag("n1"))
        #expect(!store.capabilities.conditionalPut)
        // Now by HEAD alone.
        let kind = await failureKind { () throws(StoreError) in try await store.put(request("b", .ifAbsent)) }
        #expect(kind == .preconditionFailed)
        #expect(server.lines == ["PUT /bucket/a", "HEAD /bucket/a", "PUT /bucket/a", "HEAD /bucket/a"])
    }

    /// The first write is sent with a condition that cannot hold, after HEAD has said that it may go.
    @Test func unknownServerThatHonoursIfMatch() async throws {
        let server = ScriptedServer(
            .object("x", etag: "old"), .error(412, "PreconditionFailed"), made("n1"), made("n2"))
        let store = try server.store(conditions: .unknown)
        #expect(try await store.put(request("b", .ifMatch(ETag("old")!))) == ETag("n1"))
        #expect(try await store.put(request("b", .ifMatch(ETag("n1")!))) == ETag("n2"))
        #expect(server.lines == ["HEAD /bucket/a", "PUT /bucket/a", "PUT /bucket/a", "PUT /bucket/a"])
        #expect(server.seen.map { $0["If-Match"] } == [nil, S3Store.impossibleETag.quoted, "\"old\"", "\"n1\""])
        #expect(store.capabilities.conditionalPut)
    }

    @Test func unknownServerThatIgnoresIfMatch() async throws {
        let server = ScriptedServer(.object("x", etag: "old"), made("n1"), .object("x", etag: "theirs"))
        let store = try server.store(conditions: .unknown)
        #expect(try await store.put(request("b", .ifMatch(ETag("old")!))) == ETag("n1"))
        #expect(!store.capabilities.conditionalPut)
        let kind = await failureKind { () throws(StoreError) in
            try await store.put(request("b", .ifMatch(ETag("n1")!)))
        }
        #expect(kind == .preconditionFailed)
        #expect(server.lines == ["HEAD /bucket/a", "PUT /bucket/a", "HEAD /bucket/a"])
    }

    @Test func unknownServerThatHonoursIfNoneMatch() async throws {
        let server = ScriptedServer(.answer(404), made("n1"), .error(412, "PreconditionFailed"), made("n2"))
        let store = try server.store(conditions: .unknown)
        #expect(try await store.put(request("b", .ifAbsent)) == ETag("n1"))
        #expect(store.capabilities.conditionalPut)
        // Without a HEAD from here on.
        #expect(try await store.put(request("b", .ifAbsent)) == ETag("n2"))
        #expect(server.lines == ["HEAD /bucket/a"] + Array(repeating: "PUT /bucket/a", count: 3))
        #expect(server.seen.dropFirst().allSatisfy { $0["If-None-Match"] == "*" })
    }

    /// Who has just looked for it need not ask again; what no answer has come of is looked for all the same.
    @Test func objectThatWasSeenToBeAbsent() async throws {
        let server = ScriptedServer(made("n1"), .error(412, "PreconditionFailed"))
        let store = try server.store(conditions: .unknown)
        var new = request("b", .ifAbsent)
        new.isSeenAbsent = true
        #expect(try await store.put(new) == ETag("n1"))
        #expect(server.lines == ["PUT /bucket/a", "PUT /bucket/a"])
        let ignorant = ScriptedServer(.object("x", etag: "theirs"))
        let broken = try ignorant.store(conditions: .broken)
        let kind = await failureKind { () throws(StoreError) in try await broken.put(new) }
        #expect(kind == .preconditionFailed && ignorant.lines == ["HEAD /bucket/a"])
    }

    /// Two requests at once may both be looked at before one is done: only the third tells.
    @Test(arguments: [true, false])
    func unknownServerThatMakesBoth(_ isHonoured: Bool) async throws {
        let again = isHonoured ? Reply.error(412, "PreconditionFailed") : made("n1b")
        let server = ScriptedServer(.answer(404), made("n1"), made("n1"), again)
        let store = try server.store(conditions: .unknown)
        #expect(try await store.put(request("b", .ifAbsent)) == ETag(isHonoured ? "n1" : "n1b"))
        #expect(store.capabilities.conditionalPut == isHonoured)
    }

    /// Which of the two stands there, where their ETags are not the same?
    @Test func versionOfAnObjectThatWasMadeTwice() async throws {
        let server = ScriptedServer(
            .answer(404), made("n1"), made("n2"), .object("b", etag: "n2"), .error(412, "PreconditionFailed"))
        let store = try server.store(conditions: .unknown)
        #expect(try await store.put(request("b", .ifAbsent)) == ETag("n2"))
        #expect(store.capabilities.conditionalPut)
    }

    /// The answer of the one that made it is lost, and its second try is refused as the other one is.
    @Test func lostAnswerOfAnObjectThatIsMadeTwice() async throws {
        let refused = Reply.error(412, "PreconditionFailed")
        let server = ScriptedServer(.answer(404), Self.lost, refused, refused, .object("b", etag: md5("b")))
        let store = try server.store(conditions: .unknown)
        #expect(try await store.put(request("b", .ifAbsent)).value == md5("b"))
        #expect(server.remainingCount == 0)
    }

    /// Another client makes it between HEAD and the two.
    @Test func objectThatAnotherClientMakesMeanwhile() async throws {
        let refused = Reply.error(412, "PreconditionFailed")
        let server = ScriptedServer(.answer(404), refused, refused, .object("theirs", etag: md5("theirs")))
        let store = try server.store(conditions: .unknown)
        let kind = await failureKind { () throws(StoreError) in try await store.put(request("b", .ifAbsent)) }
        #expect(kind == .preconditionFailed)
        #expect(store.capabilities.conditionalPut && server.remainingCount == 0)
    }

    @Test func unknownServerGetsNoLargeBodyTwice() async throws {
        let server = ScriptedServer(.answer(404), made("n1"))
        let store = try server.store(conditions: .unknown)
        _ = try await store.put(request(String(repeating: "b", count: 2 << 20), .ifAbsent))
        #expect(server.lines == ["HEAD /bucket/a", "PUT /bucket/a"])
    }

    @Test(arguments: [true, false])
    func unknownServerAndCopySource(_ isHonoured: Bool) async throws {
        let server = ScriptedServer(
            .object("xxx", etag: "s"), isHonoured ? .error(412, "PreconditionFailed") : Self.copied, Self.copied)
        let store = try server.store(conditions: .unknown)
        #expect(try await store.copy(CopyRequest(source: source, destination: key)) == ETag("c"))
        #expect(store.capabilities.conditionalCopySource == isHonoured)
        #expect(server.remainingCount == (isHonoured ? 0 : 1))
    }

    @Test func ourOwnLostAnswer() async throws {
        let server = ScriptedServer(Self.lost, .error(412, "PreconditionFailed"), .object("body", etag: md5("body")))
        let store = try server.store()
        #expect(try await store.put(request("body", .ifMatch(ETag("old")!))).value == md5("body"))
    }

    @Test func ourOwnLostAnswerWithAnotherChecksum() async throws {
        let server = ScriptedServer(Self.lost, .error(412, "PreconditionFailed"), .object("body", etag: md5("body")))
        let store = try server.store { $0.integrity = .crc64NVME }
        #expect(try await store.put(request("body", .ifMatch(ETag("old")!))).value == md5("body"))
    }

    @Test func lostAnswerOfAnUnconditionalPutIsNotALicence() async throws {
        // Conditions do not work here; the first PUT's answer is lost for good, and its effect is seen by HEAD.
        let server = ScriptedServer(
            .object("x", etag: "old"), Self.lost, .object("body", etag: md5("body")))
        let store = try server.store(retry: .never, conditions: .broken)
        #expect(try await store.put(request("body", .ifMatch(ETag("old")!))).value == md5("body"))
        #expect(server.lines == ["HEAD /bucket/a", "PUT /bucket/a", "HEAD /bucket/a"])
    }

    /// However the last attempt ended: an earlier one may have been done.
    @Test func aLostAnswerIsToldWithTheError() async throws {
        func mayHaveHappened(_ replies: [Reply], _ body: String = "body") async throws -> Bool? {
            let store = try ScriptedServer(replies).store()
            do throws(StoreError) {
                _ = try await store.put(request(body, .ifMatch(ETag("old")!)))
                return nil
            } catch {
                return error.mayHaveHappened
            }
        }
        #expect(try await mayHaveHappened([.error(403, "AccessDenied")]) == false)
        #expect(try await mayHaveHappened([Self.lost, .error(403, "AccessDenied")]) == true)
        #expect(
            try await mayHaveHappened([
                Self.lost, .error(412, "PreconditionFailed"), .object("other", etag: "theirs"),
            ]) == true)
        #expect(
            try await mayHaveHappened([.error(412, "PreconditionFailed"), .object("other", etag: "theirs")]) == false)
    }

    @Test func ourOwnLostAnswerAfterTheLastAttempt() async throws {
        // The lost one leaves the server down in the store's eyes; the probe in between finds it up.
        let server = ScriptedServer(Self.lost, .answer(200), .object("body", etag: md5("body")))
        let store = try server.store(retry: .never)
        #expect(try await store.put(request("body", .ifAbsent)).value == md5("body"))
        #expect(server.lines == ["PUT /bucket/a", "HEAD /bucket", "HEAD /bucket/a"])
    }

    @Test func anotherOnesBytesAreNotOurs() async throws {
        let server = ScriptedServer(
            .error(412, "PreconditionFailed"), .object("body", etag: md5("body")),
            Self.lost, .error(412, "PreconditionFailed"),
            .object("body", etag: md5("body"), headers: ["x-amz-meta-mtime": "2"]))
        let store = try server.store()
        let equal = await failureKind { () throws(StoreError) in try await store.put(request("body", .ifAbsent)) }
        #expect(equal == .preconditionFailed, "no answer of ours was lost: another one created it")
        let later = await failureKind { () throws(StoreError) in
            try await store.put(request("body", .ifAbsent, metadata: ["mtime": "1"]))
        }
        #expect(later == .preconditionFailed, "the metadata is another one's")
    }

    @Test func earlierCallsWriteIsRecognised() async throws {
        let server = ScriptedServer(
            .error(412, "PreconditionFailed"),
            .object("body", etag: md5("body"), headers: ["x-amz-meta-mtime": "1.5"]))
        let store = try server.store()
        let etag = try await store.put(request("body", .ifMatch(ETag("old")!), metadata: ["mtime": "1.5"]))
        #expect(etag.value == md5("body"))
    }

    // MARK: Deletion

    @Test func deletions() async throws {
        let server = ScriptedServer(.answer(204), .error(404, "NoSuchKey"), .error(403, "AccessDenied"))
        let store = try server.store()
        try await store.delete(key)
        try await store.delete(key)
        #expect(await failureKind { () throws(StoreError) in try await store.delete(key) } == .accessDenied)
    }

    @Test func batches() async throws {
        let keys = (0..<1500).map { ObjectKey("k\($0)")! }
        let server = ScriptedServer(
            .answer(
                200,
                body: """
                    <DeleteResult><Error><Key>k1</Key><Code>AccessDenied</Code></Error>
                    <Error><Key>k2</Key><Code>InternalError</Code></Error></DeleteResult>
                    """), .answer(204), .answer(200, body: "<DeleteResult/>"))
        let failures = try await server.store().delete(keys)
        #expect(failures.map(\.key.string) == ["k1"] && failures[0].error.kind == .accessDenied)
        #expect(server.lines == ["POST /bucket?delete=", "DELETE /bucket/k2", "POST /bucket?delete="])
    }

    @Test func batchesThatTheServerDoesNotKnow() async throws {
        let server = ScriptedServer(
            .error(501, "NotImplemented"), .answer(204), .answer(204), .answer(204), .answer(204))
        let store = try server.store()
        for _ in 0..<2 { #expect(try await store.delete([key, ObjectKey("b")!]).isEmpty) }
        #expect(server.lines.filter { $0.hasPrefix("POST") }.count == 1)
    }

    @Test func keysThatXMLCannotCarryGoSingly() async throws {
        let server = ScriptedServer(.answer(200, body: "<DeleteResult/>"), .answer(204))
        _ = try await server.store().delete([key, ObjectKey("b")!, ObjectKey("c\u{1}")!])
        #expect(server.lines == ["POST /bucket?delete=", "DELETE /bucket/c%01"])
    }

    // MARK: Copies

    let source = ObjectVersion(key: ObjectKey("src")!, etag: ETag("s")!, byteCount: 3)
    static let copied = Reply.answer(200, body: "<CopyObjectResult><ETag>\"c\"</ETag></CopyObjectResult>")

    @Test func errorInsideASuccessIsRetriedThenThrown() async throws {
        let failed = Reply.answer(200, body: "<?xml version=\"1.0\"?>\n  <Error><Code>InternalError</Code></Error>")
        let server = ScriptedServer(failed, Self.copied, failed)
        let store = try server.store()
        #expect(try await store.copy(CopyRequest(source: source, destination: key)) == ETag("c"))
        #expect(server.seen[0]["x-amz-copy-source-if-match"] == "\"s\"")
        let hopeless = try server.store(retry: .never)
        let request = CopyRequest(source: source, destination: key)
        #expect(await failureKind { () throws(StoreError) in try await hopeless.copy(request) } == .serverFault)
    }

    @Test func copyOfAChangedSource() async throws {
        let server = ScriptedServer(.error(412, "PreconditionFailed"), .object("xxx", etag: "other"))
        let store = try server.store()
        let request = CopyRequest(source: source, destination: key)
        #expect(await failureKind { () throws(StoreError) in try await store.copy(request) } == .preconditionFailed)
    }

    @Test func copyWhereTheConditionIsWronglyRefused() async throws {
        let no = Reply.error(412, "PreconditionFailed")
        let same = Reply.object("xxx", etag: "s")
        let server = ScriptedServer(no, same, no, same, no, same, no, same, same, Self.copied)
        let store = try server.store()
        #expect(try await store.copy(CopyRequest(source: source, destination: key)) == ETag("c"))
        let sent = server.seen.compactMap { $0["x-amz-copy-source-if-match"] }
        #expect(sent == ["\"s\"", "s", "\"s\"", "s"])
        #expect(!store.capabilities.conditionalCopySource)
    }

    @Test func serverThatDecodesTheSourceTwice() async throws {
        // It is asked once, by a name that only such a server finds; then every odd name is spelled for it.
        let server = ScriptedServer(Self.part, Self.part, Self.part, Self.part)
        let sources = try await sourcesOfParts(["a+", "a+", "b"], on: server)
        #expect(sources == ["/bucket/%2561%252B", "/bucket/%2561%252B", "/bucket/%2561%252B", "/bucket/b"])
    }

    @Test func serverThatDecodesTheSourceOnce() async throws {
        let server = ScriptedServer(Self.part, .error(404, "NoSuchKey"), Self.part, Self.part)
        let sources = try await sourcesOfParts(["b c", "a+", "%z"], on: server)
        #expect(sources == ["/bucket/b%20c", "/bucket/%2561%252B", "/bucket/a%2B", "/bucket/%25z"])
    }

    @Test func unknownDecodingIsNotGuessed() async throws {
        let server = ScriptedServer(.error(404, "NoSuchUpload"))
        let store = try server.store()
        let odd = ObjectVersion(key: ObjectKey("a+")!, etag: ETag("s")!, byteCount: 3)
        let kind = await failureKind { () throws(StoreError) in
            try await store.uploadPartCopy(upload, key: key, number: 1, source: odd, range: ByteRange(0, 3))
        }
        #expect(kind == .notFound && server.remainingCount == 0)
    }

    private static let part = Reply.answer(200, body: "<CopyPartResult><ETag>\"p\"</ETag></CopyPartResult>")

    private func sourcesOfParts(_ names: [String], on server: ScriptedServer) async throws -> [String?] {
        let store = try server.store()
        for (index, name) in names.enumerated() {
            let etag = try await store.uploadPartCopy(
                upload, key: key, number: index + 1,
                source: ObjectVersion(key: ObjectKey(name)!, etag: ETag("s")!, byteCount: 3), range: ByteRange(0, 3))
            #expect(etag == ETag("p"))
        }
        return server.seen.map { $0["x-amz-copy-source"] }
    }

    /// RGW 16 heeds the condition of CopyObject and ignores that of UploadPartCopy.
    @Test func conditionOfPartsIsLearntApart() async throws {
        let there = Reply.object("xxx", etag: "s")
        let server = ScriptedServer(
            there, .error(412, "PreconditionFailed"), Self.copied, Self.part, there, Self.part,
            .object("yyy", etag: "new"), .error(416, "InvalidRange"), .object("y", etag: "newer"))
        let store = try server.store(conditions: .unknown)
        #expect(try await store.copy(CopyRequest(source: source, destination: key)) == ETag("c"))
        let whole = ByteRange(0, source.byteCount)
        _ = try await store.uploadPartCopy(upload, key: key, number: 1, source: source, range: whole)
        #expect(!store.capabilities.conditionalCopySource)
        // The source changes while it is copied, and before: it may be shorter than what is asked of it.
        for number in [2, 3] {
            let kind = await failureKind { () throws(StoreError) in
                try await store.uploadPartCopy(upload, key: key, number: number, source: source, range: whole)
            }
            #expect(kind == .preconditionFailed)
        }
        #expect(server.remainingCount == 0)
    }

    /// Nothing is asked ahead of the copies of parts: a condition that holds says all, and else a HEAD afterwards does.
    @Test(arguments: [true, false])
    func unknownServerAndPartSource(_ isHonoured: Bool) async throws {
        let there = Reply.object("xxx", etag: "s")
        let server = ScriptedServer(
            isHonoured
                ? [.error(412, "PreconditionFailed"), Self.part, Self.part] : [Self.part, there, Self.part, there])
        let store = try server.store(conditions: .unknown)
        for number in 1...2 {
            _ = try await store.uploadPartCopy(
                upload, key: key, number: number, source: source, range: ByteRange(0, source.byteCount))
        }
        #expect(server.remainingCount == 0)
        let conditions = server.seen.filter { $0.line.hasPrefix("PUT") }.map { $0["x-amz-copy-source-if-match"] }
        let impossible = S3Store.impossibleETag.quoted
        #expect(conditions == (isHonoured ? [impossible, "\"s\"", "\"s\""] : [impossible, nil]))
    }

    @Test(arguments: [[], [2, 1], [1, 1]])
    func partsOutOfOrderAreNotSent(_ numbers: [Int]) async throws {
        let store = try ScriptedServer().store()
        let parts = numbers.map { UploadedPart(number: $0, etag: ETag("e")!, byteCount: 1) }
        let kind = await failureKind { () throws(StoreError) in
            try await store.completeUpload(upload, key: key, parts: parts, condition: .none)
        }
        #expect(kind == .invalidRequest)
    }

    @Test func largeCopyGoesByParts() async throws {
        let size = 25 << 20
        let big = ObjectVersion(key: ObjectKey("src")!, etag: ETag("s")!, byteCount: size)
        let part = Reply.answer(200, body: "<CopyPartResult><ETag>\"p\"</ETag></CopyPartResult>")
        let server = ScriptedServer(
            .object("", etag: "s", headers: ["Content-Length": "\(size)", "x-amz-meta-mode": "33188"]),
            .answer(200, body: "<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>"),
            part, part, part,
            .answer(200, body: "<CompleteMultipartUploadResult><ETag>\"m-3\"</ETag></CompleteMultipartUploadResult>"))
        let store = try server.store {
            $0.singleCopyBytesMax = 10 << 20
            $0.copyPartBytes = 10 << 20
            $0.copyPartsInFlightMax = 1
        }
        #expect(try await store.copy(CopyRequest(source: big, destination: key)) == ETag("m-3"))
        #expect(server.seen[1]["x-amz-meta-mode"] == "33188")
        #expect(
            server.seen[2...4].map { $0["x-amz-copy-source-range"] } == [
                "bytes=0-10485759", "bytes=10485760-20971519", "bytes=20971520-26214399",
            ])
    }

    /// As Ceph's gateway has it.
    @Test func whereOnlyPartsAreCopiedWithTheKeyOfACustomer() async throws {
        let source = ObjectVersion(key: ObjectKey("src")!, etag: ETag("s")!, byteCount: 10)
        let created = Reply.answer(
            200, body: "<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>")
        let part = Reply.answer(200, body: "<CopyPartResult><ETag>\"p\"</ETag></CopyPartResult>")
        let server = ScriptedServer(
            .error(501, "NotImplemented"), created, part, Self.completed, created, part, Self.completed,
            .answer(200, ["ETag": "\"e\""]))
        let store = try server.store {
            $0.options.encryption = .customerKey(CustomerKey([UInt8](repeating: 1, count: 32))!)
        }
        let properties = ObjectProperties()
        for _ in 0..<2 {
            _ = try await store.copy(CopyRequest(source: source, destination: key, properties: properties))
        }
        #expect(server.lines.filter { $0 == "PUT /bucket/a" }.count == 1, "it is asked once")
        #expect(server.seen[2]["x-amz-copy-source"] == "/bucket/src")
        // Of nothing no part can be made.
        let empty = ObjectVersion(key: ObjectKey("src")!, etag: ETag("s")!, byteCount: 0)
        _ = try await store.copy(CopyRequest(source: empty, destination: key, properties: properties))
        #expect(server.lines.last == "PUT /bucket/a" && server.remainingCount == 0)
    }

    @Test func failedLargeCopyIsAborted() async throws {
        let big = ObjectVersion(key: ObjectKey("src")!, etag: ETag("s")!, byteCount: 30 << 20)
        let server = ScriptedServer(
            .answer(200, body: "<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>"),
            .error(403, "AccessDenied"), .answer(204))
        let store = try server.store {
            $0.singleCopyBytesMax = 5 << 20
            $0.copyPartsInFlightMax = 1
        }
        let request = CopyRequest(source: big, destination: key, properties: ObjectProperties())
        #expect(await failureKind { () throws(StoreError) in try await store.copy(request) } == .accessDenied)
        #expect(server.lines.last == "DELETE /bucket/a?uploadId=u")
        #expect(server.remainingCount == 0, "no further part was begun")
    }

    // MARK: Multipart

    let upload = UploadID("u")

    func parts(_ texts: String...) -> [UploadedPart] {
        texts.enumerated().map { index, text in
            UploadedPart(number: index + 1, etag: ETag(md5(text))!, byteCount: text.utf8.count)
        }
    }

    static let completed = Reply.answer(
        200, body: "<CompleteMultipartUploadResult><ETag>\"m-2\"</ETag></CompleteMultipartUploadResult>")

    @Test func multipartETagIsThatOfS3() {
        // MD5("a") and MD5("b"), concatenated and summed; independently computed.
        #expect(S3Store.multipartETag(parts("a", "b")) == "96e024ba2074fe77e8e965ba43a704be-2")
        #expect(S3Store.multipartETag([UploadedPart(number: 1, etag: ETag("kms")!, byteCount: 1)]) == nil)
    }

    @Test func completeWithAnErrorInside() async throws {
        let server = ScriptedServer(
            .answer(200, body: "<Error><Code>InternalError</Code></Error>"), Self.completed, .object("ab", etag: "m-2"))
        let store = try server.store()
        let etag = try await store.completeUpload(upload, key: key, parts: parts("a", "b"), condition: .none)
        #expect(etag == ETag("m-2"))
    }

    @Test func completeWhoseAnswerWasLost() async throws {
        let parts = parts("aa", "b")
        let etag = try #require(S3Store.multipartETag(parts))
        let there = Reply.object("aab", etag: etag)
        for replies in [
            ScriptedServer(Self.lost, .error(404, "NoSuchUpload"), there),
            ScriptedServer(.error(500, "InternalError"), .error(412, "PreconditionFailed"), there),
        ] {
            let found = try await replies.store().completeUpload(
                upload, key: key, parts: parts, condition: .ifMatch(ETag("old")!))
            #expect(found.value == etag)
        }
    }

    @Test func completeOfALostUpload() async throws {
        let server = ScriptedServer(.error(404, "NoSuchUpload"), .object("other", etag: "x-2"))
        let store = try server.store()
        let kind = await failureKind { () throws(StoreError) in
            try await store.completeUpload(upload, key: key, parts: parts("a", "b"), condition: .none)
        }
        #expect(kind == .notFound)
    }

    private func completed(_ etag: String) -> Reply {
        .answer(200, body: "<CompleteMultipartUploadResult><ETag>\"\(etag)\"</ETag></CompleteMultipartUploadResult>")
    }

    /// Of a server that makes ETags as S3 does, another one is an error: seen by HEAD as well, and told each time the parts are
    /// others. Of the same parts twice, it is its form after all.
    @Test func regression_aCompletedUploadHasTheETagOfItsParts() async throws {
        let (first, second) = (parts("aaaa", "b"), parts("cc", "d"))
        let right = try #require(S3Store.multipartETag(first))
        let wrong = String(repeating: "0", count: 32) + "-2"
        let there = Reply.object("ccd", etag: wrong)
        let server = ScriptedServer(
            completed(right), completed(wrong), there, completed(wrong), .object("aaaab", etag: wrong),
            completed(wrong), .object("aaaab", etag: wrong), completed(wrong), there)
        let store = try server.store()
        func complete(_ parts: [UploadedPart]) async -> StoreError.Kind? {
            await failureKind { () throws(StoreError) in
                try await store.completeUpload(upload, key: key, parts: parts, condition: .none)
            }
        }
        #expect(await complete(first) == nil)
        #expect(await complete(second) == .malformedResponse)
        #expect(await complete(first) == .malformedResponse)
        #expect(await complete(first) == nil)
        #expect(await complete(second) == nil)
        #expect(server.remainingCount == 0)
    }

    /// The answer was wrong and the object is right.
    @Test func aCompletedUploadIsLookedAt() async throws {
        let parts = parts("aa", "b")
        let right = try #require(S3Store.multipartETag(parts))
        let server = ScriptedServer(completed(right), completed("other-2"), .object("aab", etag: right))
        let store = try server.store()
        for _ in 0..<2 {
            let etag = try await store.completeUpload(upload, key: key, parts: parts, condition: .none)
            #expect(etag.value == right)
        }
    }

    /// What says nothing raises no alarm: parts that are larger than those by which the form is known (SeaweedFS), encryption by
    /// KMS, a form of the server's own from the first; but the length must be right.
    @Test func otherETagsOfCompletedUploads() async throws {
        let (small, large) = (parts("a", "b"), parts("aaaaaa", "b"))
        let right = try #require(S3Store.multipartETag(small))
        let encrypted = Reply.answer(
            200, ["x-amz-server-side-encryption": "aws:kms"],
            body: "<CompleteMultipartUploadResult><ETag>\"x-2\"</ETag></CompleteMultipartUploadResult>")
        let server = ScriptedServer(
            completed(right), completed("x-4"), .object("aaaaaab", etag: "x-4"), encrypted,
            // Another client was faster than the look; the look has failed.
            completed("x-4"), .object("theirs", etag: "theirs"), completed("x-4"), .error(403, "AccessDenied"),
            completed("x-4"), .object("aaaaaa", etag: "x-4"), .object("aaaaaa", etag: "x-4"))
        let store = try server.store()
        func complete(_ parts: [UploadedPart]) async -> StoreError.Kind? {
            await failureKind { () throws(StoreError) in
                try await store.completeUpload(upload, key: key, parts: parts, condition: .none)
            }
        }
        #expect(await complete(small) == nil)
        #expect(await complete(large) == nil)
        #expect(await complete(small) == nil)
        #expect(await complete(large) == nil)
        #expect(await complete(large) == nil)
        #expect(await complete(large) == .malformedResponse, "a byte is missing")
        #expect(server.remainingCount == 0)
    }

    @Test func completeConflict() async throws {
        let server = ScriptedServer(.error(412, "PreconditionFailed"), .object("theirs", etag: "t"))
        let store = try server.store()
        let kind = await failureKind { () throws(StoreError) in
            try await store.completeUpload(upload, key: key, parts: parts("a", "b"), condition: .ifMatch(ETag("old")!))
        }
        #expect(kind == .preconditionFailed)
    }

    @Test func partIsVerified() async throws {
        let server = ScriptedServer(made(md5("part")), made(md5("damaged")))
        let store = try server.store()
        let body = ByteArraySource(Array("part".utf8))
        #expect(try await store.uploadPart(upload, key: key, number: 1, body: body).value == md5("part"))
        let kind = await failureKind { () throws(StoreError) in
            try await store.uploadPart(upload, key: key, number: 2, body: body)
        }
        #expect(kind == .malformedResponse)
    }

    private var begun: Reply {
        .answer(
            200,
            body: "<InitiateMultipartUploadResult><UploadId>question</UploadId></InitiateMultipartUploadResult>")
    }

    /// SeaweedFS keeps a part that was sent again beside the earlier one.
    @Test func regression_repeatedPartsAreListedOnce() async throws {
        func part(_ etag: String) -> String {
            "<Part><PartNumber>1</PartNumber><ETag>\"\(etag)\"</ETag><Size>5</Size></Part>"
        }
        let body = "<ListPartsResult>\(part("a"))\(part("b"))\(part("a"))</ListPartsResult>"
        let store = try ScriptedServer(.answer(200, body: body)).store()
        #expect(try await store.listParts(upload, key: key).map(\.etag.value) == ["a", "b"])
    }

    /// A server that was seen to compare a body with its signed SHA-256 gets no MD5 beside that of a large part.
    @Test(arguments: [
        (Reply.error(400, "XAmzContentSHA256Mismatch"), false), (.answer(200, ["ETag": "\"x\""]), true),
        (.error(400, "InvalidArgument"), true),
    ])
    func largePartsCarryWhatTheServerCompares(answer: Reply, hasMD5: Bool) async throws {
        let large = [UInt8](repeating: 7, count: 1 << 20)
        let part = made(Hex.encode(Digest.of(large, .md5)))
        // A single part is not worth the question.
        let server = ScriptedServer(part, begun, answer, .answer(204), part, part)
        let store = try server.store()
        for number in 1...3 {
            _ = try await store.uploadPart(upload, key: key, number: number, body: ByteArraySource(large))
        }
        let (question, parts) = (server.seen[2], server.seen[4...])
        #expect(server.seen[0].body == large && server.seen[0]["Content-MD5"] != nil)
        #expect(question.body.count == 1 && question.line.contains("uploadId=question"))
        #expect(server.seen[3].line.hasPrefix("DELETE") && server.seen[3].line.contains("uploadId=question"))
        #expect(parts.allSatisfy { $0.line.contains("uploadId=\(upload.value)") })
        #expect(question["x-amz-content-sha256"] != Hex.encode(Digest.of(question.body, .sha256)))
        #expect(parts.allSatisfy { $0.body == large && ($0["Content-MD5"] != nil) == hasMD5 })
        #expect(parts.allSatisfy { $0["x-amz-content-sha256"] == Hex.encode(Digest.of(large, .sha256)) })
        #expect(store.counters.operations[.uploadPart]?.failureCount == 0)
    }

    /// An answer that says nothing leaves the question open.
    @Test func theQuestionIsAskedUntilItIsAnswered() async throws {
        let large = [UInt8](repeating: 7, count: 1 << 20)
        let part = made(Hex.encode(Digest.of(large, .md5)))
        let server = ScriptedServer(
            part, begun, .error(503, "SlowDown"), .answer(204), part,
            begun, .error(400, "XAmzContentSHA256Mismatch"), .answer(204), part, part)
        let store = try server.store()
        for number in 1...4 {
            _ = try await store.uploadPart(upload, key: key, number: number, body: ByteArraySource(large))
        }
        let parts = server.seen.filter { $0.body.count == large.count }
        #expect(parts.map { $0["Content-MD5"] != nil } == [true, true, false, false])
        #expect(server.remainingCount == 0)
    }

    @Test func listsAllPages() async throws {
        func page(_ number: Int, next: Int?) -> Reply {
            let marker = next.map {
                "<IsTruncated>true</IsTruncated><NextPartNumberMarker>\($0)</NextPartNumberMarker>"
            }
            return .answer(
                200,
                body: "<ListPartsResult>\(marker ?? "")<Part><PartNumber>\(number)</PartNumber><ETag>\"e\"</ETag>"
                    + "<Size>5</Size></Part></ListPartsResult>")
        }
        let server = ScriptedServer(page(1, next: 1), page(2, next: nil), page(1, next: 1), page(1, next: 1))
        let store = try server.store()
        #expect(try await store.listParts(upload, key: key).map(\.number) == [1, 2])
        let stuck = await failureKind { () throws(StoreError) in try await store.listParts(upload, key: key) }
        #expect(stuck == .malformedResponse)
    }

    @Test func abortOfWhatIsGone() async throws {
        let server = ScriptedServer(.error(404, "NoSuchUpload"))
        try await server.store().abortUpload(upload, key: key)
    }
}
