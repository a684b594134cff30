// Stops the requests of a process that another one is to replace, between requests rather than in the middle of one.

internal import Glibc
internal import Synchronization

/// Between the device and libfuse, of a process that may have a successor. Thread-safe; costs a request two atomic operations.
///
/// Open → closed (`close`: what is read from the device from now on is held, and comes again to the successor) → mute (`mute`:
/// what is still answered is not told to the kernel, and comes again likewise).
final class RequestGate: Sendable {
    private enum Phase {
        static let open = 0
        static let closed = 1
        static let mute = 2
    }

    private let phase = Atomic(Phase.open)
    /// Changes that were begun and not answered.
    private let changeCount = Atomic(0)

    /// What must not be done twice: symlink, mknod, mkdir, unlink, rmdir, rename, link, setxattr, removexattr, create, rename2,
    /// tmpfile of <linux/fuse.h>. All else may be: reads, writes to a place in a file, what sets a state.
    static func isChange(_ opcode: UInt32) -> Bool {
        switch opcode {
        case 6, 8, 9, 10, 11, 12, 13, 21, 24, 35, 45, 51: true
        default: false
        }
    }

    /// A request was read. False: it is the successor's, and nothing of it may be done here.
    func enter(_ opcode: UInt32) -> Bool {
        let isChange = Self.isChange(opcode)
        // Counted first: whoever closes the gate and then sees no change under way must be sure that none is about to begin.
        if isChange { changeCount.add(1, ordering: .sequentiallyConsistent) }
        if phase.load(ordering: .sequentiallyConsistent) == Phase.open { return true }
        if isChange { changeCount.subtract(1, ordering: .sequentiallyConsistent) }
        return false
    }

    /// The answer to a request that had entered was written, or was not to be.
    func leave(_ opcode: UInt32) {
        if Self.isChange(opcode) { changeCount.subtract(1, ordering: .sequentiallyConsistent) }
    }

    func close() { phase.store(Phase.closed, ordering: .sequentiallyConsistent) }

    func mute() { phase.store(Phase.mute, ordering: .sequentiallyConsistent) }

    var isMute: Bool { phase.load(ordering: .relaxed) == Phase.mute }

    var changesUnderWay: Int { changeCount.load(ordering: .sequentiallyConsistent) }

    /// Where a thread stays that has read a request which is not to be served. The process ends soon.
    static func hold() -> Never {
        while true { pause() }
    }
}
