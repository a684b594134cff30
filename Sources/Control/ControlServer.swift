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
    /// How often it looks whether its socket is still where clients look for it.
    public static let checkMillisecondsDefault: Int32 = 3_000

    private struct State {
        var clientCount = 0
        var isStopping = false
        var place: ListeningPlace
    }

    private let directories: [ControlDirectory]
    private let record: MountRecord?
    private let checkMilliseconds: Int32
    let delegate: any ControlDelegate
    let mountpoint: String
    /// Readable once the server stops; never drained, so that it wakes every thread.
    let stopSignal = WakePipe()
    private let state: Lock<State>

    /// Listens; clients are served from a thread `pail-control` from now on.
    /// - Parameters:
    ///   - directories: the first that can be had is taken, and made if it is missing. When it goes away - a login's
    ///     runtime directory goes with the login - it is made again, or another one is taken.
    ///   - mountpoint: canonical.
    ///   - record: put beside the socket.
    ///   - checkMilliseconds: how often to look whether the socket is still there.
    /// - Throws: `.alreadyServed` when somebody answers at this mountpoint's socket.
    public init(
        directories: [ControlDirectory], mountpoint: String, delegate: some ControlDelegate, record: MountRecord? = nil,
        checkMilliseconds: Int32 = ControlServer.checkMillisecondsDefault
    ) throws(ControlError) {
        let place = try ListeningPlace(in: directories, mountpoint: mountpoint)
        self.directories = directories
        self.record = record
        self.checkMilliseconds = checkMilliseconds
        self.delegate = delegate
        self.mountpoint = mountpoint
        state = Lock(State(place: place))
        writeRecord(place)
        // The thread keeps the server alive until `stop`.
        NamedThread.start("pail-control") { self.acceptClients(place) }
    }

    /// The same in one directory.
    convenience init(
        directory: ControlDirectory, mountpoint: String, delegate: some ControlDelegate
    ) throws(ControlError) {
        try self.init(directories: [directory], mountpoint: mountpoint, delegate: delegate)
    }

    /// Where it listens now.
    public var socketPath: String { state.withLock { $0.place.socketPath } }

    /// Removes the socket and ends all connections; requests under way are answered with `.stopping`. Returns at once;
    /// later calls do nothing.
    /// - Parameter left: what is not in the bucket; the record tells it, and goes when it is nothing.
    public func stop(left: DrainResult = DrainResult()) {
        let place = state.withLock { state -> ListeningPlace? in
            defer { state.isStopping = true }
            return state.isStopping ? nil : state.place
        }
        guard let place else { return }
        // A successor may have put its socket in the place of ours, and its record.
        let isOurs = place.isOurs
        if left.filesLeft > 0, isOurs || access(place.socketPath, F_OK) != 0 {
            writeRecord(place, left: left)
        } else {
            record?.remove(mountpoint: mountpoint, directories: directories, ownerID: geteuid())
        }
        if isOurs { unlink(place.socketPath) }
        stopSignal.wake()
    }

    /// Puts the record beside the socket, and in the last of the directories, which no logout takes away.
    private func writeRecord(_ place: ListeningPlace, left: DrainResult? = nil) {
        guard var record else { return }
        record.left = left
        record.write(to: place.recordPath)
        if let last = directories.last, last.path != place.directory.path, (try? last.create()) != nil {
            record.write(to: last.recordPath(mountpoint: mountpoint))
        }
    }

    /// How many clients are connected.
    var clientCount: Int { state.withLock { $0.clientCount } }

    private func acceptClients(_ first: ListeningPlace) {
        var place = first
        defer { close(place.listener) }
        var checkedAt = SystemTime().monotonicNanoseconds
        while true {
            var watch = [
                pollfd(fd: place.listener, events: Int16(POLLIN), revents: 0),
                pollfd(fd: stopSignal.readDescriptor, events: Int16(POLLIN), revents: 0),
            ]
            let ready = poll(&watch, 2, checkMilliseconds)
            let now = SystemTime().monotonicNanoseconds
            if now - checkedAt >= UInt64(checkMilliseconds) * 1_000_000 {
                checkedAt = now
                if watch[1].revents == 0 { check(&place) }
            }
            guard ready > 0 else { continue }
            if watch[1].revents != 0 { return }
            // Not that of a place that was left a moment ago.
            guard watch[0].fd == place.listener else { continue }
            let descriptor = pail_accept(place.listener)
            guard descriptor >= 0 else {
                // Out of descriptors: wait for some to come back rather than spin.
                if errno == EMFILE || errno == ENFILE { poll(&watch[1], 1, 100) }
                continue
            }
            admit(descriptor)
        }
    }

    /// Listens anew when the socket is not where it was. Whoever serves this mountpoint there by now is left alone.
    private func check(_ place: inout ListeningPlace) {
        if place.isOurs {
            // Files in /tmp that nobody reads are tidied away after days.
            if access(place.recordPath, F_OK) != 0 { writeRecord(place) }
            return
        }
        guard let fresh = try? ListeningPlace(in: directories, mountpoint: mountpoint) else { return }
        let isStopping = state.withLock { state in
            if !state.isStopping { state.place = fresh }
            return state.isStopping
        }
        if isStopping {
            unlink(fresh.socketPath)
            close(fresh.listener)
            return
        }
        close(place.listener)
        place = fresh
        writeRecord(fresh)
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

/// A socket that is listened on.
private struct ListeningPlace {
    let directory: ControlDirectory
    let socketPath: String
    let recordPath: String
    let listener: Int32
    private let inode: UInt64
    private let device: UInt64

    /// Listens in the first directory that can be had.
    /// - Throws: `.alreadyServed` when somebody answers at this mountpoint's socket.
    init(in directories: [ControlDirectory], mountpoint: String) throws(ControlError) {
        directory = try ControlDirectory.firstUsable(of: directories)
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
        listener = try ControlSocket.listen(at: path, backlog: Int32(ControlServer.clientCountMax))
        let isThere = lstat(path, &information) == 0
        inode = isThere ? UInt64(information.st_ino) : 0
        device = isThere ? UInt64(information.st_dev) : 0
        socketPath = path
        recordPath = directory.recordPath(mountpoint: mountpoint)
    }

    /// Whether the path still leads to the socket.
    var isOurs: Bool {
        var information = stat()
        return lstat(socketPath, &information) == 0 && UInt64(information.st_ino) == inode
            && UInt64(information.st_dev) == device
    }
}
