// Copies on the server: whole objects, ranges into parts, and large objects by parts.

internal import Base
public import ObjectModel
internal import S3Protocol

extension S3Store {
    public func copy(_ request: CopyRequest) async throws(StoreError) -> ETag {
        if request.source.byteCount > configuration.singleCopyBytesMax || !state.withLock({ $0.hasSingleCopy }) {
            return try await copyByParts(request)
        }
        let builder = builder
        do throws(S3CallFailure) {
            return try await copying(request.source, operation: .copyObject, key: request.destination) { condition in
                builder.copyObject(
                    from: request.source.key, sourceCondition: condition, to: request.destination,
                    properties: request.properties, storageClass: request.storageClass)
            }
        } catch {
            // A copy of an object onto itself may change its ETag: then a repeated one finds the source "changed".
            if error.mayHaveHappened, error.error.kind == .preconditionFailed,
                request.source.key == request.destination,
                let properties = request.properties, let found = try? await head(request.destination),
                found.version.byteCount == request.source.byteCount,
                found.properties.metadata == properties.metadata
            {
                return found.version.etag
            }
            // Ceph's gateway copies what is encrypted by a customer's key into parts only.
            if error.error.kind == .unsupported, case .customerKey = configuration.options.encryption {
                state.withLock { $0.hasSingleCopy = false }
                return try await copyByParts(request)
            }
            var final = error.error
            final.mayHaveHappened = error.mayHaveHappened
            throw final
        }
    }

    public func uploadPartCopy(
        _ upload: UploadID, key: ObjectKey, number: Int, source: ObjectVersion, range: ByteRange
    ) async throws(StoreError) -> ETag {
        guard !range.isEmpty, range.upperBound <= source.byteCount else {
            throw StoreError(
                .invalidRange, operation: S3Operation.uploadPartCopy.rawValue, key: key,
                message: "the range is not within the source")
        }
        // The whole source needs no range, and S3 refuses ranges of sources below 5 MiB.
        let sourceRange = range.count == source.byteCount ? nil : range
        let builder = builder
        func send(isEncodedTwice: Bool) async throws(S3CallFailure) -> ETag {
            try await copying(source, operation: .uploadPartCopy, key: key) { condition in
                builder.uploadPartCopy(
                    upload.value, key: key, number: number, from: source.key, sourceCondition: condition,
                    range: sourceRange, isSourceEncodedTwice: isEncodedTwice)
            }
        }
        do throws(S3CallFailure) {
            // Other names mean the same however often they are decoded.
            let isOddKey = source.key.bytes.utf8.contains { $0 == UInt8(ascii: "%") || $0 == UInt8(ascii: "+") }
            guard isOddKey else { return try await send(isEncodedTwice: false) }
            let isEncodedTwice = try await decodesPartSourceTwice { builder in
                builder.uploadPartCopy(
                    upload.value, key: key, number: number, from: source.key, range: sourceRange,
                    isSourceEncodedTwice: true)
            }
            return try await send(isEncodedTwice: isEncodedTwice)
        } catch {
            if error.error.kind == .unsupported { state.withLock { $0.hasPartCopy = false } }
            throw error.error
        }
    }

    /// Whether the server decodes the name of a part's source twice, as RGW 16 does: it would copy `a b` for `a+b` where
    /// both exist, and abort on `%zz`. Found out once, by a name that only such a server finds: the part that this may
    /// make is replaced by the real one.
    private func decodesPartSourceTwice(
        _ makeTrial: @Sendable (RequestBuilder) -> S3Request
    ) async throws(S3CallFailure) -> Bool {
        if configuration.endpoint.isAWS { return false }
        if let known = state.withLock({ $0.decodesPartSourceTwice }) { return known }
        let result: Bool
        do throws(S3CallFailure) {
            _ = try await perform(S3Call(makeTrial(builder), isSlow: true))
            result = true
        } catch {
            switch error.error.kind {
            case .notFound where error.error.code != "NoSuchUpload": result = false
            // What servers say of a name that is not there, or that is too long for them.
            case .accessDenied, .invalidRequest, .tooLarge, .preconditionFailed, .invalidRange: result = false
            case .notFound, .bucketNotFound, .badCredentials, .expiredCredentials, .archived, .quotaExceeded,
                .throttled, .serverFault, .timedOut, .unreachable, .unsupported, .malformedResponse, .sourceFailed,
                .cancelled:
                throw error
            }
        }
        state.withLock { $0.decodesPartSourceTwice = result }
        return result
    }

