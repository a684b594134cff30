// The listening end: lives in the daemon of a mount, and must never hurt it. Clients are few (bounded), their lines are
// bounded, each wait has a deadline, and nothing here touches the mount through the kernel.

internal import Base
internal import CLinux
internal import Glibc

/// Serves the control socket of one mount. Thread-safe. Stops when told to; a killed daemon leaves a stale socket, which
/// the next client or server removes.
public final class ControlServer: Sendable {
    /// Progress lines come at least this often.
    public static let heartbeatSeconds = 1
    /// More clients than this at once are turned away.
    public static let clientCountMax = 16

    private struct State {
        var clientCount = 0
        var isStopping = false
    }

    public let socketPath: String
    let delegate: any ControlDelegate
    let mountpoint: String
    /// Readable once the server stops; never drained, so that it wakes every thread.
    let stopSignal = WakePipe()
    private let listener: Int32
    private let inode: UInt64
    private let state = Lock(State())

    /// Listens; clients are served from a thread `pail-control` from now on.
    /// - Parameters:
    ///   - directory: made if it is missing.
    ///   - mountpoint: canonical.
    /// - Throws: `.alreadyServed` when somebody answers at this mountpoint's socket.
    public init(
        directory: ControlDirectory, mountpoint: String, delegate: some ControlDelegate
    ) throws(ControlError) {
        try directory.create()
        let path = directory.socketPath(mountpoint: mountpoint)
        let lock = try DirectoryLock(directory.path)
        defer { lock.release() }
        var information = stat()
        if lstat(path, &information) == 0 {
            guard ControlSocket.isAbandoned(path) else {
                throw ControlError(.alreadyServed, "another process serves \(mountpoint) already (\(path))")
            }
            unlink(path)
        }
        listener = try ControlSocket.listen(at: path, backlog: Int32(Self.clientCountMax))
        inode = lstat(path, &information) == 0 ? UInt64(information.st_ino) : 0
        socketPath = path
        self.delegate = delegate
        self.mountpoint = mountpoint
        // The thread keeps the server alive until `stop`.
        NamedThread.start("pail-control") { self.acceptClients() }
    }

    /// Removes the socket and ends all connections; requests under way are answered with `.stopping`. Returns at once;
    /// later calls do nothing.
    public func stop() {
        let isFirst = state.withLock { state in
            defer { state.isStopping = true }
            return !state.isStopping
        }
        guard isFirst else { return }
        // A successor may have put its socket in the place of ours.
        var information = stat()
        if lstat(socketPath, &information) == 0, UInt64(information.st_ino) == inode { unlink(socketPath) }
        stopSignal.wake()
    }

    /// How many clients are connected.
    var clientCount: Int { state.withLock { $0.clientCount } }

    private func acceptClients() {
        defer { close(listener) }
        while true {
            var watch = [
                pollfd(fd: listener, events: Int16(POLLIN), revents: 0),
                pollfd(fd: stopSignal.readDescriptor, events: Int16(POLLIN), revents: 0),
            ]
            guard poll(&watch, 2, -1) > 0 else { continue }
            if watch[1].revents != 0 { return }
            let descriptor = pail_accept(listener)
            guard descriptor >= 0 else {
                // Out of descriptors: wait for some to come back rather than spin.
                if errno == EMFILE || errno == ENFILE { poll(&watch[1], 1, 100) }
                continue
            }
            admit(descriptor)
        }
    }

    private func admit(_ descriptor: Int32) {
        let isAdmitted = state.withLock { state in
            guard state.clientCount < Self.clientCountMax else { return false }
            state.clientCount += 1
            return true
        }
        guard isAdmitted else {
            let socket = ControlSocket(taking: descriptor)
            let refusal = ControlReply.failed(ControlError(.tooManyClients, "too many clients at \(mountpoint)"))
            // No waiting: this is the thread that accepts.
            _ = socket.write(ControlCoding.line(refusal), deadlineNanoseconds: 0)
            return
        }
        NamedThread.start("pail-ctl-client") {
            ControlSession(socket: ControlSocket(taking: descriptor), server: self).run()
            self.state.withLock { $0.clientCount -= 1 }
        }
    }
}
