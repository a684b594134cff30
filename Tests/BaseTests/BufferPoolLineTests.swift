import Base
import Testing

/// Leases in a form that arrays and closures can hold; given back with the last reference.
private final class Held: Sendable {
    let leases: BufferLeases

    init(_ leases: consuming BufferLeases) {
        self.leases = leases
    }

    var count: Int { leases.count }
}

private final class HeldOne: Sendable {
    let lease: BufferLease

    init(_ lease: consuming BufferLease) {
        self.lease = lease
    }

    var address: UInt { UInt(bitPattern: lease.pointer) }
}

extension BufferPool {
    fileprivate func holdOne() -> HeldOne? {
        guard let lease = lease() else { return nil }
        return HeldOne(lease)
    }

    fileprivate func hold(_ count: Int) -> Held? {
        guard let leases = lease(count: count) else { return nil }
        return Held(leases)
    }
}

@Suite(.timeLimit(.minutes(3)))
struct BufferPoolLineTests {
    private static let bufferBytes = 8192

    private func pool(_ bufferCount: Int) -> BufferPool {
        BufferPool(limitBytes: bufferCount * Self.bufferBytes, bufferBytes: Self.bufferBytes)
    }

    /// Stands in line for `count` buffers; the answer goes into the list under `name`.
    private func queue(_ pool: BufferPool, _ count: Int, _ name: String, into served: Lock<[(String, Held)]>) {
        pool.whenFree(count: count) { leases in
            let held = Held(leases)
            served.withLock { $0.append((name, held)) }
        }
    }

    /// Gives back what was granted under that name, outside the lock: a return may grant to others.
    private func drop(_ name: String, from served: Lock<[(String, Held)]>) {
        let dropped = served.withLock { served in
            defer { served.removeAll { $0.0 == name } }
            return served.filter { $0.0 == name }
        }
        #expect(dropped.count == 1)
    }

    @Test(arguments: [(0, 2), (1, 2), (3 * 8192, 3), (4 * 8192 - 1, 3), (100 * 8192, 100)])
    func budget(_ limitBytes: Int, _ bufferCount: Int) {
        #expect(BufferPool(limitBytes: limitBytes, bufferBytes: Self.bufferBytes).bufferCountMax == bufferCount)
    }

