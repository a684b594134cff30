// Reads that take long: a second request beside the first.

internal import Base
internal import HTTPTransport
internal import S3Protocol

extension S3Store {
    /// One request of a read, and how it ended.
    private enum Leg: Sendable {
        case notSent
        case ended(Outcome, number: Int)
    }

    /// Sends a read, and once more beside it when its answer is late. Reports each request on the wire.
    /// - Parameter patience: of this read.
    func sendRead(
        _ call: S3Call, _ request: HTTPRequest, attempt: Int, patience: StragglerPolicy.Patience
    ) async -> Outcome {
        let race = ReadRace()
        let operation = call.request.operation
        let start = time.monotonicNanoseconds
        let outcome: Outcome
        if let late = patience.hedgeNanoseconds {
            outcome = await raced(call, request, attempt: attempt, race, after: late)
        } else {
            outcome = await leg(1, of: race, call, request, attempt: attempt)
        }
        // Without a sink the whole answer counts as its first byte: a listing or a head is one packet or few.
        var firstByte = race.firstByteNanoseconds
        if firstByte == nil, case .answered = outcome { firstByte = time.monotonicNanoseconds }
        if let firstByte {
            stragglers.withLock { $0.noteFirstByte(operation, nanoseconds: firstByte &- start) }
        }
        return outcome
    }

    private func raced(
        _ call: S3Call, _ request: HTTPRequest, attempt: Int, _ race: ReadRace, after nanoseconds: UInt64
    ) async -> Outcome {
        let operation = call.request.operation
        return await withTaskGroup(of: Leg.self) { group in
            group.addTask { .ended(await self.leg(1, of: race, call, request, attempt: attempt), number: 1) }
            group.addTask {
                do {
                    try await self.time.sleep(nanoseconds: nanoseconds)
                } catch {
                    return .notSent
                }
                guard race.winningLeg == nil, self.stragglers.withLock({ $0.takeHedge(operation) }) else {
                    return .notSent
                }
                var hedge = request
                hedge.isUrgent = true
                return .ended(await self.leg(2, of: race, call, hedge, attempt: attempt), number: 2)
            }
            var isHedged = false
            var first: Outcome?
            var best: (outcome: Outcome, number: Int)?
            for await case .ended(let outcome, let number) in group {
                if number == 1 { first = outcome } else { isHedged = true }
                guard best == nil else { continue }
                // Whoever delivers decides, also by breaking off: the rest is asked for again.
                let isDecided = race.winningLeg.map { $0 == number } ?? outcome.isConclusive
                guard isDecided else { continue }
                best = (outcome, number)
                group.cancelAll()
            }
            if isHedged { stragglers.withLock { $0.noteHedge(operation, isWon: best?.number == 2) } }
            if best?.number == 2 { state.withLock { $0.counters.noteHedgeWon(operation) } }
            guard let outcome = best?.outcome ?? first else { preconditionFailure("the first request has an end") }
            return outcome
        }
    }

    private func leg(
        _ number: Int, of race: ReadRace, _ call: S3Call, _ request: HTTPRequest, attempt: Int
    ) async -> Outcome {
        // A body may take longer than others wait for the server: its head already is an answer.
        let sink = call.download.map { RaceLeg(number, of: race, download: $0, time: time, onHead: noteAnswer) }
        let began = time.monotonicNanoseconds
        let (outcome, metrics) = await exchange(
            call.request, request, body: nil, sink: sink, attempt: attempt, isHedge: number > 1)
        switch outcome {
        case .failed(let error) where error.kind == .timedOut(.stall):
            let milliseconds = request.timeouts?.stallMilliseconds ?? 0
            stragglers.withLock {
                $0.notePause(call.request.operation, nanoseconds: UInt64(milliseconds) * 1_000_000)
            }
        case .answered:
            stragglers.withLock {
                $0.notePause(call.request.operation, nanoseconds: metrics.longestPauseNanoseconds)
            }
        case .failed, .refused: break
        }
        report(outcome, of: call.request, attempt: attempt, isHedge: number > 1, metrics: metrics, since: began)
        return outcome
    }
}
