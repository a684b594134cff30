// PUT and DELETE.

internal import Base
public import ObjectModel
internal import S3Protocol

extension S3Store {
    public func put(_ request: PutRequest) async throws(StoreError) -> ETag {
        let body = try await upload(
            request.body, operation: .putObject, key: request.key, integrity: configuration.integrity)
        let builder = builder
        return try await write(
            ConditionalWrite(
                operation: .putObject, key: request.key, condition: request.condition,
                isRepeatable: body.byteCount <= Self.trialBytesMax, isSeenAbsent: request.isSeenAbsent,
                send: { [self] (condition) async throws(S3CallFailure) in
                    let put = builder.putObject(
                        request.key, properties: request.properties, condition: condition, checksum: body.checksum)
                    let answer = try await perform(S3Call(put, body: body))
                    return try etag(of: answer, body, request.key, operation: .putObject)
                },
                isOurs: { found, mayHaveHappened in
                    await Self.isSame(found, request, body, mayHaveHappened: mayHaveHappened)
                }))
    }

    /// The largest body that is sent once more to find out about the server, in bytes.
    private static let trialBytesMax = 1 << 20

    /// Whether the object found is the one that `request` would have written: its length, its MD5 where the ETag is
    /// one, and its metadata. Without metadata, two writers of the same bytes cannot be told apart: then it counts only
    /// when an answer of ours was lost.
    private static func isSame(
        _ found: ObjectInfo, _ request: PutRequest, _ body: UploadBody, mayHaveHappened: Bool
    ) async -> Bool {
        let etag = found.version.etag.value
        let isMD5Like = Hex.decode(etag)?.count == 16
        let metadata = request.properties.metadata
        guard found.version.byteCount == body.byteCount,
            metadata.allSatisfy({ found.properties.metadata[$0.key.lowercased()] == $0.value })
        else { return false }
        guard mayHaveHappened || !metadata.isEmpty else { return false }
        if isMD5Like, let md5 = await body.computeMD5Hex(), etag.lowercased() == md5 { return true }
        // Encrypted with KMS the ETag says nothing of the bytes; the metadata (it has times) must.
        return !isMD5Like && mayHaveHappened && !metadata.isEmpty
    }

    /// Reads a source through for its digests.
    func upload(
        _ source: (any BodySource)?, operation: S3Operation, key: ObjectKey, integrity: S3StoreConfiguration.Integrity?
    ) async throws(StoreError) -> UploadBody {
        do throws(UploadBodyError) {
            return try await UploadBody(source, isPayloadSigned: isPayloadSigned, integrity: integrity)
        } catch {
            let kind: StoreError.Kind = error == .cancelled ? .cancelled : .sourceFailed
            throw StoreError(kind, operation: operation.rawValue, key: key, message: "the body could not be read")
        }
    }

    /// The ETag that an answer to PutObject or UploadPart names, compared with what was sent where it is an MD5.
    func etag(
        of answer: S3Answer, _ body: UploadBody, _ key: ObjectKey, operation: S3Operation
    ) throws(S3CallFailure) -> ETag {
        func malformed(_ message: String) -> S3CallFailure {
            let error = StoreError(
                .malformedResponse, operation: operation.rawValue, key: key, httpStatus: answer.status,
                requestID: answer.headers["x-amz-request-id"], message: message)
            return S3CallFailure(error: error, mayHaveHappened: false)
        }
        guard let etag = answer.headers["ETag"].flatMap({ ETag($0) }) else { throw malformed("the answer has no ETag") }
        if let (name, value) = body.checksum?.field, let returned = answer.headers[name], name != "Content-MD5",
            returned != value
        {
            throw malformed("the server has another checksum than the body sent")
        }
        guard let md5 = body.md5Hex, Hex.decode(etag.value)?.count == 16 else { return etag }
        if etag.value.lowercased() == md5 {
            state.withLock { $0.hasMD5ETags = true }
            return etag
        }
        // Some servers have other ETags always.
        if !hidesMD5(answer), state.withLock({ $0.hasMD5ETags }) {
            throw malformed("the server has another ETag than the MD5 of the body sent")
        }
        return etag
    }

