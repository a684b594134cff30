// A counting semaphore for tasks: how every concurrency limit of the control plane is enforced.

/// Lets at most `limit` tasks run a section at once; the others wait in order of arrival. Thread-safe.
///
/// A cancelled task does not wait: it leaves the line and runs its section at once, outside the limit, so that the
/// section says in its own way that it was cancelled. Sections must therefore end soon when they are cancelled.
public final class AsyncLimiter: Sendable {
    private struct Waiter {
        let id: UInt64
        /// Resumed with whether a place was given.
        let continuation: CheckedContinuation<Bool, Never>
    }

    private struct State {
        var available: Int
        /// In order of arrival, from `firstWaiter` on.
        var waiters: [Waiter] = []
        var firstWaiter = 0
        var nextID: UInt64 = 0

        mutating func takeFirst() -> Waiter? {
            guard firstWaiter < waiters.count else { return nil }
            let waiter = waiters[firstWaiter]
            firstWaiter += 1
            if firstWaiter * 2 > waiters.count {
                waiters.removeFirst(firstWaiter)
                firstWaiter = 0
            }
            return waiter
        }

        mutating func take(_ id: UInt64) -> Waiter? {
            guard let index = waiters[firstWaiter...].firstIndex(where: { $0.id == id }) else { return nil }
            return waiters.remove(at: index)
        }
    }

    // Continuations are resumed after unlock.
    private let state: Lock<State>

    public init(limit: Int) {
        precondition(limit > 0, "a limiter needs room for one")
        state = Lock(State(available: limit))
    }

    /// How many tasks wait for a place.
    public var waiterCount: Int { state.withLock { $0.waiters.count - $0.firstWaiter } }

    /// Runs `body` when there is room, or when the task is cancelled.
    public func run<Value: Sendable, Failure: Error>(
        _ body: @Sendable () async throws(Failure) -> Value
    ) async throws(Failure) -> Value {
        let hasPlace = await enter()
        defer { if hasPlace { leave() } }
        return try await body()
    }

    /// Returns whether a place was taken; false only when the task is cancelled.
    private func enter() async -> Bool {
        let id: UInt64? = state.withLock { state in
            if state.available > 0 {
                state.available -= 1
                return nil
            }
            state.nextID += 1
            return state.nextID
        }
        guard let id else { return true }
        return await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let answer: Bool? = state.withLock { state in
                    // The mark is set before the handler below runs: either it is seen here, or the handler finds
                    // the waiter in line.
                    if Task.isCancelled { return false }
                    // A place may have come free since the first look; nobody waits then.
                    if state.available > 0 {
                        state.available -= 1
                        return true
                    }
                    state.waiters.append(Waiter(id: id, continuation: continuation))
                    return nil
                }
                if let answer { continuation.resume(returning: answer) }
            }
        } onCancel: {
            let waiter = state.withLock { $0.take(id) }
            waiter?.continuation.resume(returning: false)
        }
    }

    private func leave() {
        let next: Waiter? = state.withLock { state in
            let next = state.takeFirst()
            if next == nil { state.available += 1 }
            return next
        }
        next?.continuation.resume(returning: true)
    }
}
