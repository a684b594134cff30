// Mutual exclusion. Every lock of pail is this type, so that a ThreadSanitizer build can swap the implementation:
// on Linux it reports false races on `Synchronization.Mutex`.

#if PAIL_TSAN
    internal import Glibc

    /// A lock that owns the state it guards. State is reachable only inside `withLock`.
    ///
    /// Uncontended cost is a few nanoseconds; never hold it over I/O, a reply, a log line or a callback.
    public final class Lock<State>: @unchecked Sendable {
        private let mutex: UnsafeMutablePointer<pthread_mutex_t>
        private var state: State

        public init(_ state: sending State) {
            self.state = state
            mutex = .allocate(capacity: 1)
            pthread_mutex_init(mutex, nil)
        }

        deinit {
            pthread_mutex_destroy(mutex)
            mutex.deallocate()
        }

        public func withLock<Result, Failure: Error>(
            _ body: (inout State) throws(Failure) -> Result
        ) throws(Failure) -> Result {
            pthread_mutex_lock(mutex)
            defer { pthread_mutex_unlock(mutex) }
            return try body(&state)
        }
    }
#else
    internal import Synchronization

    /// A lock that owns the state it guards. State is reachable only inside `withLock`.
    ///
    /// Uncontended cost is a few nanoseconds; never hold it over I/O, a reply, a log line or a callback.
    ///
    /// SAFETY: `@unchecked Sendable` because `state` is touched only while `gate` is held. The state is kept beside
    /// the mutex rather than inside it, so that non-`Sendable` values may be returned from `withLock` by choice.
    public final class Lock<State>: @unchecked Sendable {
        private let gate = Mutex(())
        private var state: State

        public init(_ state: sending State) {
            self.state = state
        }

        public func withLock<Result, Failure: Error>(
            _ body: (inout State) throws(Failure) -> Result
        ) throws(Failure) -> Result {
            try gate.withLock { _ throws(Failure) in try body(&state) }
        }
    }
#endif