    /// Sends a copy whose source must be of the given version, in the spelling of the condition that the server takes.
    private func copying(
        _ source: ObjectVersion, operation: S3Operation, key: ObjectKey,
        _ makeRequest: @Sendable (RequestCondition) -> S3Request
    ) async throws(S3CallFailure) -> ETag {
        let kind: ConditionKind = operation == .uploadPartCopy ? .partSourceIfMatch : .copySourceIfMatch
        var mayHaveHappened = false
        func final(_ error: StoreError) -> S3CallFailure {
            S3CallFailure(error: error, mayHaveHappened: mayHaveHappened)
        }
        func hasSource() async throws(S3CallFailure) -> Bool {
            do throws(StoreError) {
                return try await head(source.key).version.etag == source.etag
            } catch {
                throw final(error)
            }
        }
        func sourceChanged() -> S3CallFailure {
            final(
                StoreError(
                    .preconditionFailed, operation: operation.rawValue, key: key, message: "the source has changed"))
        }
        for _ in 0..<Self.conditionRoundsMax {
            let known = state.withLock { $0.conditions[kind]! }
            // A part is not published yet: where the server's condition cannot be relied on, that the source is still the same
            // after it is copied says all that HEAD before it could.
            let isSeenAfterwards = operation == .uploadPartCopy && known.support != .works
            if known.support != .works, !isSeenAfterwards {
                let isThere = try await hasSource()
                guard isThere else { throw sourceChanged() }
            }
            let isTrial = beginTrial(kind)
            let condition: RequestCondition =
                isTrial
                ? .ifMatch(Self.impossibleETag)
                : known.support == .broken ? .none : .ifMatch(source.etag, isQuoted: known.isQuoted)
            let failure: S3CallFailure
            do throws(S3CallFailure) {
                let answer = try await perform(S3Call(makeRequest(condition), isSlow: true))
                if isTrial { note(kind, .broken) } else { noteAccepted(kind, known) }
                let etag = try copyETag(answer, operation, key)
                // Another call may have learnt meanwhile that the condition holds.
                if isSeenAfterwards, state.withLock({ $0.conditions[kind]!.support }) != .works {
                    let isStillThere = try await hasSource()
                    guard isStillThere else { throw sourceChanged() }
                }
                return etag
            } catch {
                failure = error
                mayHaveHappened = mayHaveHappened || error.mayHaveHappened
            }
            if isTrial, failure.error.kind == .preconditionFailed {
                note(kind, .works)
                continue
            }
            if isSeenAfterwards, [.invalidRange, .invalidRequest, .notFound].contains(failure.error.kind) {
                // As a server puts it that has another object there by now.
                let isThere = try await hasSource()
                guard isThere else { throw sourceChanged() }
            }
            guard failure.error.kind == .preconditionFailed, known.support != .broken else { throw failure }
            let isThere = try await hasSource()
            guard isThere else {
                note(kind, .works)
                throw failure
            }
            // The source is as it should be, and the server says that it is not.
            noteVainRefusal(kind, known, hasSpellings: true)
        }
        throw final(
            StoreError(
                .preconditionFailed, operation: operation.rawValue, key: key,
                message: "the server's answers to the condition contradict each other"))
    }

    private func copyETag(
        _ answer: S3Answer, _ operation: S3Operation, _ key: ObjectKey
    ) throws(S3CallFailure) -> ETag {
        do throws(AnswerError) {
            return try WriteAnswers.copyETag(answer.body)
        } catch {
            let malformed = StoreError(error, answer, operation: operation, key: key)
            throw S3CallFailure(error: malformed, mayHaveHappened: true)
        }
    }

    private func copyByParts(_ request: CopyRequest) async throws(StoreError) -> ETag {
        let source = request.source
        let properties: ObjectProperties
        if let replacement = request.properties {
            properties = replacement
        } else {
            let info = try await head(source.key)
            guard info.version.etag == source.etag else {
                throw StoreError(
                    .preconditionFailed, operation: S3Operation.copyObject.rawValue, key: source.key,
                    message: "the source has changed")
            }
            properties = info.properties
        }
        // An upload has at least one part, and a part is copied of at least a byte.
        guard source.byteCount > 0 else {
            return try await put(PutRequest(key: request.destination, body: nil, properties: properties))
        }
        let upload = try await createUpload(request.destination, properties: properties)
        do throws(StoreError) {
            let parts = try await copyParts(of: source, into: upload, key: request.destination)
            return try await completeUpload(upload, key: request.destination, parts: parts, condition: .none)
        } catch {
            // In a task of its own: the call may be cancelled, the parts would cost money.
            let destination = request.destination
            await Task { [self] in try? await abortUpload(upload, key: destination) }.value
            throw error
        }
    }

    private func copyParts(
        of source: ObjectVersion, into upload: UploadID, key: ObjectKey
    ) async throws(StoreError) -> [UploadedPart] {
        let limits = capabilities
        let fitting = (source.byteCount + limits.partCountMax - 1) / limits.partCountMax
        let partBytes = min(
            max(configuration.copyPartBytes, limits.partBytesMin, fitting),
            limits.partBytesMax, max(configuration.singleCopyBytesMax, limits.partBytesMin, fitting))
        let count = (source.byteCount + partBytes - 1) / partBytes
        let isFailed = Lock(false)
        let results = await Self.inParallel(count, width: configuration.copyPartsInFlightMax) {
            [self] index -> Result<UploadedPart, StoreError> in
            let range = ByteRange(index * partBytes, min((index + 1) * partBytes, source.byteCount))
            // The first failure ends the copy: what did not begin needs no request.
            if isFailed.withLock({ $0 }) {
                return .failure(StoreError(.cancelled, operation: S3Operation.uploadPartCopy.rawValue, key: key))
            }
            do throws(StoreError) {
                let etag = try await uploadPartCopy(upload, key: key, number: index + 1, source: source, range: range)
                return .success(UploadedPart(number: index + 1, etag: etag, byteCount: range.count))
            } catch {
                isFailed.withLock { $0 = true }
                return .failure(error)
            }
        }
        let failures = results.compactMap { result -> StoreError? in
            if case .failure(let error) = result { error } else { nil }
        }
        // Those that were not begun are not the reason, unless the whole call was cancelled.
        if let failure = failures.first(where: { $0.kind != .cancelled }) ?? failures.first { throw failure }
        var parts: [UploadedPart] = []
        for result in results { parts.append(try result.get()) }
        return parts
    }
}
