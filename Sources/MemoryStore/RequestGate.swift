// Holds requests in flight, so that a test can look at the world while one is under way, without sleeping.

internal import Base
internal import ObjectStore

/// Closed operations make their requests wait. Thread-safe.
final class RequestGate: Sendable {
    struct Place: Hashable {
        let operation: StoreOperation
        let stage: MemoryStore.Stage
    }

    private struct Arrival {
        let place: Place
        let count: Int
        let signal: OneShot<Void>
    }

    private struct Held {
        let id: UInt64
        let place: Place
        let record: RequestRecord
        let release: OneShot<Void>
    }

    private struct State {
        var closed: Set<Place> = []
        var nextID: UInt64 = 0
        /// In order of arrival.
        var held: [Held] = []
        /// Tests that wait until so many requests are held.
        var arrivals: [Arrival] = []

        func heldCount(_ place: Place) -> Int {
            held.count { $0.place == place }
        }
    }

    // Signals are set after unlock.
    private let state = Lock(State())

    func close(_ place: Place) {
        state.withLock { _ = $0.closed.insert(place) }
    }

    func open(_ place: Place) {
        let released = state.withLock { state in
            state.closed.remove(place)
            defer { state.held.removeAll { $0.place == place } }
            return state.held.filter { $0.place == place }.map(\.release)
        }
        for release in released { release.set(()) }
    }

    /// Lets one request go on, of those that `isMeant` names the one that waits longest; false when none waits.
    func openOnce(_ place: Place, where isMeant: (RequestRecord) -> Bool) -> Bool {
        let release: OneShot<Void>? = state.withLock { state in
            guard let index = state.held.firstIndex(where: { $0.place == place && isMeant($0.record) }) else {
                return nil
            }
            return state.held.remove(at: index).release
        }
        return release?.set(()) ?? false
    }

    func heldCount(_ place: Place) -> Int {
        state.withLock { $0.heldCount(place) }
    }

    /// Returns once at least `count` requests are held.
    func untilHeld(_ place: Place, count: Int) async {
        let signal: OneShot<Void>? = state.withLock { state in
            guard state.heldCount(place) < count else { return nil }
            let signal = OneShot<Void>()
            state.arrivals.append(Arrival(place: place, count: count, signal: signal))
            return signal
        }
        await signal?.wait()
    }

    /// Waits while the place is closed. Ends early when the task is cancelled; the caller looks.
    func pass(_ place: Place, _ record: RequestRecord) async {
        let release = OneShot<Void>()
        let ticket: (id: UInt64, arrived: [OneShot<Void>])? = state.withLock { state in
            guard state.closed.contains(place) else { return nil }
            state.nextID += 1
            state.held.append(Held(id: state.nextID, place: place, record: record, release: release))
            let count = state.heldCount(place)
            let arrived = state.arrivals.filter { $0.place == place && $0.count <= count }
            state.arrivals.removeAll { $0.place == place && $0.count <= count }
            return (state.nextID, arrived.map(\.signal))
        }
        guard let ticket else { return }
        for signal in ticket.arrived { signal.set(()) }
        await withTaskCancellationHandler {
            await release.wait()
        } onCancel: {
            state.withLock { state in state.held.removeAll { $0.id == ticket.id } }
            release.set(())
        }
    }
}
