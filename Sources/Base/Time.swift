// Time as a dependency: everything that waits or expires asks a `TimeSource`, so that tests run on simulated time.

internal import Glibc

/// A point in wall-clock time, as `struct timespec` and S3 metadata have it.
public struct Timestamp: Sendable, Hashable, Comparable {
    /// Seconds since 1970-01-01 UTC; may be negative.
    public var seconds: Int64
    /// 0 ..< 1_000_000_000.
    public var nanoseconds: Int32

    public init(seconds: Int64, nanoseconds: Int32 = 0) {
        precondition((0..<1_000_000_000).contains(nanoseconds), "nanoseconds out of range")
        self.seconds = seconds
        self.nanoseconds = nanoseconds
    }

    public static func < (left: Timestamp, right: Timestamp) -> Bool {
        (left.seconds, left.nanoseconds) < (right.seconds, right.nanoseconds)
    }
}

/// Where the current time comes from, and how to wait. Thread-safe.
public protocol TimeSource: Sendable {
    /// Monotonic nanoseconds since an arbitrary start: for intervals, timeouts and expiry.
    var monotonicNanoseconds: UInt64 { get }
    /// Wall-clock time: for signatures and file times.
    var now: Timestamp { get }
    /// Returns after the interval, or early with `CancellationError` when the task is cancelled.
    func sleep(nanoseconds: UInt64) async throws
}

/// The machine's clocks.
public struct SystemTime: TimeSource {
    public init() {}

    public var monotonicNanoseconds: UInt64 {
        var value = timespec()
        clock_gettime(CLOCK_MONOTONIC, &value)
        return UInt64(value.tv_sec) &* 1_000_000_000 &+ UInt64(value.tv_nsec)
    }

    public var now: Timestamp {
        var value = timespec()
        clock_gettime(CLOCK_REALTIME, &value)
        return Timestamp(seconds: Int64(value.tv_sec), nanoseconds: Int32(value.tv_nsec))
    }

    public func sleep(nanoseconds: UInt64) async throws {
        try await Task.sleep(nanoseconds: nanoseconds)
    }
}

/// A clock that stands still until a test advances it. `sleep` advances it at once and returns: code that backs off
/// runs at full speed, and the test reads how long it would have taken.
public final class SimulatedTime: TimeSource {
    private struct State {
        var monotonic: UInt64
        var wall: Timestamp
    }

    private let state: Lock<State>

    public init(now: Timestamp = Timestamp(seconds: 1_700_000_000)) {
        state = Lock(State(monotonic: 1_000_000_000, wall: now))
    }

    public var monotonicNanoseconds: UInt64 { state.withLock { $0.monotonic } }
    public var now: Timestamp { state.withLock { $0.wall } }

    public func sleep(nanoseconds: UInt64) async throws {
        try Task.checkCancellation()
        advance(nanoseconds: nanoseconds)
        await Task.yield()
    }

    public func advance(nanoseconds: UInt64) {
        state.withLock { state in
            state.monotonic &+= nanoseconds
            let total = Int64(state.wall.nanoseconds) + Int64(nanoseconds % 1_000_000_000)
            state.wall = Timestamp(
                seconds: state.wall.seconds + Int64(nanoseconds / 1_000_000_000) + total / 1_000_000_000,
                nanoseconds: Int32(total % 1_000_000_000))
        }
    }
}
