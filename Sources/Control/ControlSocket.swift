// Unix stream sockets: addresses of any length, peers' users, lines with bounds and deadlines.

internal import Base
internal import Glibc

/// A connected socket, read and written in lines. Used by one thread at a time; closes itself.
final class ControlSocket {
    let descriptor: Int32
    private var received: [UInt8] = []

    /// Takes over the descriptor.
    init(taking descriptor: Int32) {
        self.descriptor = descriptor
        _ = fcntl(descriptor, F_SETFL, fcntl(descriptor, F_GETFL) | O_NONBLOCK)
    }

    deinit {
        close(descriptor)
    }

    /// The user at the other end, as the kernel knows it (SO_PEERCRED); nil when it does not.
    var peerUserID: UInt32? {
        // struct ucred of unix(7), which the C module does not import.
        var credentials: (pid: Int32, userID: UInt32, groupID: UInt32) = (0, .max, .max)
        var length = socklen_t(MemoryLayout.size(ofValue: credentials))
        // SAFETY: the kernel writes at most `length` bytes, the size of the tuple, which has the layout of three C ints.
        guard getsockopt(descriptor, SOL_SOCKET, SO_PEERCRED, &credentials, &length) == 0 else { return nil }
        return credentials.userID
    }

    // MARK: Lines

    enum Line {
        /// Without the newline.
        case line([UInt8])
        case closed
        case timedOut
        /// Longer than allowed; the connection is of no use any more.
        case tooLong
        /// `interrupt` became readable.
        case interrupted
    }

    /// The next line. Blocks until it is there, the deadline passes or `interrupt` becomes readable.
    func readLine(bytesMax: Int, deadlineNanoseconds: UInt64, interrupt: Int32 = -1) -> Line {
        var searched = 0
        while true {
            if let end = received[searched...].firstIndex(of: UInt8(ascii: "\n")) {
                let line = Array(received[..<end])
                received.removeSubrange(...end)
                return line.count <= bytesMax ? .line(line) : .tooLong
            }
            searched = received.count
            if received.count > bytesMax { return .tooLong }
            switch wait(for: POLLIN, deadlineNanoseconds: deadlineNanoseconds, interrupt: interrupt) {
            case .ready: break
            case .timedOut: return .timedOut
            case .interrupted: return .interrupted
            }
            let got = withUnsafeTemporaryAllocation(byteCount: 16_384, alignment: 1) { buffer in
                // SAFETY: recv writes at most the size of the buffer, which lives through the closure.
                let got = recv(descriptor, buffer.baseAddress!, buffer.count, 0)
                if got > 0 { received.append(contentsOf: UnsafeRawBufferPointer(rebasing: buffer[..<got])) }
                return got < 0 && (errno == EINTR || errno == EAGAIN) ? 1 : got
            }
            if got <= 0 { return .closed }
        }
    }

    /// Sends all bytes; false when the other side went away or took nothing until the deadline.
    func write(_ bytes: [UInt8], deadlineNanoseconds: UInt64) -> Bool {
        var offset = 0
        while offset < bytes.count {
            let sent = bytes.withUnsafeBytes { buffer in
                // SAFETY: the range lies within the array, which is not changed meanwhile.
                let sent = send(
                    descriptor, buffer.baseAddress! + offset, bytes.count - offset, Int32(MSG_NOSIGNAL))
                return sent < 0 && (errno == EINTR || errno == EAGAIN) ? 0 : sent
            }
            guard sent >= 0 else { return false }
            offset += sent
            if sent == 0 {
                guard case .ready = wait(for: POLLOUT, deadlineNanoseconds: deadlineNanoseconds) else { return false }
            }
        }
        return true
    }

    private enum Readiness { case ready, timedOut, interrupted }

    private func wait(for event: Int32, deadlineNanoseconds: UInt64, interrupt: Int32 = -1) -> Readiness {
        while true {
            // poll ignores negative descriptors.
            var watch = [
                pollfd(fd: descriptor, events: Int16(event), revents: 0),
                pollfd(fd: interrupt, events: Int16(POLLIN), revents: 0),
            ]
            let ready = poll(&watch, 2, Self.milliseconds(until: deadlineNanoseconds))
            if ready < 0, errno == EINTR { continue }
            if ready == 0 { return .timedOut }
            return watch[1].revents != 0 ? .interrupted : .ready
        }
    }

