// The asking end: blocking calls for the command line.

internal import Base
internal import Glibc

/// A connection to the control socket of one mount. Blocking; used by one thread at a time. Closes itself; a request
/// under way is then given up by the mount, while uploads go on.
public final class ControlClient {
    /// A mount that says nothing for so long is taken for hung; it sends a line each second.
    public static let silenceSecondsMax = 10

    private let socket: ControlSocket
    private let silenceSeconds: Int

    /// Connects, and makes sure that the other end is the owner of the socket.
    /// - Throws: `.notRunning` when no mount listens there.
    public init(socketPath: String, silenceSeconds: Int = ControlClient.silenceSecondsMax) throws(ControlError) {
        self.silenceSeconds = silenceSeconds
        var information = stat()
        guard lstat(socketPath, &information) == 0 else {
            throw ControlError(
                errno == EACCES ? .notPermitted : .notRunning,
                "cannot use \(socketPath): \(ControlDirectory.message(errno))")
        }
        // Root may look after the mounts of others, but then the owner of the socket must be at its other end.
        guard information.st_uid == geteuid() || geteuid() == 0 else {
            throw ControlError(.notPermitted, "\(socketPath) belongs to another user")
        }
        socket = try ControlSocket.connect(to: socketPath, timeoutSeconds: silenceSeconds)
        guard socket.peerUserID == information.st_uid else {
            throw ControlError(.notPermitted, "\(socketPath) is served by another user")
        }
    }

    /// Connects to the mount at a canonical mountpoint, looking in each directory in turn.
    /// - Throws: `.notRunning` when no mount listens in any of them.
    public static func connect(
        mountpoint: String, directories: [ControlDirectory], silenceSeconds: Int = ControlClient.silenceSecondsMax
    ) throws(ControlError) -> ControlClient {
        var worst: ControlError?
        for directory in directories {
            do {
                return try ControlClient(
                    socketPath: directory.socketPath(mountpoint: mountpoint), silenceSeconds: silenceSeconds)
            } catch {
                if error.code != .notRunning { worst = error }
            }
        }
        throw worst ?? ControlError(.notRunning, "no pail serves \(mountpoint)")
    }

    public func ping() throws(ControlError) {
        try expectDone(.ping)
    }

    public func status() throws(ControlError) -> MountStatus {
        guard case .status(let status) = try ask(.status) else { throw Self.unexpected }
        return status
    }

    /// Waits until the data of `path` is in the bucket.
    /// - Parameters:
    ///   - path: relative to the mountpoint, or absolute and canonical.
    ///   - timeoutSeconds: then throws `.timedOut`; the upload goes on. nil waits as long as it takes.
    ///   - progress: called at least once a second, with nil while there is nothing to tell.
    public func flush(
        path: String, timeoutSeconds: Double? = nil, progress: (UploadProgress?) -> Void = { _ in }
    ) throws(ControlError) {
        try expectDone(.flush(path: path, timeoutSeconds: timeoutSeconds), progress)
    }

    /// Uploads everything that is dirty.
    /// - Parameter progress: called at least once a second, with nil while there is nothing to tell; false stops
    ///   waiting, and the call throws `.timedOut` while the uploads go on.
    public func drain(progress: (UploadProgress?) -> Bool = { _ in true }) throws(ControlError) -> DrainResult {
        guard case .drained(let result) = try ask(.drain, progress) else { throw Self.unexpected }
        return result
    }

    /// Makes the mount forget what it cached of the names and attributes at and below `path`.
    public func refresh(path: String) throws(ControlError) {
        try expectDone(.refresh(path: path))
    }

    /// Makes the mount hand over to another program; returns when it is about to.
    /// - Parameter program: an absolute path.
    public func upgrade(program: String) throws(ControlError) {
        try expectDone(.upgrade(program: program))
    }

    private func expectDone(
        _ request: ControlRequest, _ progress: (UploadProgress?) -> Void = { _ in }
    ) throws(ControlError) {
        let reply = try ask(request) { latest in
            progress(latest)
            return true
        }
        guard case .done = reply else { throw Self.unexpected }
    }

    /// Sends a request and reads to its last reply; a failure is thrown.
    private func ask(
        _ request: ControlRequest, _ progress: (UploadProgress?) -> Bool = { _ in true }
    ) throws(ControlError) -> ControlReply {
        // A mount that turned us away closed its end, and said why before: the reply tells more than the failed write.
        let isSent = socket.write(ControlCoding.line(request), deadlineNanoseconds: silenceDeadline)
        while true {
            let reply = try readReply()
            switch reply {
            case .failed(let error): throw error
            case .progress(let latest):
                guard progress(latest) else {
                    // The rest of this answer must not be taken for the next one's.
                    shutdown(socket.descriptor, Int32(SHUT_RDWR))
                    throw ControlError(.timedOut, "stopped waiting; the upload goes on")
                }
            case .done, .status, .drained:
                guard isSent else { throw Self.lost }
                return reply
            }
        }
    }

    private func readReply() throws(ControlError) -> ControlReply {
        switch socket.readLine(bytesMax: ControlCoding.replyBytesMax, deadlineNanoseconds: silenceDeadline) {
        case .line(let bytes): return try ControlCoding.reply(bytes)
        case .closed, .interrupted: throw Self.lost
        case .timedOut: throw ControlError(.unresponsive, "the mount does not answer")
        case .tooLong: throw ControlError(.malformed, "the mount's answer is too long")
        }
    }

    private var silenceDeadline: UInt64 {
        SystemTime().monotonicNanoseconds + UInt64(silenceSeconds) * 1_000_000_000
    }

    private static let lost = ControlError(.connectionLost, "the mount went away in the middle of an answer")
    private static let unexpected = ControlError(.malformed, "the mount answered something else than was asked")
}
