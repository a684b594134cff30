// Stops the requests of a process that another one is to replace, between requests rather than in the middle of one.

internal import Glibc
internal import Synchronization

/// Between the device and libfuse, of a process that may have a successor. Thread-safe; costs a request two atomic operations.
///
/// Open → leaving (`leave`: no directory is opened any more, so that those which are being read come to their end) → closed (`close`: what is read from the device from now on is held, and comes again to the successor) → mute (`mute`:
/// what is still answered is not told to the kernel, and comes again likewise).
final class RequestGate: Sendable {
    private enum Phase {
        static let open = 0
        static let leaving = 1
        static let closed = 2
        static let mute = 3
    }

    private let phase = Atomic(Phase.open)
    /// Changes that were begun and not answered.
    private let changeCount = Atomic(0)
    /// Directories that this process opened and that are not closed.
    private let directoryCount = Atomic(0)
    /// OPENDIR and RELEASEDIR of <linux/fuse.h>.
    private static let openDirectory: UInt32 = 27
    private static let releaseDirectory: UInt32 = 29

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
        let phase = phase.load(ordering: .sequentiallyConsistent)
        if phase == Phase.open || phase == Phase.leaving && opcode != Self.openDirectory { return true }
        if isChange { changeCount.subtract(1, ordering: .sequentiallyConsistent) }
        return false
    }

    /// The answer to a request that had entered was written, or was not to be.
    /// - Parameter isDone: whether the kernel took it for done.
    func leave(_ opcode: UInt32, isDone: Bool = false) {
        if Self.isChange(opcode) { changeCount.subtract(1, ordering: .sequentiallyConsistent) }
        if isDone, opcode == Self.openDirectory { directoryCount.add(1, ordering: .relaxed) }
        if isDone, opcode == Self.releaseDirectory { directoryCount.subtract(1, ordering: .relaxed) }
    }

    func leave() { phase.store(Phase.leaving, ordering: .sequentiallyConsistent) }

    func close() { phase.store(Phase.closed, ordering: .sequentiallyConsistent) }

    func mute() { phase.store(Phase.mute, ordering: .sequentiallyConsistent) }

    var isMute: Bool { phase.load(ordering: .relaxed) == Phase.mute }

    var openDirectories: Int { directoryCount.load(ordering: .relaxed) }

    var changesUnderWay: Int { changeCount.load(ordering: .sequentiallyConsistent) }

    /// Where a thread stays that has read a request which is not to be served. The process ends soon.
    static func hold() -> Never {
        while true { pause() }
    }
}
