// Room on the disk that is kept for making room.

internal import Base
internal import Glibc

/// A file that takes a little of the disk. Bytes are given up only once the journal says so, and on a full disk it could not:
/// then this file gives its room, until there is enough to take it again. Thread-safe.
final class StagingReserve: Sendable {
    /// For the journals of many files, each written whole.
    private static let byteCount = 256 << 10

    private let path: String
    // A leaf lock.
    private let isFilled = Lock(false)

    /// - Parameter path: in a session's directory, which removes it.
    init(path: String) {
        self.path = path
        fill()
    }

    /// Takes the room, if it has not got it. Without enough on the disk it goes without.
    func fill() {
        isFilled.withLock { isFilled in
            guard !isFilled else { return }
            let descriptor = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0o600)
            guard descriptor >= 0 else { return }
            defer { close(descriptor) }
            isFilled = posix_fallocate(descriptor, 0, off_t(Self.byteCount)) == 0
            if !isFilled { ftruncate(descriptor, 0) }
        }
    }

    /// Gives the room back to the disk; false when there is none to give.
    func release() -> Bool {
        isFilled.withLock { isFilled in
            guard isFilled else { return false }
            isFilled = false
            return truncate(path, 0) == 0
        }
    }
}
