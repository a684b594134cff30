// One call: sign, send, look at the answer, correct what the server says is wrong with us, or wait and ask again.

internal import Base
internal import HTTPTransport
internal import ObjectModel
internal import S3Protocol

/// What a call asks.
struct S3Call: Sendable {
    var request: S3Request
    var body: UploadBody?
    /// With it, `request` is only the first request: the download says what comes next.
    var download: ObjectDownload?
    var isSlow = false
    /// Made to learn how the server refuses.
    var isTrial = false
    /// Instead of the store's.
    var retry: RetryPolicy?
    /// Instead of those of the store, `isSlow` or not.
    var timeouts: HTTPTimeouts?

    init(_ request: S3Request, body: UploadBody? = nil, isSlow: Bool = false) {
        self.request = request
        self.body = body
        self.isSlow = isSlow
    }
}

/// An answer of success.
struct S3Answer: Sendable {
    let status: Int
    let headers: HeaderFields
    let body: [UInt8]
    /// Whether an earlier attempt of the call may have taken effect too.
    let mayHaveHappenedBefore: Bool
}

/// A call that failed for good.
struct S3CallFailure: Error {
    var error: StoreError
    /// Whether an attempt whose answer was lost may have taken effect.
    var mayHaveHappened: Bool
}

extension S3Store {
    /// Performs a call with all its retries.
    func perform(_ call: S3Call) async throws(S3CallFailure) -> S3Answer {
        let operation = call.request.operation
        let key = call.request.key
        do throws(StoreError) {
            try await awaitServer(for: call)
        } catch {
            throw S3CallFailure(error: error, mayHaveHappened: false)
        }
        let began = time.monotonicNanoseconds
        var attempt = 0
        var attemptsInRow = 0
        var firstOfRow = began
        var deliveredBefore = 0
        var mayHaveHappened = false
        var corrections = Corrections()
        var isAfterSilence = false

        func failure(_ error: StoreError) -> S3CallFailure {
            S3CallFailure(error: error, mayHaveHappened: mayHaveHappened)
        }
        func cancelled() -> S3CallFailure {
            failure(StoreError(.cancelled, operation: operation.rawValue, key: key, message: "the call was cancelled"))
        }

        while true {
            if Task.isCancelled { throw cancelled() }
            attempt += 1
            attemptsInRow += 1
            let mayHaveHappenedBefore = mayHaveHappened
            let context: SigningContext
            do throws(CredentialError) {
                context = try await signingContext()
            } catch {
                throw failure(StoreError(error, operation: operation, key: key))
            }
            let outcome = await send(
                call, context, attempt: attempt, inRow: attemptsInRow, isAfterSilence: isAfterSilence)

            if let delivered = call.download?.deliveredByteCount, delivered > deliveredBefore {
                deliveredBefore = delivered
                attemptsInRow = 1
                firstOfRow = time.monotonicNanoseconds
            }
            if call.download?.isComplete == true, case .failed = outcome {
                // The last byte came before the connection broke.
                return S3Answer(status: 206, headers: HeaderFields(), body: [], mayHaveHappenedBefore: false)
            }
            if let wrong = call.download?.failure { throw failure(wrong) }
            if call.download?.isComplete == false, Task.isCancelled { throw cancelled() }

            let reaction: RetryPolicy.Failure?
            let error: StoreError
            switch outcome {
            case .answered(let response):
                if let problem = call.download?.problem { throw failure(problem) }
                return S3Answer(
                    status: response.status, headers: HeaderFields(response.head.headers), body: response.body,
                    mayHaveHappenedBefore: mayHaveHappenedBefore || response.metrics.sendCount > 1)
            case .refused(let refusal, let sendCount):
                isAfterSilence = false
                if await correct(&corrections, by: refusal, context) {
                    attemptsInRow -= 1
                    continue
                }
                let isFault = refusal.status >= 500 && refusal.status != 501 || refusal.status < 300
                if sendCount > 1 || isFault { mayHaveHappened = true }
                reaction = RetryPolicy.Failure(refusal, operation: operation)
                error = StoreError(refusal, operation: operation, key: key)
            case .failed(let httpError):
                isAfterSilence = true
                // A body that refused to go on was not sent whole: this attempt has done nothing.
                if httpError.mayHaveReachedServer, httpError.kind != .bodySourceFailed { mayHaveHappened = true }
                reaction = RetryPolicy.Failure(httpError)
                error = StoreError(httpError, operation: operation, key: key)
            }

            let elapsed = time.monotonicNanoseconds &- firstOfRow
            var isUnanswered = false
            if case .failed = outcome { isUnanswered = true }
            // Others have found out that there is nobody to wait for.
            guard let reaction, !(isUnanswered && isDown),
                let delay = (call.retry ?? configuration.retry).delayNanoseconds(
                    after: reaction, attempts: attemptsInRow, elapsedNanoseconds: elapsed, dice: dice())
            else {
                if isUnanswered { noteFailure(error, began: began) }
                throw failure(error)
            }
            // It has been waited for long enough, and nothing says that there are too many of us.
            if attemptsInRow == 1, outcome.isStall, StragglerPolicy.isRead(operation) { continue }
            do {
                try await time.sleep(nanoseconds: delay)
            } catch {
                throw cancelled()
            }
        }
    }

    /// How one request ended.
    enum Outcome: Sendable {
        case answered(HTTPResponse)
        case refused(S3ErrorResponse, sendCount: Int)
        case failed(HTTPError)

