// Conditional writes on servers that honour them, honour them in their own way, or only say so.
//
// Against a server that is known to honour a condition, it is sent and relied on. Else HEAD goes first: a window stays in
// which another client's write is lost, but no more than that. A 412 is looked into by HEAD before it is believed, because
// RGW 16 compares If-Match with the bare ETag, and because the change that it reports may be our own earlier attempt.
//
// The first write on an unknown server finds out at no risk: after HEAD has said that it may go (or whoever has looked for
// the name of a new file, a moment ago), it is sent with a
// condition that cannot hold. A server that honours conditions refuses it, and then gets the true one; a server that
// ignores them does what was wanted. Under If-None-Match, which can hold, it is sent twice at once instead.

internal import Base
internal import ObjectModel
internal import S3Protocol

/// A write with a condition: what `S3Store.write` needs to know of it.
struct ConditionalWrite: Sendable {
    let operation: S3Operation
    let key: ObjectKey
    let condition: WriteCondition
    /// Whether it may be sent once more to find out about the server: small, and the same when repeated.
    let isRepeatable: Bool
    /// Whether the server has just said that nothing is there.
    var isSeenAbsent = false
    /// Sends it with this condition in its header.
    let send: @Sendable (RequestCondition) async throws(S3CallFailure) -> ETag
    /// Whether what is there now is what this write would make; `mayHaveHappened` says that an answer was lost.
    let isOurs: @Sendable (_ found: ObjectInfo, _ mayHaveHappened: Bool) async -> Bool

    var kind: ConditionKind? {
        switch condition {
        case .none: nil
        case .ifMatch: operation == .putObject ? .putIfMatch : .completeIfMatch
        case .ifAbsent: operation == .putObject ? .putIfAbsent : .completeIfAbsent
        }
    }
}

extension S3Store {
    func write(_ write: ConditionalWrite) async throws(StoreError) -> ETag {
        var mayHaveHappened = false
        do throws(StoreError) {
            return try await self.write(write, &mayHaveHappened)
        } catch {
            var error = error
            error.mayHaveHappened = mayHaveHappened
            throw error
        }
    }

    private func write(_ write: ConditionalWrite, _ mayHaveHappened: inout Bool) async throws(StoreError) -> ETag {
        // Each round ends the call, or learns something of the server: its spelling, then that it cannot do it.
        for _ in 0..<Self.conditionRoundsMax {
            let known = write.kind.map { kind in state.withLock { $0.conditions[kind]! } }
            let isSeen = write.isSeenAbsent && known?.support == .unknown && !mayHaveHappened
            if let known, known.support != .works, !isSeen {
                let found = try await findExisting(write.key)
                if mayHaveHappened, let found, await write.isOurs(found, true) { return found.version.etag }
                guard holds(write.condition, found) else { throw preconditionFailed(write, nil) }
            }
            let isTrial = write.isRepeatable && beginTrial(write.kind)
            do throws(S3CallFailure) {
                if isTrial, isIfMatch(write.condition) {
                    let etag = try await write.send(.ifMatch(Self.impossibleETag))
                    note(write.kind, .broken)
                    return etag
                }
                let etag = isTrial ? try await makeTwice(write) : try await write.send(header(write.condition, known))
                noteAccepted(write.kind, known)
                return etag
            } catch {
                mayHaveHappened = mayHaveHappened || error.mayHaveHappened
                if isTrial, isIfMatch(write.condition), isRefusedCondition(error.error) {
                    note(write.kind, .works)
                    continue
                }
                if let etag = try await lookInto(error.error, write, known, mayHaveHappened: mayHaveHappened) {
                    return etag
                }
            }
        }
        throw preconditionFailed(write, nil)
    }

    /// How often a write is sent: once to find out, then until the server is known to refuse in vain, and without condition.
    static let conditionRoundsMax = 6

    /// No object has it: all zeros is the MD5 of nothing known.
    static let impossibleETag = ETag("00000000000000000000000000000000")!

    /// True for the one call that finds out what an unknown server makes of a kind of condition.
    func beginTrial(_ kind: ConditionKind?) -> Bool {
        guard let kind else { return false }
        return state.withLock { state in
            guard state.conditions[kind]!.support == .unknown, !state.conditions[kind]!.isTried else { return false }
            state.conditions[kind]!.isTried = true
            return true
        }
    }

    func isRefusedCondition(_ error: StoreError) -> Bool {
        error.kind == .preconditionFailed || error.kind == .notFound && error.code == "NoSuchKey"
    }

    /// Makes a new object under If-None-Match by two requests at once, of which a server that honours it refuses one.
    private func makeTwice(_ write: ConditionalWrite) async throws(S3CallFailure) -> ETag {
        async let second = outcome(of: write)
        let outcomes = [await outcome(of: write), await second]
        let made = outcomes.compactMap { try? $0.get() }
        let failures = outcomes.compactMap { outcome -> S3CallFailure? in
            if case .failure(let failure) = outcome { failure } else { nil }
        }
        guard let etag = made.first else {
            // Of an answer that was lost the other one's refusal may tell, too.
            var failure = failures.first { $0.error.kind == .preconditionFailed } ?? failures[0]
            failure.mayHaveHappened = failures.contains { $0.mayHaveHappened }
            throw failure
        }
        func current() async -> ETag { (try? await head(write.key))?.version.etag ?? etag }
        guard let failure = failures.first else {
            // The server may have looked for both before it made one.
            return await tryRepeating(write, made[0] == made[1] ? etag : await current())
        }
        switch failure.error.kind {
        case .preconditionFailed: note(write.kind, .works)
        // Whatever it was, the object is there; only its version may be another one.
        default: return await current()
        }
        return etag
    }