    @Test func buffersAreAlignedAndApart() throws {
        let pool = pool(3)
        let held = try (0..<3).map { _ in try #require(pool.holdOne()) }
        let addresses = held.map(\.address).sorted()
        #expect(addresses.allSatisfy { $0 % 4096 == 0 })
        #expect(zip(addresses, addresses.dropFirst()).allSatisfy { $1 - $0 >= UInt(Self.bufferBytes) })
        for (index, one) in held.enumerated() {
            #expect(one.lease.byteCount == Self.bufferBytes)
            _ = one.lease.bytes.initializeMemory(as: UInt8.self, repeating: UInt8(index))
        }
        for (index, one) in held.enumerated() {
            #expect(one.lease.bytes.allSatisfy { $0 == UInt8(index) })
        }
        #expect(pool.leasedCount == 3 && pool.leasedBytes == 3 * Self.bufferBytes)
    }

    @Test func theLimitHoldsAndBuffersAreUsedAgain() throws {
        let pool = pool(2)
        var first = pool.holdOne()
        let second = try #require(pool.holdOne())
        #expect(pool.holdOne() == nil && pool.leasedCount == 2)
        let address = try #require(first).address
        first = nil
        #expect(pool.leasedCount == 1)
        #expect(try #require(pool.holdOne()).address == address)
        #expect(second.address != address)
    }

    @Test func severalAtOnceOrNone() throws {
        let pool = pool(5)
        var three = pool.hold(3)
        #expect(three?.count == 3)
        #expect(pool.hold(3) == nil && pool.leasedCount == 3, "nothing is kept of what does not do")
        let two = pool.hold(2)
        #expect(two?.count == 2)
        three = nil
        #expect(pool.leasedCount == 2)
        #expect(pool.hold(6) == nil, "more than the budget")
    }

    @Test func takenOutOneByOne() {
        let pool = pool(5)
        guard var leases = pool.lease(count: 5) else {
            Issue.record("no leases")
            return
        }
        do {
            let one = leases.take()
            #expect(one.byteCount == Self.bufferBytes && leases.count == 4 && pool.leasedCount == 5)
        }
        #expect(pool.leasedCount == 4)
        do {
            let two = leases.take(count: 2)
            #expect(two.count == 2 && leases.count == 2)
        }
        #expect(pool.leasedCount == 2)
        leases = BufferLeases()
        #expect(pool.leasedCount == 0 && leases.count == 0)
    }

    // MARK: The line

    @Test func waitersAreServedInOrder() throws {
        let pool = pool(2)
        var held = [try #require(pool.holdOne()), try #require(pool.holdOne())]
        let served = Lock([(String, Held)]())
        queue(pool, 1, "a", into: served)
        queue(pool, 2, "b", into: served)
        queue(pool, 1, "c", into: served)
        #expect(served.withLock { $0.isEmpty } && pool.shortage == 1)
        held.removeLast()
        #expect(served.withLock { $0.map(\.0) } == ["a"])
        #expect(pool.shortage == 2)
        // One buffer is gathered for "b"; "c" does not pass it, nor does anybody who comes by.
        held.removeLast()
        #expect(served.withLock { $0.map(\.0) } == ["a"])
        #expect(pool.shortage == 1 && pool.holdOne() == nil)
        drop("a", from: served)
        #expect(served.withLock { $0.map(\.0) } == ["b"])
        drop("b", from: served)
        #expect(served.withLock { $0.map(\.0) } == ["c"])
        drop("c", from: served)
        #expect(pool.leasedCount == 0 && pool.shortage == 0)
    }

    @Test func tasksWaitInOrder() async throws {
        let pool = pool(2)
        var held: [HeldOne]? = [try #require(pool.holdOne()), try #require(pool.holdOne())]
        let order = Lock([Int]())
        let waiting = OneShot<Void>()
        pool.setReclaimer { _ in waiting.set(()) }
        let first = Task {
            let lease = await pool.leaseWhenFree()
            order.withLock { $0.append(1) }
            #expect(lease.byteCount == Self.bufferBytes)
        }
        await waiting.wait()
        let served = Lock([(String, Held)]())
        queue(pool, 2, "second", into: served)
        _ = held?.count
        held = nil
        await first.value
        #expect(order.withLock { $0 } == [1])
        #expect(served.withLock { $0.map(\.0) } == ["second"], "both buffers, once the first gave its own back")
    }

    @Test func freeBuffersAreGrantedAtOnce() {
        let pool = pool(4)
        let served = Lock([(String, Held)]())
        queue(pool, 4, "a", into: served)
        #expect(served.withLock { $0.map(\.1.count) } == [4])
        drop("a", from: served)
        #expect(pool.leasedCount == 0)
    }

    // MARK: The reclaimer

    @Test func reclaimerIsAskedForWhatIsMissing() throws {
        let pool = pool(4)
        let cached = Lock(try (0..<4).map { _ in try #require(pool.holdOne()) })
        let asked = Lock([Int]())
        pool.setReclaimer { count in
            asked.withLock { $0.append(count) }
            // Given back outside the lock of the cache, as the last reference goes.
            let given = cached.withLock { cached in
                defer { cached.removeLast(min(count, cached.count)) }
                return Array(cached.suffix(count))
            }
            _ = given.count
        }
        #expect(pool.hold(3)?.count == 3)
        #expect(asked.withLock { $0 } == [3])
        let all = Lock([(String, Held)]())
        let three = pool.hold(3)
        queue(pool, 2, "waiter", into: all)
        #expect(three?.count == 3 && asked.withLock { $0 } == [3, 2])
        #expect(all.withLock { $0.map(\.1.count) } == [], "one gathered, one missing")
        #expect(pool.shortage == 1)
    }

    @Test func nothingToReclaim() {
        let pool = pool(2)
        let askedCount = Lock(0)
        pool.setReclaimer { _ in askedCount.withLock { $0 += 1 } }
        let held = pool.hold(2)
        #expect(pool.holdOne() == nil)
        #expect(held?.count == 2 && askedCount.withLock { $0 } == 1)
    }

    // MARK: Load

    /// Random sizes from many tasks: never over the limit, nobody waits for ever, everything comes back.
    @Test(arguments: 0..<5 as Range<UInt64>)
    func load(_ seed: UInt64) async {
        let pool = pool(8)
        let inUse = Lock((now: 0, peak: 0))
        await withTaskGroup(of: Void.self) { group in
            for index in 0..<16 as Range<UInt64> {
                group.addTask {
                    var dice = Dice(seed: seed * 100 + index)
                    for _ in 0..<100 {
                        let count = Int.random(in: 1...8, using: &dice)
                        let granted = OneShot<Held>()
                        pool.whenFree(count: count) { granted.set(Held($0)) }
                        await withHeld(granted) { held in
                            inUse.withLock { state in
                                state.now += held.count
                                state.peak = max(state.peak, state.now)
                            }
                            await Task.yield()
                            inUse.withLock { $0.now -= count }
                        }
                    }
                }
            }
        }
        #expect(inUse.withLock { $0.peak } <= 8)
        #expect(inUse.withLock { $0.now } == 0)
        #expect(pool.leasedCount == 0 && pool.shortage == 0)
    }
}

/// Waits for what is granted, uses it, and lets it go.
private func withHeld(_ granted: OneShot<Held>, _ body: (Held) async -> Void) async {
    await body(await granted.wait())
}
