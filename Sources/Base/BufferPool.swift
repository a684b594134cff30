// The one budget of all memory that grows with load. Blocks in flight and cached blocks come from here; at the limit
// the caller waits or frees something of its own, and nothing is ever refused by ENOMEM.

/// Fixed-size page-aligned buffers under one byte limit. Thread-safe.
///
/// Who needs several buffers at once asks for all of them in one call and holds none while it waits: the waiters stand
/// in line, freed buffers are gathered for the first of them only, and so two that each need several never wait for
/// each other. Freed buffers are kept for reuse up to the limit, so that the hot path neither maps memory nor touches
/// fresh pages.
///
/// The owner of buffers that could be spared (a cache) registers a reclaimer. It is asked whenever the budget does not
/// do, and must ask `shortage` itself whenever it comes to own another buffer that could be spared.
public final class BufferPool: Sendable {
    /// The size of every buffer, a multiple of the page size.
    public let bufferBytes: Int
    /// How many buffers the budget allows.
    public let bufferCountMax: Int

    // SAFETY: an address in `Buffer` is owned by exactly one of: the free list, the gathered list, a waiter being
    // granted, a lease.
    fileprivate struct Buffer: @unchecked Sendable {
        let address: UnsafeMutableRawPointer
    }

    private struct Waiter {
        let count: Int
        let grant: @Sendable ([Buffer]) -> Void
    }

    private struct State {
        var free: [Buffer] = []
        /// Leased and gathered ones; `leasedCount + free.count` is at most `bufferCountMax`.
        var leasedCount = 0
        /// Set aside for the first waiter.
        var gathered: [Buffer] = []
        /// In order of arrival, from `firstWaiter` on; nil before. Who leaves is taken out, not left to be destroyed
        /// under the lock: what a closure holds may return buffers when it goes.
        var waiters: [Waiter?] = []
        var firstWaiter = 0
        /// Whether the reclaimer was asked on behalf of the first waiter.
        var firstHasReclaimed = false
        /// Whether a thread is in `serveWaiters`.
        var isServed = false
        var reclaimer: (@Sendable (Int) -> Void)?

        /// How many buffers the first waiter still lacks.
        var shortage: Int { firstWaiter < waiters.count ? waiters[firstWaiter]!.count - gathered.count : 0 }
    }

    // Taken alone: nothing is called while it is held.
    private let state: Lock<State>
    private let arena: BufferArena

    /// - Parameters:
    ///   - limitBytes: the whole budget; at least two buffers are allowed whatever it says.
    ///   - bufferBytes: a multiple of 4096.
    public init(limitBytes: Int, bufferBytes: Int) {
        precondition(bufferBytes > 0 && bufferBytes % 4096 == 0, "buffer size must be a multiple of the page size")
        self.bufferBytes = bufferBytes
        bufferCountMax = max(2, limitBytes / bufferBytes)
        arena = BufferArena(bufferBytes: bufferBytes, bufferCountMax: bufferCountMax)
        state = Lock(State())
    }

    /// Buffers leased now, cached blocks included.
    public var leasedCount: Int { state.withLock { $0.leasedCount } }
    /// Bytes leased now.
    public var leasedBytes: Int { leasedCount * bufferBytes }

    /// How many buffers the first in line waits for; 0 when nobody waits. Who can spare buffers gives so many back.
    public var shortage: Int { state.withLock { $0.shortage } }

    /// Sets who is asked to give up some number of buffers when the budget does not do. A buffer that is still in use
    /// by somebody else counts as given up when it comes back by itself.
    /// It is called without any lock of the pool held, by whoever asks for or returns buffers.
    public func setReclaimer(_ reclaimer: @escaping @Sendable (_ count: Int) -> Void) {
        state.withLock { $0.reclaimer = reclaimer }
    }

    /// A buffer now, or nil when every one is in use and none could be reclaimed. Contents are undefined.
    public func lease() -> BufferLease? {
        guard var leases = lease(count: 1) else { return nil }
        return leases.take()
    }

    /// All of `count` buffers now, or nil when there are not so many, or others wait in line. Contents are undefined.
    public func lease(count: Int) -> BufferLeases? {
        if let buffers = buffersNow(count) { return BufferLeases(buffers, pool: self) }
        let (missing, reclaimer): (Int, (@Sendable (Int) -> Void)?) = state.withLock { state in
            guard state.shortage == 0, count <= bufferCountMax else { return (0, nil) }
            return (count - (bufferCountMax - state.leasedCount), state.reclaimer)
        }
        guard let reclaimer else { return nil }
        if missing > 0 { reclaimer(missing) }
        return buffersNow(count).map { BufferLeases($0, pool: self) }
    }

    /// Calls `grant` once with `count` buffers, at most `bufferCountMax`, as soon as it is this call's turn and there
    /// are so many: now, or on the thread that returns the last of them. No lock is held. Contents are undefined.
    public func whenFree(count: Int, _ grant: @escaping @Sendable (consuming BufferLeases) -> Void) {
        wait(count: count) { [self] in grant(BufferLeases($0, pool: self)) }
    }

    /// A buffer as soon as there is one, in the order of asking. Contents are undefined.
    public func leaseWhenFree() async -> BufferLease {
        let buffers = await withCheckedContinuation { continuation in
            wait(count: 1) { continuation.resume(returning: $0) }
        }
        return BufferLease(buffers[0], pool: self)
    }

