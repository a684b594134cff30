// Waking a thread that waits in poll.

internal import CLinux
internal import Glibc

/// A pipe that becomes readable when woken. Thread-safe; closes itself.
final class WakePipe: Sendable {
    /// Becomes readable by `wake`; to be given to poll.
    let readDescriptor: Int32
    private let writeDescriptor: Int32

    init() {
        var ends: [Int32] = [-1, -1]
        let code = pail_pipe(&ends)
        precondition(code == 0, "out of file descriptors for a control connection")
        readDescriptor = ends[0]
        writeDescriptor = ends[1]
        for end in ends { _ = fcntl(end, F_SETFL, O_NONBLOCK) }
    }

    deinit {
        close(readDescriptor)
        close(writeDescriptor)
    }

    func wake() {
        // A full pipe is readable already.
        _ = write(writeDescriptor, "w", 1)
    }

    /// Makes it unreadable again.
    func drain() {
        var bytes: (UInt64, UInt64) = (0, 0)
        while read(readDescriptor, &bytes, 16) > 0 {}
    }
}