    /// Whether what was written is encrypted in a way that gives it another ETag.
    func hidesMD5(_ answer: S3Answer) -> Bool {
        configuration.options.encryption?.hidesMD5 == true
            || answer.headers.fields.contains { name, value in
                let lower = name.lowercased()
                return lower.hasPrefix("x-amz-server-side-encryption") && value != "AES256"
                    || lower.hasPrefix("x-amz-server-side-encryption-customer")
            }
    }

    public func delete(_ key: ObjectKey) async throws(StoreError) {
        do throws(StoreError) {
            _ = try await performFinally(S3Call(builder.deleteObject(key)))
        } catch {
            if error.kind != .notFound { throw error }
        }
    }

    public func delete(_ keys: [ObjectKey]) async throws(StoreError) -> [(key: ObjectKey, error: StoreError)] {
        var singles: [ObjectKey] = []
        var batchable: [ObjectKey] = []
        for key in keys {
            if RequestBuilder.isDeletableInBatch(key) { batchable.append(key) } else { singles.append(key) }
        }
        var failures: [(key: ObjectKey, error: StoreError)] = []
        for start in stride(from: 0, to: batchable.count, by: 1000) {
            let batch = Array(batchable[start..<min(start + 1000, batchable.count)])
            guard batch.count > 1, state.withLock({ $0.hasBatchDelete }) else {
                singles += batch
                continue
            }
            do throws(StoreError) {
                failures += try await deleteBatch(batch)
            } catch {
                guard error.kind == .unsupported else { throw error }
                state.withLock { $0.hasBatchDelete = false }
                singles += batch
            }
        }
        return failures + (try await deleteSingly(singles))
    }

    private func deleteBatch(_ keys: [ObjectKey]) async throws(StoreError) -> [(key: ObjectKey, error: StoreError)] {
        let answer = try await performFinally(S3Call(builder.deleteObjects(keys)))
        let refused: [DeleteFailure]
        do throws(AnswerError) {
            refused = try WriteAnswers.deleteFailures(answer.body)
        } catch {
            throw StoreError(error, answer, operation: .deleteObjects, key: nil)
        }
        var failures: [(key: ObjectKey, error: StoreError)] = []
        for failure in refused {
            let response = S3ErrorResponse(
                status: 200, code: failure.code, message: failure.message,
                requestID: answer.headers["x-amz-request-id"])
            let error = StoreError(response, operation: .deleteObjects, key: failure.key)
            // A busy server does a part of the batch: the rest gets the retries of a single call.
            switch error.kind {
            case .notFound: break
            case .throttled, .serverFault, .timedOut:
                failures += try await deleteSingly([failure.key])
            default: failures.append((failure.key, error))
            }
        }
        return failures
    }

    private func deleteSingly(_ keys: [ObjectKey]) async throws(StoreError) -> [(key: ObjectKey, error: StoreError)] {
        let outcomes = await Self.inParallel(keys.count, width: 16) { [self] index -> StoreError? in
            do throws(StoreError) {
                try await delete(keys[index])
                return nil
            } catch {
                return error
            }
        }
        if Task.isCancelled, let error = outcomes.compactMap({ $0 }).first(where: { $0.kind == .cancelled }) {
            throw error
        }
        return zip(keys, outcomes).compactMap { key, error in error.map { (key, $0) } }
    }

    /// Results of `body` for 0 ..< count, in order; at most `width` run at once.
    static func inParallel<Value: Sendable>(
        _ count: Int, width: Int, _ body: @escaping @Sendable (Int) async -> Value
    ) async -> [Value] {
        await withTaskGroup(of: (Int, Value).self) { group in
            var results = [Value?](repeating: nil, count: count)
            for index in 0..<min(count, width) { group.addTask { (index, await body(index)) } }
            var next = min(count, width)
            while let (index, value) = await group.next() {
                results[index] = value
                if next < count {
                    let index = next
                    group.addTask { (index, await body(index)) }
                    next += 1
                }
            }
            return results.map { $0! }
        }
    }
}