    private func wait(count: Int, _ grant: @escaping @Sendable ([Buffer]) -> Void) {
        precondition(count <= bufferCountMax, "more buffers asked for than the budget has")
        if let buffers = buffersNow(count) { return grant(buffers) }
        state.withLock { $0.waiters.append(Waiter(count: count, grant: grant)) }
        // The reclaimer is asked after standing in line: whoever comes to own a spare buffer from here on sees the
        // shortage.
        serveWaiters()
    }

    /// The buffers, when they are there and nobody waits.
    private func buffersNow(_ count: Int) -> [Buffer]? {
        let taken: [Buffer]? = state.withLock { state in
            guard state.firstWaiter == state.waiters.count, state.leasedCount + count <= bufferCountMax else {
                return nil
            }
            state.leasedCount += count
            let taken = Array(state.free.suffix(count))
            state.free.removeLast(taken.count)
            return taken
        }
        guard var taken else { return nil }
        while taken.count < count { taken.append(Buffer(address: arena.next())) }
        return taken
    }

    /// Grants from the front of the line as long as there is enough, and asks the reclaimer once for each waiter that
    /// comes to the front. One thread at a time does it, in a loop; what grants and reclaiming bring back is seen by it.
    private func serveWaiters() {
        enum Step { case grant(Waiter, [Buffer]), reclaim((@Sendable (Int) -> Void)?, Int), stop }
        var isServing = false
        while true {
            let step: Step = state.withLock { state in
                if state.isServed && !isServing { return .stop }
                guard state.firstWaiter < state.waiters.count else {
                    state.isServed = false
                    return .stop
                }
                state.isServed = true
                let waiter = state.waiters[state.firstWaiter]!
                while state.gathered.count < waiter.count, let buffer = takeOne(&state) {
                    state.gathered.append(buffer)
                }
                if state.gathered.count < waiter.count {
                    state.isServed = !state.firstHasReclaimed
                    guard !state.firstHasReclaimed else { return .stop }
                    state.firstHasReclaimed = true
                    return .reclaim(state.reclaimer, state.shortage)
                }
                let buffers = state.gathered
                state.gathered = []
                state.firstHasReclaimed = false
                state.waiters[state.firstWaiter] = nil
                state.firstWaiter += 1
                if state.firstWaiter * 2 > state.waiters.count {
                    state.waiters.removeFirst(state.firstWaiter)
                    state.firstWaiter = 0
                }
                return .grant(waiter, buffers)
            }
            switch step {
            case .grant(let waiter, let buffers): waiter.grant(buffers)
            case .reclaim(let reclaimer, let missing): reclaimer?(missing)
            case .stop: return
            }
            isServing = true
        }
    }

    /// A buffer of the free list, or a new one within the budget.
    private func takeOne(_ state: inout State) -> Buffer? {
        guard state.leasedCount < bufferCountMax else { return nil }
        state.leasedCount += 1
        return state.free.popLast() ?? Buffer(address: arena.next())
    }

    fileprivate func giveBack(_ buffer: Buffer) {
        let someoneWaits = state.withLock { state in
            state.leasedCount -= 1
            state.free.append(buffer)
            return state.firstWaiter < state.waiters.count
        }
        if someoneWaits { serveWaiters() }
    }
}

/// One buffer of a pool; gives itself back when its life ends.
public struct BufferLease: ~Copyable, @unchecked Sendable {
    // SAFETY: the pointer is owned by this value alone until `deinit`; `@unchecked` because raw pointers are not
    // `Sendable`. Whoever shares the lease (a published block) guarantees no writes after publication.
    public let pointer: UnsafeMutableRawPointer
    private let pool: BufferPool

    fileprivate init(_ buffer: BufferPool.Buffer, pool: BufferPool) {
        pointer = buffer.address
        self.pool = pool
    }

    deinit {
        pool.giveBack(BufferPool.Buffer(address: pointer))
    }

    /// The capacity in bytes.
    public var byteCount: Int { pool.bufferBytes }
    public var bytes: UnsafeMutableRawBufferPointer { .init(start: pointer, count: pool.bufferBytes) }
}

/// Several buffers of a pool, got together; those not taken out give themselves back.
public struct BufferLeases: ~Copyable, Sendable {
    private var buffers: [BufferPool.Buffer]
    private let pool: BufferPool?

    /// None.
    public init() {
        buffers = []
        pool = nil
    }

    fileprivate init(_ buffers: [BufferPool.Buffer], pool: BufferPool?) {
        self.buffers = buffers
        self.pool = pool
    }

    deinit {
        for buffer in buffers { pool!.giveBack(buffer) }
    }

    public var count: Int { buffers.count }

    /// Takes the last one out; there must be one.
    public mutating func take() -> BufferLease {
        BufferLease(buffers.removeLast(), pool: pool!)
    }

    /// The start of the buffer that `take()` takes next; there must be one. It stays owned by this value.
    public var nextPointer: UnsafeMutableRawPointer { buffers.last!.address }

    /// The starts of the buffers that the next `count` calls of `take()` take, in that order; there must be so many. They
    /// stay owned by this value.
    public func nextPointers(count: Int) -> [UnsafeMutableRawPointer] {
        buffers.suffix(count).reversed().map(\.address)
    }

    /// Takes out `count`; there must be so many.
    public mutating func take(count: Int) -> BufferLeases {
        precondition(count <= buffers.count, "fewer buffers leased than wanted")
        let taken = Array(buffers.suffix(count))
        buffers.removeLast(count)
        return BufferLeases(taken, pool: pool)
    }
}
