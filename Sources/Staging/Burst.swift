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

    /// How many are held back, and how many of them were at the last look.
    private(set) var heldCount = 0
    private var lookedAtCount = 0
    private var heldNanoseconds: UInt64 = 0
    private var isProlonged = false

    init(pauseNanoseconds: UInt64, holdNanosecondsMax: UInt64) {
        self.pauseNanoseconds = pauseNanoseconds
        self.holdNanosecondsMax = holdNanosecondsMax
    }

    /// One more is held back.
    mutating func add() {
        heldCount += 1
        if heldCount == 1 {
            lookedAtCount = 1
            heldNanoseconds = 0
        }
    }

    /// One that is held back has changed.
    mutating func prolong() {
        isProlonged = true
    }

    /// To be called when a burst has been held back for another `pauseNanoseconds`: how many of it, the first ones, go now. Of
    /// one that lasts too long, all but those that came a moment ago: the next call may rename one.
    mutating func leaving() -> Int {
        heldNanoseconds += pauseNanoseconds
        let hasPaused = heldCount == lookedAtCount && !isProlonged
        let count = hasPaused || heldNanoseconds >= holdNanosecondsMax ? lookedAtCount : 0
        heldCount -= count
        lookedAtCount = heldCount
        isProlonged = false
        // What is left came since the last look.
        if count > 0 { heldNanoseconds = pauseNanoseconds }
        return count
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
            state.turns.append(turn)
            return state.turns.count == 1
        }
        if isFirst { Task { await self.letGoAfterPause() } }
        return turn
    }

    /// Who waits has something new: that prolongs the burst.
    func prolong() {
        state.withLock { $0.burst.prolong() }
    }

    private func letGoAfterPause() async {
        while true {
            try? await time.sleep(nanoseconds: pauseNanoseconds)
            let (turns, isOver) = state.withLock { state in
                let turns = state.turns.prefix(state.burst.leaving())
                state.turns.removeFirst(turns.count)
                return (turns, state.turns.isEmpty)
            }
            for turn in turns { turn.set(()) }
            if isOver { return }
        }
    }
}
