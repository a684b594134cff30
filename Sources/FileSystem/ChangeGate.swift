// Keeps renames of directories apart from everything that would use a name below them.

internal import Base

/// Many sharers or one exclusive holder, first come first served. Thread-safe; waits without blocking a thread.
final class ChangeGate: Sendable {
    private struct State {
        var sharedCount = 0
        var isExclusive = false
        var waiters: [(isExclusive: Bool, continuation: CheckedContinuation<Void, Never>)] = []
    }

    private let state = Lock(State())

    /// Enters shared if that needs no waiting.
    func tryEnterShared() -> Bool {
        state.withLock { state in
            guard !state.isExclusive, state.waiters.isEmpty else { return false }
            state.sharedCount += 1
            return true
        }
    }

    func enterShared() async {
        await enter(isExclusive: false)
    }

    func enterExclusive() async {
        await enter(isExclusive: true)
    }

    private func enter(isExclusive: Bool) async {
        await withCheckedContinuation { continuation in
            let isIn = state.withLock { state in
                let isFree = isExclusive ? state.sharedCount == 0 && !state.isExclusive : !state.isExclusive
                guard isFree, state.waiters.isEmpty else {
                    state.waiters.append((isExclusive, continuation))
                    return false
                }
                if isExclusive { state.isExclusive = true } else { state.sharedCount += 1 }
                return true
            }
            if isIn { continuation.resume() }
        }
    }

    func leaveShared() {
        leave { $0.sharedCount -= 1 }
    }

    func leaveExclusive() {
        leave { $0.isExclusive = false }
    }

    private func leave(_ change: (inout State) -> Void) {
        let next = state.withLock { state in
            change(&state)
            var admitted: [CheckedContinuation<Void, Never>] = []
            while let first = state.waiters.first {
                if first.isExclusive {
                    guard state.sharedCount == 0, !state.isExclusive else { break }
                    state.isExclusive = true
                } else {
                    guard !state.isExclusive else { break }
                    state.sharedCount += 1
                }
                admitted.append(state.waiters.removeFirst().continuation)
            }
            return admitted
        }
        for continuation in next { continuation.resume() }
    }

    /// Runs `body` as one of many.
    func shared<Value: Sendable>(
        _ body: () async throws(FileSystemError) -> Value
    ) async throws(FileSystemError) -> Value {
        await enterShared()
        defer { leaveShared() }
        return try await body()
    }

    /// Runs `body` alone.
    func exclusive<Value: Sendable>(
        _ body: () async throws(FileSystemError) -> Value
    ) async throws(FileSystemError) -> Value {
        await enterExclusive()
        defer { leaveExclusive() }
        return try await body()
    }
}
