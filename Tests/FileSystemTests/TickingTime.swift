// The clock of a filesystem under test: it moves only when a test says so, but for a tick at each look.

import Base

/// Monotonic time grows by one nanosecond at each look, as a real clock grows between any two events, and otherwise by
/// `advance`. Wall-clock time has a resolution of its own: no two looks are alike, so no two changes of a file are.
/// `sleep` gives way to others and lets no time pass.
final class TickingTime: TimeSource {
    private let state = Lock((monotonic: UInt64(1_000_000_000_000), wall: Int64(1_700_000_000_000_000_000)))

    var monotonicNanoseconds: UInt64 {
        state.withLock { state in
            state.monotonic += 1
            return state.monotonic
        }
    }

    var now: Timestamp {
        state.withLock { state in
            state.wall += 1000
            return Timestamp(
                seconds: state.wall / 1_000_000_000, nanoseconds: Int32(state.wall % 1_000_000_000))
        }
    }

    func sleep(nanoseconds: UInt64) async throws {
        try await Task.sleep(nanoseconds: min(nanoseconds, 1_000_000))
    }

    func advance(seconds: UInt64) {
        state.withLock { state in
            state.monotonic += seconds * 1_000_000_000
            state.wall += Int64(seconds) * 1_000_000_000
        }
    }

    /// Somebody sets the clock on the wall, forward or back; how much time passes is another matter.
    func setWall(bySeconds seconds: Int64) {
        state.withLock { $0.wall += seconds * 1_000_000_000 }
    }
}
