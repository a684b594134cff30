// When to try to unmount again, and what to try: the decisions, free of I/O and of clocks.

internal import Glibc

/// The pauses between attempts: growing, with jitter, so that several programs waiting for one mount spread out.
struct RetrySchedule {
    /// Most holders of a mount are gone in milliseconds (an indexer, a prompt that looks at the directory) …
    static let firstPauseNanoseconds: UInt64 = 50_000_000
    /// … and one that is not soon gone waits for a person.
    static let pauseNanosecondsMax: UInt64 = 2_000_000_000

    private var pause = Self.firstPauseNanoseconds

    /// The next pause: 50 ms growing by half up to 2 s, each ± 25 %.
    /// - Parameter random: 0 ..< 1.
    mutating func next(random: Double) -> UInt64 {
        let jittered = UInt64(Double(pause) * (0.75 + 0.5 * random))
        pause = min(pause + pause / 2, Self.pauseNanosecondsMax)
        return jittered
    }
}

/// One way to ask for an unmount.
enum UnmountMode: Sendable, Hashable {
    case plain
    case detach
    case force
}

/// What one attempt to unmount answered.
enum UnmountAttempt: Sendable, Hashable {
    case done
    case busy
    case notMounted
    case notPermitted(remedy: String)
    case failed(errno: Int32)
}

/// The state machine of one unmount. The owner executes each action and reports what came of it.
///
/// `ready` → attempt(plain) → `trying(plain)`
/// `trying(plain)` → busy, time left → pause → `paused` → attempt(plain) → `trying(plain)`
/// `trying(plain)` → busy, no time left → giveUp, or attempt(detach or force) → `trying(last)`
/// any attempt that is not busy → `finished`
struct UnmountRetry {
    enum Action: Equatable {
        case attempt(UnmountMode)
        /// Tell of the progress, and come back after the pause.
        case pause(nanoseconds: UInt64)
        /// Find the holders; that is the end.
        case giveUp
        case finish(UnmountOutcome)
    }

    private enum State { case ready, trying(UnmountMode), paused, finished }

    private var state = State.ready
    private var schedule = RetrySchedule()
    private let request: UnmountRequest
    private let startNanoseconds: UInt64
    /// How many attempts were started.
    private(set) var attemptCount = 0

    init(_ request: UnmountRequest, nowNanoseconds: UInt64) {
        self.request = request
        startNanoseconds = nowNanoseconds
    }

    func elapsedNanoseconds(_ now: UInt64) -> UInt64 { now &- startNanoseconds }

    /// The first action.
    mutating func start() -> Action {
        guard case .ready = state else { preconditionFailure("started twice") }
        return attempt(.plain)
    }

    /// The pause is over.
    mutating func resumed() -> Action {
        guard case .paused = state else { preconditionFailure("not paused") }
        return attempt(.plain)
    }

    /// An attempt came back.
    mutating func attempted(_ answer: UnmountAttempt, nowNanoseconds: UInt64, random: Double) -> Action {
        guard case .trying(let mode) = state else { preconditionFailure("no attempt is under way") }
        switch answer {
        case .done: return finish(mode == .plain ? .unmounted : .detached)
        // Somebody else was faster, which is what the caller wants, unless nothing was there to begin with.
        case .notMounted: return finish(attemptCount == 1 ? .notMounted : .unmounted)
        case .notPermitted(let remedy): return finish(.notPermitted(remedy: remedy))
        case .failed(ETIMEDOUT) where mode == .plain && request.whenBusy != .report:
            // Whoever asked for more than a report means this case most of all.
            return attempt(request.whenBusy == .detach ? .detach : .force)
        case .failed(let errno): return finish(.failed(errno: errno))
        case .busy: break
        }
        let elapsed = elapsedNanoseconds(nowNanoseconds)
        if mode == .plain, elapsed < request.timeoutNanoseconds {
            state = .paused
            // The last attempt is made when the time is over, not before.
            return .pause(nanoseconds: min(schedule.next(random: random), request.timeoutNanoseconds - elapsed))
        }
        if mode == .plain {
            switch request.whenBusy {
            case .report: break
            case .detach: return attempt(.detach)
            case .force: return attempt(.force)
            }
        }
        state = .finished
        return .giveUp
    }

    private mutating func attempt(_ mode: UnmountMode) -> Action {
        state = .trying(mode)
        attemptCount += 1
        return .attempt(mode)
    }

    private mutating func finish(_ outcome: UnmountOutcome) -> Action {
        state = .finished
        return .finish(outcome)
    }
}
