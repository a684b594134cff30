// The address space of a buffer pool: mapped once, in huge pages where the kernel has them, touched only as far as used.

internal import Glibc
internal import Synchronization

/// Equal buffers cut from one mapping, given out once each, from the front. Thread-safe.
///
/// One mapping instead of an allocation for each buffer: its pages can be huge, so that filling a budget of 1 GiB for the
/// first time costs 512 page faults and not 262,144. Address space that no buffer was taken from costs no memory.
final class BufferArena: Sendable {
    private let bufferBytes: Int
    private let mappedBytes: Int
    // SAFETY: set once; each buffer in it belongs to whom `next` gave it.
    private nonisolated(unsafe) let base: UnsafeMutableRawPointer
    /// How many were given out.
    private let count = Atomic(0)

    /// - Parameters:
    ///   - bufferBytes: a multiple of 4096.
    ///   - bufferCountMax: how often `next` may be called.
    init(bufferBytes: Int, bufferCountMax: Int) {
        self.bufferBytes = bufferBytes
        let hugePageBytes = 2 << 20
        // A larger mapping is aligned to huge pages by the kernel only since Linux 6.7: room to do so here.
        mappedBytes = bufferBytes * bufferCountMax + hugePageBytes
        let mapping = mmap(nil, mappedBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
        guard let mapping, mapping != MAP_FAILED else {
            preconditionFailure("no address space for a memory budget of \(bufferBytes * bufferCountMax) bytes")
        }
        self.mapping = mapping
        base = mapping.alignedUp(toMultipleOf: hugePageBytes)
        // Without huge pages all is the same, only slower.
        _ = madvise(base, bufferBytes * bufferCountMax, MADV_HUGEPAGE)
    }

    // SAFETY: as `base`.
    private nonisolated(unsafe) let mapping: UnsafeMutableRawPointer

    deinit {
        munmap(mapping, mappedBytes)
    }

    /// A buffer that was not given out before. Its contents are zeros.
    func next() -> UnsafeMutableRawPointer {
        let index = count.add(1, ordering: .relaxed).oldValue
        precondition((index + 1) * bufferBytes <= mappedBytes - (2 << 20), "more buffers than the budget has")
        return base + index * bufferBytes
    }
}
