// What a mount leaves beside its control socket, for those who find nobody behind it.

internal import Base
internal import Glibc

/// Who serves a mount, and where it stages data. It outlives a daemon that was killed; one that ends by itself says in it what
/// is left, or removes it when nothing is.
public struct MountRecord: Sendable, Codable, Equatable {
    /// Larger ones are nobody's.
    private static let bytesMax = 1 << 20

    /// The process that serves.
    public var pid: Int32
    /// The directory of its staged files.
    public var stagingDirectory: String
    /// What was not in the bucket when the daemon ended; nil while it runs, and when it was killed.
    public var left: DrainResult?

    public init(pid: Int32, stagingDirectory: String, left: DrainResult? = nil) {
        self.pid = pid
        self.stagingDirectory = stagingDirectory
        self.left = left
    }

    enum CodingKeys: String, CodingKey {
        case pid, left
        case stagingDirectory = "staging_directory"
    }

    /// The newest record of a mount in any of the directories; nil when there is none, or none of this user's.
    /// - Parameter ownerID: whose mount it is.
    public static func read(mountpoint: String, directories: [ControlDirectory], ownerID: UInt32) -> MountRecord? {
        directories.compactMap { read($0.recordPath(mountpoint: mountpoint), ownerID: ownerID) }
            .max { $0.writtenNanoseconds < $1.writtenNanoseconds }?.record
    }

    /// Removes the records of a mount that is gone. Those of a mount that was made meanwhile are not touched.
    public func remove(mountpoint: String, directories: [ControlDirectory], ownerID: UInt32) {
        for directory in directories {
            let path = directory.recordPath(mountpoint: mountpoint)
            if Self.read(path, ownerID: ownerID)?.record.pid == pid { unlink(path) }
        }
    }

    private static func read(
        _ path: String, ownerID: UInt32
    ) -> (record: MountRecord, writtenNanoseconds: Int)? {
        // Another user's directory may hold anything: no link is followed, and no pipe waited for.
        let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        var status = stat()
        guard fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG, status.st_uid == ownerID,
            status.st_size <= bytesMax
        else { return nil }
        var bytes = [UInt8](repeating: 0, count: Int(status.st_size))
        guard pread(descriptor, &bytes, bytes.count, 0) == bytes.count, let record = ControlCoding.record(bytes)
        else { return nil }
        return (record, status.st_mtim.tv_sec * 1_000_000_000 + status.st_mtim.tv_nsec)
    }

    /// Writes it as a whole, or not at all. Whoever reads it can do without.
    func write(to path: String) {
        let temporary = "\(path).new"
        let descriptor = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard descriptor >= 0 else { return }
        let bytes = ControlCoding.line(self)
        let isWritten = Glibc.write(descriptor, bytes, bytes.count) == bytes.count
        close(descriptor)
        if !isWritten || rename(temporary, path) != 0 { unlink(temporary) }
    }
}
