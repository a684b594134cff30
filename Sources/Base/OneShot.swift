// A value that comes once, awaited by any number of tasks and callbacks.

/// A result that is set once and can be awaited from tasks or observed by callback. Thread-safe.
public final class OneShot<Value: Sendable>: Sendable {
    private struct State {
        var value: Value?
        var observers: [@Sendable (Value) -> Void] = []
    }

    // Observers are called after unlock.
    private let state = Lock(State())

    public init() {}

    /// The value, if it is there already.
    public var current: Value? { state.withLock { $0.value } }

    /// Sets the value and wakes everyone. Returns false, changing nothing, when it was set before.
    @discardableResult
    public func set(_ value: Value) -> Bool {
        let observers: [@Sendable (Value) -> Void]? = state.withLock { state in
            guard state.value == nil else { return nil }
            state.value = value
            defer { state.observers = [] }
            return state.observers
        }
        guard let observers else { return false }
        for observer in observers { observer(value) }
        return true
    }

    /// Calls `observer` once with the value: now, if it is there, else on the thread that sets it.
    public func observe(_ observer: @escaping @Sendable (Value) -> Void) {
        let value: Value? = state.withLock { state in
            if state.value == nil { state.observers.append(observer) }
            return state.value
        }
        if let value { observer(value) }
    }

    /// Waits for the value. Does not react to cancellation: whoever sets the value must do so in bounded time.
    public func wait() async -> Value {
        if let current { return current }
        return await withCheckedContinuation { continuation in
            observe { continuation.resume(returning: $0) }
        }
    }
}
