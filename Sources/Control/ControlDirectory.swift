// Where the control sockets of a user's mounts are: one directory, nobody else's business.

internal import Base
internal import FoundationEssentials
internal import Glibc

/// A runtime directory with one socket a mount. The directory has mode 0700 and belongs to the user.
public struct ControlDirectory: Sendable, Hashable {
    public let path: String

    public init(path: String) {
        self.path = path
    }

    /// Where sockets of this user may be, the preferred place first: root has `/run/pail`, others have
    /// `$XDG_RUNTIME_DIR/pail`, `/run/user/UID/pail` and `/tmp/pail-UID`, and last for all `run` in the state directory.
    ///
    /// A mount made by a service without the variable and a shell with it must find each other: clients look in all of
    /// them, a mount takes the first that can be had.
    public static func candidates(
        stateDirectory: String, runtimeDirectory: String? = nil, userID: UInt32? = nil
    ) -> [ControlDirectory] {
        let userID = userID ?? geteuid()
        var paths: [String] = []
        if userID == 0 {
            paths.append("/run/pail")
        } else {
            if let runtimeDirectory, runtimeDirectory.utf8.first == UInt8(ascii: "/") {
                paths.append("\(runtimeDirectory)/pail")
            }
            paths.append("/run/user/\(userID)/pail")
            // Where no login made a runtime directory: a client must find the mount without knowing its state directory.
            paths.append("/tmp/pail-\(userID)")
        }
        paths.append("\(stateDirectory)/run")
        var seen: Set<String> = []
        return paths.filter { seen.insert($0).inserted }.map(ControlDirectory.init(path:))
    }

    /// The first of the directories that exists or can be made. Throws the last one's error.
    public static func firstUsable(of candidates: [ControlDirectory]) throws(ControlError) -> ControlDirectory {
        var last = ControlError(.unusableDirectory, "no directory for the control socket")
        for candidate in candidates {
            do {
                try candidate.create()
                return candidate
            } catch {
                last = error
            }
        }
        throw last
    }

    /// The socket of the mount at a canonical mountpoint. The name is a hash, so that its length does not depend on the
    /// mountpoint's; the status tells the mountpoint itself.
    public func socketPath(mountpoint: String) -> String {
        "\(path)/\(Self.mountIdentifier(mountpoint: mountpoint)).sock"
    }

    /// Beside it, what the mount leaves when it dies: a `MountRecord`.
    func recordPath(mountpoint: String) -> String {
        "\(path)/\(Self.mountIdentifier(mountpoint: mountpoint)).mount"
    }

    /// 16 hexadecimal digits: FNV-1a of the mountpoint's bytes (RFC 9923, 64-bit parameters).
    public static func mountIdentifier(mountpoint: String) -> String {
        var hash: UInt64 = 0xcbf2_9ce4_8422_2325
        for byte in mountpoint.utf8 { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
        let digits = String(hash, radix: 16)
        return String(repeating: "0", count: 16 - digits.count) + digits
    }

    /// Makes the directory and what is missing above it, all with mode 0700, and checks that it is ours alone.
    public func create() throws(ControlError) {
        var prefix = ""
        for name in path.pathComponents() {
            prefix += "/\(name)"
            if mkdir(prefix, 0o700) != 0, errno != EEXIST, errno != EROFS, errno != EACCES {
                throw ControlError(.unusableDirectory, "cannot create \(prefix): \(Self.message(errno))")
            }
        }
        try check()
    }

    /// Throws unless it is a directory, no symlink, of this user and closed to others.
    func check() throws(ControlError) {
        var information = stat()
        guard lstat(path, &information) == 0 else {
            throw ControlError(.unusableDirectory, "cannot use \(path): \(Self.message(errno))")
        }
        guard information.st_mode & S_IFMT == S_IFDIR else {
            throw ControlError(.unusableDirectory, "\(path) is not a directory")
        }
        guard information.st_uid == geteuid() else {
            throw ControlError(.notPermitted, "\(path) belongs to another user")
        }
        if information.st_mode & 0o077 != 0, chmod(path, 0o700) != 0 {
            throw ControlError(.notPermitted, "\(path) is open to other users: \(Self.message(errno))")
        }
    }

    /// The sockets in the directory on which a mount listens, sorted. Sockets that nobody listens on are removed.
    public func liveSocketPaths() -> [String] {
        guard (try? check()) != nil, let stream = opendir(path) else { return [] }
        defer { closedir(stream) }
        var found: [String] = []
        while let entry = readdir(stream) {
            // SAFETY: d_name is NUL-terminated and valid until the next readdir; it is copied here.
            let name = withUnsafePointer(to: &entry.pointee.d_name) { pointer in
                pointer.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if name.hasSuffix(".sock"), !isStale("\(path)/\(name)") { found.append("\(path)/\(name)") }
        }
        return found.sorted()
    }

    /// Removes the socket if nobody listens on it, and tells whether it is gone.
    private func isStale(_ socketPath: String) -> Bool {
        guard let lock = try? DirectoryLock(path) else { return false }
        defer { lock.release() }
        guard ControlSocket.isAbandoned(socketPath) else { return false }
        unlink(socketPath)
        return true
    }

    static func message(_ errno: Int32) -> String { String(cString: strerror(errno)) }
}

/// Keeps two processes from judging one socket at the same time: held between the look and the bind or unlink.
struct DirectoryLock {
    private let descriptor: Int32

    init(_ path: String) throws(ControlError) {
        descriptor = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard descriptor >= 0 else {
            throw ControlError(.unusableDirectory, "cannot open \(path): \(ControlDirectory.message(errno))")
        }
        while flock(descriptor, LOCK_EX) != 0, errno == EINTR {}
    }

    func release() {
        close(descriptor)
    }
}