    /// For `poll`: rounded up, 0 when the deadline has passed.
    static func milliseconds(until deadlineNanoseconds: UInt64) -> Int32 {
        let now = SystemTime().monotonicNanoseconds
        guard deadlineNanoseconds > now else { return 0 }
        return Int32(clamping: (deadlineNanoseconds - now) / 1_000_000 + 1)
    }

    // MARK: Connecting and listening

    /// Connects to a socket. Does not wait for anyone to accept; waits `timeoutSeconds` while the queue is full.
    static func connect(to path: String, timeoutSeconds: Int) throws(ControlError) -> ControlSocket {
        let descriptor = try make()
        var timeout = timeval(tv_sec: timeoutSeconds, tv_usec: 0)
        setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &timeout, socklen_t(MemoryLayout<timeval>.size))
        let failure = try withAddress(of: path) { address, length in
            Glibc.connect(descriptor, address, length) == 0 ? 0 : errno
        }
        guard failure == 0 else {
            close(descriptor)
            switch failure {
            case ENOENT, ECONNREFUSED: throw ControlError(.notRunning, "no mount answers at \(path)")
            case EAGAIN, ETIMEDOUT: throw ControlError(.unresponsive, "the mount at \(path) does not take requests")
            case EACCES, EPERM: throw ControlError(.notPermitted, "\(path) belongs to another user")
            default: throw ControlError(.other, "cannot connect to \(path): \(ControlDirectory.message(failure))")
            }
        }
        return ControlSocket(taking: descriptor)
    }

    /// A descriptor that listens at `path`, which must not exist. Mode 0600.
    static func listen(at path: String, backlog: Int32) throws(ControlError) -> Int32 {
        let descriptor = try make()
        // The mode of the socket before bind is the mode of the file that bind makes (net/unix/af_unix.c): there is no
        // moment at which it is open to others.
        fchmod(descriptor, 0o600)
        let failure = try withAddress(of: path) { address, length in
            bind(descriptor, address, length) == 0 && Glibc.listen(descriptor, backlog) == 0 ? 0 : errno
        }
        guard failure == 0 else {
            close(descriptor)
            throw ControlError(.unusableDirectory, "cannot listen at \(path): \(ControlDirectory.message(failure))")
        }
        return descriptor
    }

    /// Whether there is a socket at `path` that nobody listens on.
    static func isAbandoned(_ path: String) -> Bool {
        guard let descriptor = try? make() else { return false }
        defer { close(descriptor) }
        _ = fcntl(descriptor, F_SETFL, O_NONBLOCK)
        let failure = try? withAddress(of: path) { address, length in
            Glibc.connect(descriptor, address, length) == 0 ? 0 : errno
        }
        return failure == ECONNREFUSED
    }

    private static func make() throws(ControlError) -> Int32 {
        let descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else {
            throw ControlError(.other, "cannot make a socket: \(ControlDirectory.message(errno))")
        }
        return descriptor
    }

    /// Calls `body` with the address. An address holds 107 bytes of path (unix(7)); for longer ones it goes through an open
    /// descriptor of the directory.
    private static func withAddress(
        of path: String, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Int32
    ) throws(ControlError) -> Int32 {
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        let capacity = MemoryLayout.size(ofValue: address.sun_path)
        var name = path
        var directory: Int32 = -1
        defer { if directory >= 0 { close(directory) } }
        if path.utf8.count >= capacity, let slash = path.utf8.lastIndex(of: UInt8(ascii: "/")) {
            directory = open(String(path[..<slash]), O_RDONLY | O_DIRECTORY | O_CLOEXEC)
            guard directory >= 0 else { return errno }
            name = "/proc/self/fd/\(directory)\(path[slash...])"
        }
        guard name.utf8.count < capacity else { return ENAMETOOLONG }
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: name.utf8) }
        // SAFETY: sockaddr_un is one of the forms of sockaddr, and lives through the call.
        return withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                body($0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
    }
}
