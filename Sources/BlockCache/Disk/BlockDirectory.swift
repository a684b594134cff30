// The directory that all mounts of a user share: `blocks` below the cache directory. Nothing outside of it is touched.

internal import Base
internal import CLinux
internal import Glibc

/// The open directory of blocks: names, the temporary files, and the count of bytes that all processes keep together.
///
/// Layout: `ab/cdef…-0` segments, `new/…` segments being made, `usage` the sum of bytes (under flock), `CACHEDIR.TAG`.
/// Thread-safe; every call may block.
final class BlockDirectory: Sendable {
    static let name = "blocks"
    private static let newName = "new"
    /// Segments being made that are older were left by a process that died.
    private static let newSecondsMax = 600

    let calls: DiskCalls
    private let descriptor: Int32

    /// Opens the directory of blocks.
    /// - Parameters:
    ///   - path: the cache directory, absolute.
    ///   - isMade: makes what is missing, mode 0700.
    init(path: String, isMade: Bool, calls: DiskCalls) throws(DiskError) {
        self.calls = calls
        let blocks = "\(path)/\(Self.name)"
        if isMade {
            for end in blocks.indices.dropFirst() where blocks[end] == "/" {
                // What cannot be made may be there; opening tells.
                try? calls.makeDirectory(AT_FDCWD, String(blocks[..<end]))
            }
            do throws(DiskError) {
                try calls.makeDirectory(AT_FDCWD, blocks)
            } catch .call(.makeDirectory, EROFS) {
                // A cache that can only be read is still one.
            }
        }
        let file = try calls.open(AT_FDCWD, blocks, O_RDONLY | O_DIRECTORY)
        let status = try calls.status(file)
        guard status.st_uid == geteuid() else { throw .notOurs }
        // The content of other people's buckets: nobody else reads it, or puts files there.
        if status.st_mode & 0o077 != 0, fchmod(file.descriptor, 0o700) != 0 {
            let code = errno
            throw .call(.open, code: code)
        }
        descriptor = dup(file.descriptor)
        guard descriptor >= 0 else {
            let code = errno
            throw .call(.open, code: code)
        }
        _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC)
        if isMade { try? tag() }
    }

    deinit {
        close(descriptor)
    }

    /// Tells backup programs to leave the directory out (https://bford.info/cachedir/).
    private func tag() throws(DiskError) {
        let file = try calls.open(descriptor, "CACHEDIR.TAG", O_WRONLY | O_CREAT | O_EXCL)
        try calls.writeBytes(file, Array("Signature: 8a477f597d28d172789f06886806bc55\n# pail\n".utf8), at: 0)
    }

    // MARK: Segments

    /// Nil when there is no such file.
    func open(_ name: SegmentName, forWriting: Bool) throws(DiskError) -> DiskFile? {
        do throws(DiskError) {
            return try calls.open(descriptor, name.path, forWriting ? O_RDWR : O_RDONLY)
        } catch .call(.open, ENOENT) {
            return nil
        }
    }

    /// Makes a segment whose bytes `fill` writes; it has its name only once they are there. Replaces one of that name.
    func make(_ name: SegmentName, _ fill: (borrowing DiskFile) throws(DiskError) -> Void) throws(DiskError) {
        let temporary = "\(Self.newName)/\(String(UInt64.random(in: .min ... .max), radix: 16))"
        let file: DiskFile
        do throws(DiskError) {
            file = try calls.open(descriptor, temporary, O_RDWR | O_CREAT | O_EXCL)
        } catch .call(.open, ENOENT) {
            try calls.makeDirectory(descriptor, Self.newName)
            file = try calls.open(descriptor, temporary, O_RDWR | O_CREAT | O_EXCL)
        }
        do throws(DiskError) {
            try fill(file)
            do throws(DiskError) {
                try calls.rename(descriptor, temporary, name.path)
            } catch .call(.rename, ENOENT) {
                try calls.makeDirectory(descriptor, name.directory)
                try calls.rename(descriptor, temporary, name.path)
            }
        } catch {
            try? calls.remove(descriptor, temporary)
            throw error
        }
    }

    /// False when there was none.
    func remove(_ name: SegmentName) throws(DiskError) -> Bool {
        do throws(DiskError) {
            try calls.remove(descriptor, name.path)
            return true
        } catch .call(.remove, ENOENT) {
            return false
        }
    }

    /// The size of the file system and what is free, in bytes.
    func space() throws(DiskError) -> (total: Int, free: Int) {
        try calls.space(try calls.open(descriptor, ".", O_RDONLY | O_DIRECTORY))
    }

    // MARK: All of them

    /// Calls `body` for each segment file, and removes files that are none and temporary ones of dead processes.
    /// - Parameter body: false ends the walk.
    func forEachSegment(isCleaning: Bool, _ body: (SegmentName) -> Bool) throws(DiskError) {
        for directory in try calls.names(descriptor, ".") {
            if directory == Self.newName, isCleaning { removeOldTemporaries(olderThanSeconds: Self.newSecondsMax) }
            guard directory.utf8.count == 2 else { continue }
            // Made, removed or replaced by somebody meanwhile: whatever cannot be listed is not ours.
            guard let files = try? calls.names(descriptor, directory) else { continue }
            for file in files {
                if let name = SegmentName(directory: directory, file: file) {
                    guard body(name) else { return }
                } else if isCleaning {
                    try? calls.remove(descriptor, "\(directory)/\(file)")
                }
            }
        }
    }

    private func removeOldTemporaries(olderThanSeconds seconds: Int) {
        let now = Int(SystemTime().now.seconds)
        for file in (try? calls.names(descriptor, Self.newName)) ?? [] {
            var status = stat()
            let path = "\(Self.newName)/\(file)"
            guard fstatat(descriptor, path, &status, AT_SYMLINK_NOFOLLOW) == 0,
                now - Int(status.st_mtim.tv_sec) >= seconds
            else { continue }
            try? calls.remove(descriptor, path)
        }
    }

    /// Removes every segment. Safe while mounts use them: what is open stays readable.
    /// - Returns: how many there were.
    func clear() throws(DiskError) -> Int {
        var count = 0
        var failure: DiskError?
        try forEachSegment(isCleaning: true) { name in
            do throws(DiskError) {
                if try remove(name) { count += 1 }
                return true
            } catch {
                failure = error
                return false
            }
        }
        if let failure { throw failure }
        _ = try changeUsage { _ in 0 }
        return count
    }

    // MARK: The sum

    /// Changes the sum of bytes on disk, which every process keeps up; returns the new one. It is a guess after a
    /// crash, until the next scan.
    func changeUsage(_ change: (Int) -> Int) throws(DiskError) -> Int {
        let file = try calls.open(descriptor, "usage", O_RDWR | O_CREAT)
        try calls.lock(file)
        defer { calls.unlock(file) }
        let bytes = try calls.readBytes(file, count: 8, at: 0)
        let stored = bytes.count == 8 ? bytes.reversed().reduce(UInt64(0)) { $0 << 8 | UInt64($1) } : 0
        let old = Int(min(stored, 1 << 60))
        let new = max(0, change(old))
        if new != old {
            try calls.writeBytes(file, (0..<8).map { UInt8(truncatingIfNeeded: new >> (8 * $0)) }, at: 0)
        }
        return new
    }
}
