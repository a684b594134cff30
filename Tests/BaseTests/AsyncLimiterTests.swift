import Base
import Testing

@Suite(.timeLimit(.minutes(3)))
struct AsyncLimiterTests {
    private struct Failure: Error, Equatable {}

    /// How many are inside, and how many were at most.
    private struct Occupancy {
        var now = 0
        var peak = 0
    }

    private func untilWaiting(_ limiter: AsyncLimiter, _ count: Int) async {
        while limiter.waiterCount != count { await Task.yield() }
    }

    /// Takes one place and keeps it until the gate opens; returns once it has it.
    private func hold(_ limiter: AsyncLimiter, until gate: OneShot<Void>) async -> Task<Void, Never> {
        let entered = OneShot<Void>()
        let task = Task {
            await limiter.run {
                entered.set(())
                await gate.wait()
            }
        }
        await entered.wait()
        return task
    }

    /// Fails to return (and the time limit strikes) unless `count` sections can be inside at once.
    private func expectPlaces(_ limiter: AsyncLimiter, _ count: Int) async {
        let inside = Lock(0)
        await withTaskGroup(of: Void.self) { group in
            for _ in 0..<count {
                group.addTask {
                    await limiter.run {
                        inside.withLock { $0 += 1 }
                        while inside.withLock({ $0 }) < count { await Task.yield() }
                    }
                }
            }
        }
        #expect(inside.withLock { $0 } == count)
    }

    @Test(arguments: [1, 2, 7])
    func neverMoreThanTheLimit(_ limit: Int) async {
        let limiter = AsyncLimiter(limit: limit)
        let occupancy = Lock(Occupancy())
        await withTaskGroup(of: Void.self) { group in
            for _ in 0..<200 {
                group.addTask {
                    await limiter.run {
                        occupancy.withLock { state in
                            state.now += 1
                            state.peak = max(state.peak, state.now)
                        }
                        for _ in 0..<3 { await Task.yield() }
                        occupancy.withLock { $0.now -= 1 }
                    }
                }
            }
        }
        #expect(occupancy.withLock { $0.now } == 0)
        #expect(occupancy.withLock { $0.peak } <= limit)
        #expect(limiter.waiterCount == 0)
        await expectPlaces(limiter, limit)
    }

    @Test func orderOfArrival() async {
        let limiter = AsyncLimiter(limit: 1)
        let order = Lock([Int]())
        let gate = OneShot<Void>()
        let holder = await hold(limiter, until: gate)
        var tasks: [Task<Void, Never>] = []
        for index in 0..<20 {
            tasks.append(Task { await limiter.run { order.withLock { $0.append(index) } } })
            await untilWaiting(limiter, index + 1)
        }
        gate.set(())
        await holder.value
        for task in tasks { await task.value }
        #expect(order.withLock { $0 } == Array(0..<20))
    }

    @Test func errorsGiveThePlaceBack() async {
        let limiter = AsyncLimiter(limit: 1)
        for _ in 0..<3 {
            await #expect(throws: Failure()) {
                try await limiter.run { () async throws(Failure) in throw Failure() }
            }
        }
        #expect(await limiter.run { 5 } == 5)
    }

    @Test func theCancelledDoNotWait() async {
        let limiter = AsyncLimiter(limit: 1)
        let gate = OneShot<Void>()
        let holder = await hold(limiter, until: gate)
        let before = Task { await limiter.run { Task.isCancelled } }
        await untilWaiting(limiter, 1)
        let cancelled = Task { await limiter.run { Task.isCancelled } }
        await untilWaiting(limiter, 2)
        let after = Task { await limiter.run { Task.isCancelled } }
        await untilWaiting(limiter, 3)
        cancelled.cancel()
        #expect(await cancelled.value, "its section ran while the place was taken, and saw the cancellation")
        #expect(limiter.waiterCount == 2)
        let cancelledEarly = Task {
            withUnsafeCurrentTask { $0?.cancel() }
            return await limiter.run { Task.isCancelled }
        }
        #expect(await cancelledEarly.value)
        gate.set(())
        #expect(await !before.value)
        #expect(await !after.value)
        await holder.value
        await expectPlaces(limiter, 1)
    }

    /// Cancellation at every moment: sections that were not cancelled never exceed the limit, and no place is lost.
    @Test(arguments: 0..<10 as Range<UInt64>)
    func cancellationStorm(_ seed: UInt64) async {
        var dice = Dice(seed: seed)
        let limiter = AsyncLimiter(limit: 3)
        let occupancy = Lock(Occupancy())
        let tasks = (0..<100).map { _ in
            Task {
                await limiter.run {
                    guard !Task.isCancelled else { return }
                    occupancy.withLock { state in
                        state.now += 1
                        state.peak = max(state.peak, state.now)
                    }
                    await Task.yield()
                    occupancy.withLock { $0.now -= 1 }
                }
            }
        }
        for task in tasks where Bool.random(using: &dice) {
            await Task.yield()
            task.cancel()
        }
        for task in tasks { await task.value }
        #expect(occupancy.withLock { $0.peak } <= 3 && occupancy.withLock { $0.now } == 0)
        #expect(limiter.waiterCount == 0)
        await expectPlaces(limiter, 3)
    }
}
