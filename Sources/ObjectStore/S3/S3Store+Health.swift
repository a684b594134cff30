// What a call does on a server that does not answer: it asks by a probe, and fails soon.

internal import Base
internal import HTTPTransport
internal import Logging
internal import S3Protocol

/// The health of the server, and the end of the probe under way.
struct HealthState {
    var health = EndpointHealth()
    /// Set with true when the probe came to an end, with false when its call was cancelled.
    var probe: OneShot<Bool>?
}

extension S3Store {
    public var reachability: StoreReachability {
        health.withLock { state in
            state.health.outage.map { .unreachable(sinceNanoseconds: $0.sinceNanoseconds) } ?? .reachable
        }
    }

    var isDown: Bool { health.withLock { $0.health.outage != nil } }

    /// Returns at once while the server is up. Else waits for a probe: returns when it was answered.
    /// - Throws: the outage as the failure of `call`, or `.cancelled`.
    func awaitServer(for call: S3Call) async throws(StoreError) {
        let cancelled = StoreError(
            .cancelled, operation: call.request.operation.rawValue, key: call.request.key,
            message: "the call was cancelled")
        while true {
            let (admission, probe) = health.withLock { state in
                let admission = state.health.admit()
                if case .probe = admission { state.probe = OneShot() }
                return (admission, state.probe)
            }
            let isDone: Bool
            switch (admission, probe) {
            case (.go, _), (_, nil): return
            case (.join, let probe?): isDone = await Self.waitCancellably(for: probe)
            case (.probe(let isPatient), let probe?): isDone = await run(probe, isPatient: isPatient)
            }
            if Task.isCancelled { throw cancelled }
            guard isDone else { continue }
            if let outage = health.withLock({ $0.health.outage }) { throw failure(of: call, outage) }
            return
        }
    }

    /// An answer came, from whatever request.
    func noteAnswer() {
        let now = time.monotonicNanoseconds
        tell(health.withLock { $0.health.answered(now: now) })
    }

    /// A call has failed for good, its last request without an answer.
    func noteFailure(_ error: StoreError, began: UInt64) {
        guard error.kind == .timedOut || error.kind == .unreachable else { return }
        tell(health.withLock { $0.health.failed(began: began, kind: error.kind, message: error.message) })
    }

    /// False when it was cancelled, and so says nothing.
    private func run(_ probe: OneShot<Bool>, isPatient: Bool) async -> Bool {
        var request = S3Call(builder.headBucket())
        if !isPatient { request.timeouts = configuration.probeTimeouts }
        let failure: StoreError?
        do throws(CredentialError) {
            let outcome = await send(request, try await signingContext(), attempt: 1, inRow: 1, isAfterSilence: true)
            if case .failed(let error) = outcome {
                failure = StoreError(error, operation: .headBucket, key: nil)
            } else {
                failure = nil
            }
        } catch {
            failure = StoreError(error, operation: .headBucket, key: nil)
        }
        let isDone = failure?.kind != .cancelled
        health.withLock { state in
            if isDone, let failure { state.health.probeFailed(kind: failure.kind, message: failure.message) }
            state.health.probeEnded()
            state.probe = nil
        }
        probe.set(isDone)
        return isDone
    }

    private static func waitCancellably(for probe: OneShot<Bool>) async -> Bool {
        let ended = OneShot<Bool>()
        probe.observe { ended.set($0) }
        return await withTaskCancellationHandler {
            await ended.wait()
        } onCancel: {
            ended.set(false)
        }
    }

    private func failure(of call: S3Call, _ outage: EndpointHealth.Outage) -> StoreError {
        let seconds = (time.monotonicNanoseconds &- outage.sinceNanoseconds) / 1_000_000_000
        return StoreError(
            outage.kind, operation: call.request.operation.rawValue, key: call.request.key,
            message: "the server has not answered for \(seconds) s: \(outage.message)")
    }

    private func tell(_ change: EndpointHealth.Change?) {
        switch change {
        case nil: break
        case .wentDown(let outage):
            log.error("\(endpoint) does not answer (\(outage.message)); until it does, calls fail at once")
        case .cameBack(let nanoseconds):
            log.notice("\(endpoint) answers again, after \(nanoseconds / 1_000_000_000) s")
        }
    }
}
