// A small text file that somebody else may replace at any time.

internal import Base
internal import Glibc
internal import S3Protocol

/// Reads a file and notices later whether it is another one. Thread-safe.
final class WatchedFile: Sendable {
    let path: String
    /// Of the last read; nil when there was no file.
    private let fingerprint = Lock<Fingerprint?>(nil)

    private struct Fingerprint: Equatable {
        var device: UInt
        var inode: UInt
        var byteCount: Int
        var changedSeconds: Int
        var changedNanoseconds: Int

        init(_ status: stat) {
            device = UInt(status.st_dev)
            inode = UInt(status.st_ino)
            byteCount = Int(status.st_size)
            // The change time moves with every way of changing a file, and cannot be set back.
            changedSeconds = status.st_ctim.tv_sec
            changedNanoseconds = status.st_ctim.tv_nsec
        }
    }

    /// Such files have a few hundred bytes; a larger one is a mistake.
    private static let byteCountMax = 1 << 20

    init(path: String) {
        self.path = path
    }

    /// Whether the file was changed, replaced, removed or made since the last `read`. One `stat`.
    var hasChanged: Bool {
        var status = stat()
        let now = stat(path, &status) == 0 ? Fingerprint(status) : nil
        return fingerprint.withLock { $0 != now }
    }

    /// The text, or nil when there is no such file.
    func read() throws(CredentialError) -> String? {
        // The fingerprint is taken before the content: a change in between is then seen as one.
        fingerprint.withLock { $0 = nil }
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        if descriptor < 0 {
            let code = errno
            if code == ENOENT || code == ENOTDIR { return nil }
            throw unreadable(code)
        }
        defer { close(descriptor) }
        var status = stat()
        guard fstat(descriptor, &status) == 0 else { throw unreadable(errno) }
        let current = Fingerprint(status)
        var bytes: [UInt8] = []
        var piece = [UInt8](repeating: 0, count: 65536)
        while true {
            let count = Glibc.read(descriptor, &piece, piece.count)
            if count < 0 {
                if errno == EINTR { continue }
                throw unreadable(errno)
            }
            if count == 0 { break }
            bytes += piece[..<count]
            guard bytes.count <= Self.byteCountMax else {
                throw CredentialError(.malformed, message: "\(path) is larger than 1 MiB")
            }
        }
        guard let text = String(validating: bytes, as: UTF8.self) else {
            throw CredentialError(.malformed, message: "\(path) is not UTF-8 text")
        }
        fingerprint.withLock { $0 = current }
        return text
    }

    private func unreadable(_ code: Int32) -> CredentialError {
        CredentialError(.unreadable, message: "cannot read \(path): \(String(cString: strerror(code)))")
    }
}
