// Keeps renames of directories apart from the changes that would use a name below them.

internal import Base

/// Changes enter, one rename of a directory at a time is alone with what it concerns. First come first served: a rename waits
/// for all changes that came before it, and a change for those renames that came before it and that it is `blocked` by.
/// So no two wait for each other, and none waits for ever. Thread-safe; waits without blocking a thread.
final class ChangeGate<Claim: Sendable>: Sendable {
    /// Of a change that has entered, or waits to.
    struct Ticket: Sendable {
        fileprivate let epoch: UInt64
    }

    private struct Rename: Sendable {
        let claim: Claim
        let epoch: UInt64
        /// Set when its turn has come, and when it is over.
        let turn = OneShot<Void>()
        let done = OneShot<Void>()
        var isRunning = false
    }

    private struct State {
        /// How many renames have come.
        var epoch: UInt64 = 0
        /// In the order in which they came; only the first may run.
        var renames: [Rename] = []
        /// Changes that have come and not left, by how many renames came before them.
        var changeCounts: [UInt64: Int] = [:]

        /// The turn of the first rename, once all changes that came before it have left.
        mutating func next() -> OneShot<Void>? {
            guard let first = renames.first, !first.isRunning, !changeCounts.keys.contains(where: { $0 <= first.epoch })
            else { return nil }
            renames[0].isRunning = true
            return first.turn
        }
    }

    // A leaf lock.
    private let state = Lock(State())

    /// Enters if that needs no waiting.
    func tryEnter(_ isBlocked: (Claim) -> Bool) -> Ticket? {
        let (ticket, before) = arrive()
        if before.contains(where: { isBlocked($0.claim) }) {
            leave(ticket)
            return nil
        }
        return ticket
    }

    /// - Parameter isBlocked: asked again after each wait, since a rename may take the change's place elsewhere; not under a lock.
    func enter(_ isBlocked: (Claim) -> Bool) async -> Ticket {
        var (ticket, before) = arrive()
        while let first = before.first(where: { isBlocked($0.claim) }) {
            await first.done.wait()
            before = state.withLock { state in state.renames.filter { $0.epoch < ticket.epoch } }
        }
        return ticket
    }

    private func arrive() -> (Ticket, [Rename]) {
        state.withLock { state in
            state.changeCounts[state.epoch, default: 0] += 1
            return (Ticket(epoch: state.epoch), state.renames)
        }
    }

    func leave(_ ticket: Ticket) {
        let turn = state.withLock { state in
            let count = state.changeCounts[ticket.epoch]!
            state.changeCounts[ticket.epoch] = count == 1 ? nil : count - 1
            return state.next()
        }
        turn?.set(())
    }

    private func enter(_ claim: Claim) async -> Rename {
        let (rename, turn) = state.withLock { state in
            let rename = Rename(claim: claim, epoch: state.epoch)
            state.renames.append(rename)
            state.epoch += 1
            return (rename, state.next())
        }
        turn?.set(())
        await rename.turn.wait()
        return rename
    }

    private func leave(_ rename: Rename) {
        let turn = state.withLock { state in
            state.renames.removeFirst()
            return state.next()
        }
        rename.done.set(())
        turn?.set(())
    }

    /// Runs `body` as one of many.
    func shared<Value: Sendable>(
        _ isBlocked: (Claim) -> Bool, _ body: () async throws(FileSystemError) -> Value
    ) async throws(FileSystemError) -> Value {
        let ticket = await enter(isBlocked)
        defer { leave(ticket) }
        return try await body()
    }

    /// Runs `body` alone with what it claims.
    func exclusive<Value: Sendable>(
        _ claim: Claim, _ body: () async throws(FileSystemError) -> Value
    ) async throws(FileSystemError) -> Value {
        let rename = await enter(claim)
        defer { leave(rename) }
        return try await body()
    }
}
