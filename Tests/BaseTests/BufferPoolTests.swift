// The memory budget: it holds, it is served in order, and it asks for what can be spared.

import Base
import Testing

@Suite(.timeLimit(.minutes(3)))
struct BufferPoolTests {
    private func canLease(_ count: Int, of pool: BufferPool) -> Bool {
        if case .some = pool.lease(count: count) { true } else { false }
    }

    @Test func leasesEndAtTheBudgetAndComeBack() {
        let pool = BufferPool(limitBytes: 3 * 4096, bufferBytes: 4096)
        do {
            let three = pool.lease(count: 3)!
            #expect(three.count == 3)
            #expect(!canLease(1, of: pool))
            #expect(pool.leasedBytes == 3 * 4096)
        }
        #expect(pool.leasedCount == 0)
        #expect(!canLease(4, of: pool))
        #expect(canLease(2, of: pool))
    }

    @Test func someOfManyCanBeTakenOut() {
        let pool = BufferPool(limitBytes: 8 * 4096, bufferBytes: 4096)
        var leases = pool.lease(count: 5)!
        let one = leases.take()
        #expect(one.bytes.count == 4096)
        do { #expect(leases.take(count: 3).count == 3) }
        #expect(leases.count == 1)
        #expect(pool.leasedCount == 2)
    }

    @Test func waitersAreServedInOrderEachAtOnce() {
        let pool = BufferPool(limitBytes: 4 * 4096, bufferBytes: 4096)
        let served = Lock<[Int]>([])
        var all = pool.lease(count: 4)!
        for count in [3, 1, 2] {
            pool.whenFree(count: count) { leases in served.withLock { $0.append(leases.count) } }
        }
        #expect(pool.shortage == 3)
        do { _ = all.take(count: 2) }
        // The one that needs a single buffer does not overtake.
        #expect(served.withLock { $0 } == [])
        #expect(pool.shortage == 1)
        #expect(!canLease(1, of: pool), "nor does somebody who comes later")
        do { _ = all.take() }
        #expect(served.withLock { $0 } == [3, 1, 2])
        #expect(pool.leasedCount == 1)
    }

    @Test func theReclaimerIsAskedOnceForEachWaiter() {
        let pool = BufferPool(limitBytes: 4 * 4096, bufferBytes: 4096)
        let cached = Lock<[Int]>([])
        let asked = Lock<[Int]>([])
        let spare = Spare(pool.lease(count: 4)!)
        pool.setReclaimer { count in
            asked.withLock { $0.append(count) }
            spare.drop(count)
        }
        pool.whenFree(count: 2) { leases in cached.withLock { $0.append(leases.count) } }
        #expect(cached.withLock { $0 } == [2])
        #expect(asked.withLock { $0 } == [2])
        #expect(canLease(4, of: pool))
    }

    @Test func manyThatNeedSeveralAllGetThem() async {
        let pool = BufferPool(limitBytes: 5 * 4096, bufferBytes: 4096)
        await withTaskGroup(of: Void.self) { group in
            for number in 0..<400 {
                group.addTask {
                    await withCheckedContinuation { continuation in
                        pool.whenFree(count: 1 + number % 5) { leases in
                            #expect(pool.leasedCount <= 5)
                            _ = consume leases
                            continuation.resume()
                        }
                    }
                    let lease = await pool.leaseWhenFree()
                    #expect(lease.byteCount == 4096)
                }
            }
        }
        #expect(pool.leasedCount == 0)
        #expect(pool.shortage == 0)
    }

    /// Holds buffers that can be spared.
    private final class Spare: Sendable {
        private final class Held {
            var leases: BufferLeases
            init(_ leases: consuming BufferLeases) { self.leases = leases }
        }

        private let held: Lock<Held>

        init(_ leases: consuming BufferLeases) { held = Lock(Held(leases)) }

        func drop(_ count: Int) {
            var dropped = BufferLeases()
            held.withLock { held in dropped = held.leases.take(count: min(count, held.leases.count)) }
            _ = consume dropped
        }
    }
}
