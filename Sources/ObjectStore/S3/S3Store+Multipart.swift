// Multipart uploads.

internal import Base
public import ObjectModel
internal import S3Protocol

extension S3Store {
    public func createUpload(_ key: ObjectKey, properties: ObjectProperties) async throws(StoreError) -> UploadID {
        let algorithm = configuration.integrity == .crc64NVME ? "CRC64NVME" : nil
        let answer = try await performFinally(
            S3Call(builder.createMultipartUpload(key, properties: properties, checksumAlgorithm: algorithm)))
        do throws(AnswerError) {
            return UploadID(try WriteAnswers.uploadID(answer.body))
        } catch {
            throw StoreError(error, answer, operation: .createMultipartUpload, key: key)
        }
    }

    public func uploadPart(
        _ upload: UploadID, key: ObjectKey, number: Int, body: any BodySource
    ) async throws(StoreError) -> ETag {
        let integrity =
            body.byteCount < Self.askingBytesMin
            ? configuration.integrity : await partIntegrity(key)
        let body = try await self.upload(body, operation: .uploadPart, key: key, integrity: integrity)
        do throws(S3CallFailure) {
            let part = builder.uploadPart(upload.value, key: key, number: number, checksum: body.checksum)
            let answer = try await perform(S3Call(part, body: body))
            return try etag(of: answer, body, key, operation: .uploadPart)
        } catch {
            throw error.error
        }
    }

    /// Below it one MD5 more is nothing.
    private static let askingBytesMin = 1 << 20

    /// The checksum that goes with a part, beside the signature; nil where that has the part's SHA-256 and the server is known
    /// to compare it: an MD5 besides would cost more than everything else that is done with a part.
    private func partIntegrity(_ key: ObjectKey) async -> S3StoreConfiguration.Integrity? {
        guard isPayloadSigned, configuration.integrity == .contentMD5 else { return configuration.integrity }
        // One part is not worth the three requests: the second asks.
        let mustAsk = state.withLock { state in
            defer {
                switch state.payloadComparison {
                case .unknown: state.payloadComparison = .wanted
                case .wanted: state.payloadComparison = .asked
                case .asked, .done, .notDone: break
                }
            }
            return state.payloadComparison == .wanted
        }
        // Parts that are sent meanwhile by others have their MD5.
        if mustAsk { await askForPayloadComparison(key) }
        return state.withLock { $0.payloadComparison == .done } ? nil : configuration.integrity
    }

    /// Sends a part whose body is not what was signed, in an upload of its own: its answer may be lost, and the part then come
    /// after others, and no request of the caller's upload may be followed by such a body. No other request shows what servers
    /// do, and not all of them compare.
    private func askForPayloadComparison(_ key: ObjectKey) async {
        var answer = PayloadComparison.wanted
        defer { state.withLock { $0.payloadComparison = answer } }
        guard let upload = try? await createUpload(key, properties: ObjectProperties()) else { return }
        var call = S3Call(builder.uploadPart(upload.value, key: key, number: 1), body: .forged())
        call.retry = .never
        call.isTrial = true
        do throws(S3CallFailure) {
            _ = try await perform(call)
            answer = .notDone
        } catch {
            let isRefusal = (400..<500).contains(error.error.httpStatus ?? 0)
            answer = error.error.code == "XAmzContentSHA256Mismatch" ? .done : isRefusal ? .notDone : .wanted
        }
        // What it leaves where this fails is one byte at most.
        try? await abortUpload(upload, key: key)
    }

