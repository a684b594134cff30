// The unit of caching: one aligned stretch of one object version, read-only once it is full.

internal import Base
internal import Synchronization

/// The bytes of one aligned block, shared by the cache and by every reply that is sent from it. Immutable.
///
/// The memory goes back to its pool when the last reference dies, so a reply holds its blocks until it is sent.
public final class Block: Sendable {
    /// How many bytes are valid; less than the block size only in the last block of an object.
    public let byteCount: Int

    /// The first byte; valid while the block lives.
    // SAFETY: the bytes are written before the block is made, and only read afterwards.
    nonisolated(unsafe) public let pointer: UnsafeRawPointer

    /// Nil for memory outside of the budget: the answer of a read too long for the pool, never cached.
    private let lease: BufferLease?
    /// 0 until somebody asked for it.
    private let knownMark = Atomic<UInt32>(0)

    /// Takes over a filled buffer.
    init(_ lease: consuming BufferLease, byteCount: Int) {
        precondition(0 < byteCount && byteCount <= lease.byteCount, "a block holds at least one byte")
        self.byteCount = byteCount
        pointer = UnsafeRawPointer(lease.pointer)
        self.lease = consume lease
    }

    /// Takes over `byteCount` bytes of memory that `allocate` made.
    init(owning memory: UnsafeMutableRawPointer, byteCount: Int) {
        self.byteCount = byteCount
        pointer = UnsafeRawPointer(memory)
        lease = nil
    }

    deinit {
        if lease == nil { pointer.deallocate() }
    }

    /// The valid bytes; usable while the block lives.
    public var bytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: pointer, count: byteCount) }

    /// What the disk tier knows the bytes by, computed once. Asked for the first time while they are in the processor's
    /// cache it costs a fraction of what it costs later.
    var mark: UInt32 {
        let known = knownMark.load(ordering: .relaxed)
        if known != 0 { return known }
        let mark = SegmentHeader.mark(bytes)
        knownMark.store(mark, ordering: .relaxed)
        return mark
    }
}
