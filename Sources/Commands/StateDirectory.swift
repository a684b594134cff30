// The directory that holds staged data: private, and ours.

internal import Glibc

/// Making and checking of the state directory.
public enum StateDirectory {
    /// Makes the directory and those above it, mode 0700, and checks that it is this user's alone.
    /// Touches the file system; thread-safe.
    public static func prepare(_ path: String) throws(MountFailure) {
        try make(path)
        let descriptor = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard descriptor >= 0 else { throw failure(path, "cannot be opened", errno) }
        defer { close(descriptor) }
        var status = stat()
        guard fstat(descriptor, &status) == 0 else { throw failure(path, "cannot be examined", errno) }
        guard status.st_uid == geteuid() else {
            throw MountFailure(
                "the state directory \(path) belongs to \(AccountNames.user(status.st_uid))",
                remedy: "name one of your own with --state-dir")
        }
        // Staged data is the content of other people's buckets: nobody else reads it, or puts files there.
        if status.st_mode & 0o077 != 0, fchmod(descriptor, 0o700) != 0 {
            throw failure(path, "cannot be made private", errno)
        }
        guard access(path, W_OK | X_OK) == 0 else { throw failure(path, "is not writable", errno) }
    }

    /// Makes a directory below the state directory, mode 0700, with those between.
    public static func make(_ path: String) throws(MountFailure) {
        var end = path.utf8.startIndex
        while end < path.utf8.endIndex {
            end = path.utf8[path.utf8.index(after: end)...].firstIndex(of: UInt8(ascii: "/")) ?? path.utf8.endIndex
            let part = String(path[..<end])
            if mkdir(part, 0o700) != 0, errno != EEXIST {
                let code = errno
                // A directory above may be there and yet not ours to make.
                if access(part, F_OK) != 0 { throw failure(part, "cannot be made", code) }
            }
        }
    }

    private static func failure(_ path: String, _ what: String, _ code: Int32) -> MountFailure {
        MountFailure(
            "the state directory \(path) \(what): \(String(cString: strerror(code)))",
            remedy: "name another with --state-dir")
    }
}