    public func completeUpload(
        _ upload: UploadID, key: ObjectKey, parts: [UploadedPart], condition: WriteCondition
    ) async throws(StoreError) -> ETag {
        // Some servers make an object of such a list all the same.
        guard !parts.isEmpty, zip(parts, parts.dropFirst()).allSatisfy({ $0.number < $1.number }) else {
            throw StoreError(
                .invalidRequest, operation: S3Operation.completeMultipartUpload.rawValue, key: key,
                code: "InvalidPartOrder", message: "an upload is completed by at least one part, in ascending order")
        }
        let builder = builder
        let expected = Self.multipartETag(parts)
        let byteCount = parts.reduce(0) { $0 + $1.byteCount }
        return try await write(
            ConditionalWrite(
                operation: .completeMultipartUpload, key: key, condition: condition,
                // A refused completion may cost the upload on some servers.
                isRepeatable: false,
                send: { [self] (condition) async throws(S3CallFailure) in
                    let complete = builder.completeMultipartUpload(
                        upload.value, key: key, parts: parts.map { ($0.number, $0.etag) }, condition: condition)
                    let answer = try await perform(S3Call(complete, isSlow: true))
                    let etag: ETag
                    do throws(AnswerError) {
                        etag = try WriteAnswers.completeETag(answer.body)
                    } catch {
                        let malformed = StoreError(error, answer, operation: .completeMultipartUpload, key: key)
                        throw S3CallFailure(error: malformed, mayHaveHappened: true)
                    }
                    if let expected, !hidesMD5(answer) {
                        try await verify(etag, expected: expected, of: parts, key, answer)
                    }
                    return etag
                },
                isOurs: { found, mayHaveHappened in
                    if found.version.byteCount != byteCount { return false }
                    // The ETag of the parts' MD5s is made by these parts and no others.
                    if let expected, found.version.etag.value.lowercased() == expected { return true }
                    return mayHaveHappened && expected == nil && found.version.etag.value.hasSuffix("-\(parts.count)")
                }))
    }

    /// Compares what a completed upload has become with its parts. Where the ETag is another one than S3 would make, and says
    /// nothing, the object has their length at least.
    private func verify(
        _ etag: ETag, expected: String, of parts: [UploadedPart], _ key: ObjectKey, _ answer: S3Answer
    ) async throws(S3CallFailure) {
        func refuse(_ message: String) -> S3CallFailure {
            let error = StoreError(
                .malformedResponse, operation: S3Operation.completeMultipartUpload.rawValue, key: key,
                httpStatus: answer.status, requestID: answer.headers["x-amz-request-id"], message: message)
            return S3CallFailure(error: error, mayHaveHappened: true)
        }
        let found = etag.value.lowercased()
        let partBytes = parts.map(\.byteCount).max()!
        guard state.withLock({ $0.multipartETags.accept(found, expected: expected, partBytes: partBytes) }) else {
            throw refuse("the object has the ETag \(found), and its parts make \(expected)")
        }
        let byteCount = parts.reduce(0) { $0 + $1.byteCount }
        guard found != expected, let version = try? await head(key).version, version.etag == etag,
            version.byteCount != byteCount
        else { return }
        throw refuse("the object has \(version.byteCount) bytes, and its parts \(byteCount)")
    }

    /// What S3 makes of parts whose ETags are MD5s: the MD5 of those, and their number. Nil where they are not.
    static func multipartETag(_ parts: [UploadedPart]) -> String? {
        var digests: [UInt8] = []
        for part in parts {
            guard let digest = Hex.decode(part.etag.value), digest.count == 16 else { return nil }
            digests += digest
        }
        return "\(Hex.encode(Digest.of(digests, .md5)))-\(parts.count)"
    }

    public func abortUpload(_ upload: UploadID, key: ObjectKey) async throws(StoreError) {
        do throws(StoreError) {
            _ = try await performFinally(S3Call(builder.abortMultipartUpload(upload.value, key: key)))
        } catch {
            if error.kind != .notFound { throw error }
        }
    }

    public func listParts(_ upload: UploadID, key: ObjectKey) async throws(StoreError) -> [UploadedPart] {
        var parts: [UploadedPart] = []
        var marker: Int?
        repeat {
            let answer = try await performFinally(S3Call(builder.listParts(upload.value, key: key, after: marker)))
            do throws(AnswerError) {
                let page = try PartsAnswer(body: answer.body)
                parts += page.parts.map { UploadedPart(number: $0.number, etag: $0.etag, byteCount: $0.byteCount) }
                // A marker that does not advance would never end.
                if let next = page.nextMarker, next <= marker ?? 0 { throw .invalidField("NextPartNumberMarker") }
                marker = page.nextMarker
            } catch {
                throw StoreError(error, answer, operation: .listParts, key: key)
            }
        } while marker != nil
        // SeaweedFS keeps a part that was sent anew beside the earlier one, lists both, and completes an upload by either.
        var seen = Set<UploadedPart>()
        return parts.filter { seen.insert($0).inserted }
    }
}