    private func outcome(of write: ConditionalWrite) async -> Result<ETag, S3CallFailure> {
        do throws(S3CallFailure) { return .success(try await write.send(.ifAbsent)) } catch { return .failure(error) }
    }

    /// After a new object was made under If-None-Match, making it again must be refused.
    private func tryRepeating(_ write: ConditionalWrite, _ etag: ETag) async -> ETag {
        do throws(S3CallFailure) {
            let again = try await write.send(.ifAbsent)
            note(write.kind, .broken)
            return again
        } catch {
            switch error.error.kind {
            case .preconditionFailed: note(write.kind, .works)
            case .unsupported: note(write.kind, .broken)
            // Whatever it was, the object is there; only its version may be another one.
            default: return (try? await head(write.key))?.version.etag ?? etag
            }
            return etag
        }
    }

    private func header(_ condition: WriteCondition, _ known: ConditionState?) -> RequestCondition {
        guard let known, known.support != .broken else { return .none }
        switch condition {
        case .none: return .none
        case .ifMatch(let etag): return .ifMatch(etag, isQuoted: known.isQuoted)
        case .ifAbsent: return .ifAbsent
        }
    }

    /// What to make of a failed write: the ETag of a success in disguise, nil to try again, else the final error.
    private func lookInto(
        _ error: StoreError, _ write: ConditionalWrite, _ known: ConditionState?, mayHaveHappened: Bool
    ) async throws(StoreError) -> ETag? {
        let isLostUpload =
            write.operation == .completeMultipartUpload && error.kind == .notFound && error.code != "NoSuchKey"
        switch error.kind {
        case .preconditionFailed: break
        case .notFound where isLostUpload: break
        // S3 says 404 to If-Match on a key that is not there.
        case .notFound where isIfMatch(write.condition):
            note(write.kind, .works)
            throw preconditionFailed(write, error)
        case .unsupported where known != nil && known?.support != .broken:
            note(write.kind, .broken)
            return nil
        // No answer at all: whether it happened can still be seen.
        case .timedOut, .unreachable, .serverFault, .throttled, .malformedResponse:
            guard mayHaveHappened else { throw error }
            if let found = try? await head(write.key), await write.isOurs(found, true) { return found.version.etag }
            throw error
        case .notFound, .bucketNotFound, .invalidRange, .accessDenied, .badCredentials, .expiredCredentials, .archived,
            .tooLarge, .quotaExceeded, .unsupported, .invalidRequest, .sourceFailed, .cancelled:
            throw error
        }

        let found = try await findExisting(write.key)
        if let found, await write.isOurs(found, mayHaveHappened) { return found.version.etag }
        if isLostUpload { throw error }
        if holds(write.condition, found), let known, known.support != .broken {
            // The condition holds, and the server says that it does not.
            noteVainRefusal(write.kind, known, hasSpellings: isIfMatch(write.condition))
            return nil
        }
        note(write.kind, .works)
        throw error
    }

    /// What is at the key now; nil when the server says that nothing is.
    private func findExisting(_ key: ObjectKey) async throws(StoreError) -> ObjectInfo? {
        do throws(StoreError) {
            return try await head(key)
        } catch {
            if error.kind == .notFound { return nil }
            throw error
        }
    }

    private func holds(_ condition: WriteCondition, _ found: ObjectInfo?) -> Bool {
        switch condition {
        case .none: true
        case .ifMatch(let etag): found?.version.etag == etag
        case .ifAbsent: found == nil
        }
    }

    private func isIfMatch(_ condition: WriteCondition) -> Bool {
        if case .ifMatch = condition { true } else { false }
    }

    private func preconditionFailed(_ write: ConditionalWrite, _ cause: StoreError?) -> StoreError {
        StoreError(
            .preconditionFailed, operation: write.operation.rawValue, key: write.key, code: cause?.code,
            httpStatus: cause?.httpStatus, requestID: cause?.requestID,
            message: cause?.message ?? "the object has changed")
    }

    /// `works` is not taken back from `broken`: a server that refused wrongly once may refuse rightly, too.
    func note(_ kind: ConditionKind?, _ support: ConditionSupport) {
        guard let kind else { return }
        state.withLock { state in
            if state.conditions[kind]!.support != .broken { state.conditions[kind]!.support = support }
        }
    }

    /// A write was done that was sent under a condition, if it was: `known` is what was known then.
    func noteAccepted(_ kind: ConditionKind?, _ known: ConditionState?) {
        guard let kind, let known, known.support != .broken else { return }
        state.withLock { $0.conditions[kind]!.noteAccepted(isQuoted: known.isQuoted) }
    }

    /// - Parameter known: what was known when it was sent.
    func noteVainRefusal(_ kind: ConditionKind?, _ known: ConditionState, hasSpellings: Bool) {
        guard let kind else { return }
        state.withLock { $0.conditions[kind]!.noteVainRefusal(of: known, hasSpellings: hasSpellings) }
    }
}
