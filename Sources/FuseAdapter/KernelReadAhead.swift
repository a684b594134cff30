// How far the kernel reads ahead in the files of a mount.

internal import CFuse
internal import FileSystem
internal import Glibc
internal import Synchronization

/// The `read_ahead_kb` of a mount's backing device, which only root may change. Thread-safe.
///
/// A file takes it when it has been opened, after the filesystem's answer (`do_dentry_open` in the kernel's fs/open.c): so what
/// stands there while an open is answered is that file's. Of two opens at once, one may get the other's; it is only about speed.
final class KernelReadAhead: Sendable {
    /// For reading through: a multiple of the kernel's 128 KiB; doc/design/reading.md says why no more.
    private let kibibytes: Int
    /// For files that are read in pieces: the kernel reads two windows beyond each.
    private static let piecewiseKibibytes = 128

    private let descriptor: Int32
    private let current: Atomic<Int>

    /// Nil where it cannot be changed.
    init?(mountpoint: String, kibibytes: Int) {
        var status = Glibc.stat()
        guard stat(mountpoint, &status) == 0 else { return nil }
        let device = UInt64(status.st_dev)
        let major = (device >> 8) & 0xfff
        let minor = (device & 0xff) | ((device >> 12) & 0xfff00)
        descriptor = Glibc.open("/sys/class/bdi/\(major):\(minor)/read_ahead_kb", O_WRONLY | O_CLOEXEC)
        self.kibibytes = kibibytes
        current = Atomic(0)
        guard descriptor >= 0 else { return nil }
        prepare(isReadInPieces: false)
    }

    deinit {
        if descriptor >= 0 { close(descriptor) }
    }

    /// To be called before an open is answered.
    func prepare(isReadInPieces: Bool) {
        let wanted = isReadInPieces ? Self.piecewiseKibibytes : kibibytes
        guard current.exchange(wanted, ordering: .relaxed) != wanted else { return }
        let text = Array("\(wanted)\n".utf8)
        _ = pwrite(descriptor, text, text.count, 0)
    }
}
