// Who is told of something, where that is set once the teller is there.

/// A closure that may be set at any time, and is called outside of all locks. Thread-safe.
///
/// Not a `Lock` of a closure: a closure that generic code hands out as `inout` is wrapped on the way in and on the way out, so
/// with each look it would be two calls deeper, until the stack is full.
public final class Listener<Event>: Sendable {
    private struct State {
        var action: (@Sendable (Event) -> Void)?
    }

    private let state = Lock(State())

    public init() {}

    public func set(_ action: @escaping @Sendable (Event) -> Void) {
        state.withLock { $0.action = action }
    }

    /// Calls what is set, if anything, on this thread.
    public func tell(_ event: Event) {
        state.withLock { $0.action }?(event)
    }
}