        /// Whether another request would be answered the same.
        var isConclusive: Bool {
            switch self {
            case .answered: true
            case .refused(let refusal, _): refusal.status < 500 && refusal.status != 429
            case .failed: false
            }
        }

        /// Whether it was given up because nothing, or too little, moved.
        var isStall: Bool {
            guard case .failed(let error) = self else { return false }
            return error.kind == .timedOut(.stall) || error.kind == .timedOut(.slow)
        }
    }

    /// - Parameters:
    ///   - inRow: the attempts without progress, this one included.
    ///   - isAfterSilence: whether the last request of the call had no complete answer.
    func send(
        _ call: S3Call, _ context: SigningContext, attempt: Int, inRow: Int, isAfterSilence: Bool
    ) async -> Outcome {
        let request = call.download?.nextRequest(builder) ?? call.request
        let target = context.endpoint.target(of: request, style: configuration.addressing)
        let payload = call.body?.payload ?? PayloadHash.of(request.body)
        var headers = request.headers
        if let credentials = context.credentials {
            headers = signer.sign(
                request.method, target, headers: headers, payload: payload, credentials: credentials,
                region: context.region, date: context.date)
        }
        let body: (any HTTPBodySource)?
        if let upload = call.body {
            body = upload.byteCount > 0 ? upload : nil
        } else {
            body = request.body.isEmpty ? nil : DocumentBody(request.body)
        }
        let timeouts = call.timeouts ?? (call.isSlow ? configuration.slowTimeouts : configuration.timeouts)
        var httpRequest = HTTPRequest(
            method: HTTPMethod(request.method), url: target.url, headers: headers.fields, timeouts: timeouts)
        // Kept connections are not to be trusted any more, and somebody waits already.
        httpRequest.isOnNewConnection = isAfterSilence
        httpRequest.isUrgent = isAfterSilence

        if StragglerPolicy.isRead(request.operation), call.timeouts == nil {
            var limits = timeouts ?? HTTPTimeouts()
            let stall = limits.stallMilliseconds
            let patience = stragglers.withLock {
                $0.begin(request.operation, attempt: inRow, stallMillisecondsMax: stall)
            }
            limits.stallMilliseconds = patience.stallMilliseconds
            httpRequest.timeouts = limits
            httpRequest.isGivenUpWhenSlow = call.download != nil
            var current = call
            current.request = request
            return await sendRead(current, httpRequest, attempt: attempt, patience: patience)
        }
        let start = time.monotonicNanoseconds
        let (outcome, metrics) = await exchange(
            request, httpRequest, body: body, sink: call.download, attempt: attempt, isHedge: false)
        report(
            outcome, of: request, attempt: attempt, isHedge: false, isTrial: call.isTrial, metrics: metrics,
            since: start)
        return outcome
    }

    /// One request on the wire.
    func exchange(
        _ request: S3Request, _ httpRequest: HTTPRequest, body: (any HTTPBodySource)?, sink: (any HTTPResponseSink)?,
        attempt: Int, isHedge: Bool
    ) async -> (Outcome, HTTPMetrics) {
        let number = underWay.withLock {
            $0.begin(
                S3RequestUnderWay(
                    operation: request.operation, key: request.key, attempt: attempt, isHedge: isHedge,
                    startNanoseconds: time.monotonicNanoseconds))
        }
        defer { underWay.withLock { $0.end(number) } }
        let outcome: Outcome
        var metrics = HTTPMetrics()
        do throws(HTTPError) {
            let response = try await transport.send(httpRequest, body: body, sink: sink)
            noteAnswer()
            metrics = response.metrics
            let fields = HeaderFields(response.head.headers)
            if !(200..<300).contains(response.status) {
                let refusal = S3ErrorResponse(status: response.status, headers: fields, body: response.body)
                outcome = .refused(refusal, sendCount: metrics.sendCount)
            } else if request.operation.mayFailAfterSuccess,
                let refusal = S3ErrorResponse.inside(response.body, headers: fields)
            {
                outcome = .refused(refusal, sendCount: metrics.sendCount)
            } else {
                outcome = .answered(response)
            }
        } catch {
            outcome = .failed(error)
        }
        return (outcome, metrics)
    }

    func report(
        _ outcome: Outcome, of request: S3Request, attempt: Int, isHedge: Bool, isTrial: Bool = false,
        metrics: HTTPMetrics, since start: UInt64
    ) {
        let status: Int?
        let failure: String?
        let requestID: String?
        switch outcome {
        case .answered(let response):
            (status, failure, requestID) = (response.status, nil, response.head["x-amz-request-id"])
        case .refused(let refusal, _):
            (status, failure, requestID) = (refusal.status, refusal.code ?? "HTTP \(refusal.status)", refusal.requestID)
        case .failed(let error):
            (status, failure, requestID) = (nil, "\(error.kind)", nil)
        }
        let record = S3RequestRecord(
            operation: request.operation, key: request.key, attempt: attempt, isHedge: isHedge, status: status,
            failure: failure,
            requestID: requestID, bodyBytesSent: metrics.bodyBytesSent, bodyBytesReceived: metrics.bodyBytesReceived,
            durationNanoseconds: time.monotonicNanoseconds &- start, isStall: outcome.isStall,
            isTrial: isTrial)
        state.withLock { $0.counters.add(record) }
        onRequest?(record)
    }
}

extension HTTPMethod {
    init(_ method: S3Method) {
        self =
            switch method {
            case .get: .get
            case .head: .head
            case .put: .put
            case .post: .post
            case .delete: .delete
            }
    }
}
