// How long what is uploaded in the end is held back, for more of its kind.

internal import Base

/// Programs that write many small files (tar, a build, a training run's outputs) wait for each close() and for no upload. What
/// uploads take of the processors meanwhile they take from the program. And programs that save a file as a whole write it under
/// another name and rename it (editors, rsync, pip): sent before that, it would be sent, copied by the store and removed. So
/// what may wait does until nothing came for a moment, but never for long. A pure value.
struct Burst: Sendable, Equatable {
    /// A pause of so long ends a burst: longer than a busy machine keeps a program from its processor.
    let pauseNanoseconds: UInt64
    /// The longest time that a burst holds back.
    let holdNanosecondsMax: UInt64

    private var count = 0
    private var lookedAtCount = 0
    private var heldNanoseconds: UInt64 = 0

    init(pauseNanoseconds: UInt64, holdNanosecondsMax: UInt64) {
        self.pauseNanoseconds = pauseNanoseconds
        self.holdNanosecondsMax = holdNanosecondsMax
    }

    /// One more came.
    mutating func add() {
        count += 1
    }

    /// The first of a burst is held back from now on.
    mutating func begin() {
        lookedAtCount = count
        heldNanoseconds = 0
    }

    /// To be called when a burst has been held back for another `pauseNanoseconds`; whether it may go now.
    mutating func hasPaused() -> Bool {
        heldNanoseconds += pauseNanoseconds
        defer { lookedAtCount = count }
        return count == lookedAtCount || heldNanoseconds >= holdNanosecondsMax
    }
}

/// Holds back what comes in bursts. Thread-safe.
final class BurstGate: Sendable {
    private struct State {
        var burst: Burst
        /// Told when they may begin.
        var turns: [OneShot<Void>] = []
    }

    private let pauseNanoseconds: UInt64
    private let time: any TimeSource
    // A leaf lock; turns are set after unlock.
    private let state: Lock<State>

    init(_ burst: Burst, time: any TimeSource) {
        pauseNanoseconds = burst.pauseNanoseconds
        self.time = time
        state = Lock(State(burst: burst))
    }

    /// What somebody who has just come is to wait for. May be called under a lock.
    func holdBack() -> OneShot<Void> {
        let turn = OneShot<Void>()
        let isFirst = state.withLock { state in
            state.burst.add()
            if state.turns.isEmpty { state.burst.begin() }
            state.turns.append(turn)
            return state.turns.count == 1
        }
        if isFirst { Task { await self.letGoAfterPause() } }
        return turn
    }

    /// Who waits has something new: that prolongs the burst.
    func prolong() {
        state.withLock { $0.burst.add() }
    }

    private func letGoAfterPause() async {
        while true {
            try? await time.sleep(nanoseconds: pauseNanoseconds)
            let turns = state.withLock { state -> [OneShot<Void>]? in
                guard state.burst.hasPaused() else { return nil }
                defer { state.turns = [] }
                return state.turns
            }
            guard let turns else { continue }
            for turn in turns { turn.set(()) }
            return
        }
    }
}
