// One client of a control socket: reads its requests, runs them as tasks, writes the replies. Owned by one thread.

internal import Base
internal import Glibc

/// The conversation with one client.
struct ControlSession {
    /// A client that asks nothing for so long is sent away.
    static let idleSecondsMax: UInt64 = 60
    /// A client that takes nothing for so long, too.
    static let writeSecondsMax: UInt64 = 10
    /// Progress lines of one request come at most this often.
    static let progressIntervalNanoseconds: UInt64 = 100_000_000
    private static let second: UInt64 = 1_000_000_000
    private static let heartbeatNanoseconds = UInt64(ControlServer.heartbeatSeconds) * second

    let socket: ControlSocket
    let server: ControlServer

    func run() {
        // Root may look after everyone's mounts; others only after their own.
        guard let peer = socket.peerUserID, peer == geteuid() || peer == 0 else {
            send(.failed(ControlError(.notPermitted, "this mount belongs to another user")))
            return
        }
        while true {
            let line = socket.readLine(
                bytesMax: ControlCoding.requestBytesMax, deadlineNanoseconds: now + Self.idleSecondsMax * Self.second,
                interrupt: server.stopSignal.readDescriptor)
            switch line {
            case .closed, .timedOut: return
            case .interrupted:
                send(.failed(Self.stopping))
                return
            case .tooLong:
                send(.failed(ControlError(.malformed, "the request is too long")))
                return
            case .line(let bytes):
                let request: ControlRequest
                do {
                    request = try ControlCoding.request(bytes)
                } catch {
                    send(.failed(error))
                    return
                }
                guard serve(request) else { return }
            }
        }
    }

    /// Runs a request to its last reply; false when the connection is of no use any more.
    private func serve(_ request: ControlRequest) -> Bool {
        let mailbox = ReplyMailbox()
        let delegate = server.delegate
        let mountpoint = server.mountpoint
        let task = Task {
            mailbox.finish(await Self.answer(request, delegate, mountpoint) { mailbox.post($0) })
        }
        defer { task.cancel() }
        var deadline: UInt64 = .max
        if case .flush(_, let timeoutSeconds?) = request {
            deadline = now + UInt64(timeoutSeconds * Double(Self.second))
        }
        var progress: UploadProgress?
        var hasNews = false
        var lastLine = now
        while true {
            let (latest, final) = mailbox.take()
            if let final { return send(final) }
            if let latest {
                progress = latest
                hasNews = true
            }
            let current = now
            if current >= deadline {
                return send(.failed(ControlError(.timedOut, "not uploaded in the time given; the upload goes on")))
            }
            let interval = hasNews ? Self.progressIntervalNanoseconds : Self.heartbeatNanoseconds
            if current >= lastLine + interval {
                guard send(.progress(progress)) else { return false }
                hasNews = false
                lastLine = current
                continue
            }
            var watch = [
                // Only a closed connection is of interest; a half-closed one still wants its answer.
                pollfd(fd: socket.descriptor, events: 0, revents: 0),
                pollfd(fd: mailbox.signal.readDescriptor, events: Int16(POLLIN), revents: 0),
                pollfd(fd: server.stopSignal.readDescriptor, events: Int16(POLLIN), revents: 0),
            ]
            let ready = poll(&watch, 3, ControlSocket.milliseconds(until: min(deadline, lastLine + interval)))
            guard ready > 0 else { continue }
            if watch[0].revents != 0 { return false }
            if watch[2].revents != 0 {
                send(.failed(Self.stopping))
                return false
            }
        }
    }

    private static let stopping = ControlError(.stopping, "the mount is going away")

    private var now: UInt64 { SystemTime().monotonicNanoseconds }

    @discardableResult
    private func send(_ reply: ControlReply) -> Bool {
        socket.write(ControlCoding.line(reply), deadlineNanoseconds: now + Self.writeSecondsMax * Self.second)
    }

    private static func answer(
        _ request: ControlRequest, _ delegate: any ControlDelegate, _ mountpoint: String,
        progress: @escaping @Sendable (UploadProgress) -> Void
    ) async -> ControlReply {
        do throws(ControlError) {
            switch request {
            case .ping: return .done
            case .status: return .status(await delegate.status().bounded())
            case .drain: return .drained(try await delegate.drain(progress: progress))
            case .flush(let path, _):
                try await delegate.flush(path: try relativePath(path, in: mountpoint), progress: progress)
                return .done
            case .refresh(let path):
                try await delegate.refresh(path: try relativePath(path, in: mountpoint))
                return .done
            case .upgrade(let program):
                guard program.hasPrefix("/"), !program.utf8.contains(0) else {
                    throw ControlError(.malformed, "a program's path begins with a slash")
                }
                try await delegate.upgrade(program: program)
                return .done
            }
        } catch {
            return .failed(error)
        }
    }

    /// The path relative to the mountpoint, tidied; empty for the mountpoint itself. Text only: asking the kernel about a
    /// path inside our own mount could wait for ourselves.
    static func relativePath(_ path: String, in mountpoint: String) throws(ControlError) -> String {
        guard !path.utf8.contains(0) else { throw ControlError(.malformed, "the path has a NUL byte") }
        let slash = UInt8(ascii: "/")
        var rest = path.utf8[...]
        if rest.first == slash {
            let prefix = mountpoint.utf8
            guard rest.starts(with: prefix), rest.count == prefix.count || rest.dropFirst(prefix.count).first == slash
            else {
                throw ControlError(.outsideMount, "\(path) is not in the mount \(mountpoint)")
            }
            rest = rest.dropFirst(prefix.count)
        }
        let names = rest.split(separator: slash).map { Array($0) }.filter { $0 != [UInt8(ascii: ".")] }
        guard !names.contains(Array("..".utf8)) else {
            throw ControlError(.malformed, "the path \(path) has \"..\" in it")
        }
        return names.map { String(decoding: $0, as: UTF8.self) }.joined(separator: "/")
    }
}

/// Where a request's task leaves its replies for the thread of its client. The newest progress replaces an older one.
final class ReplyMailbox: Sendable {
    private struct State {
        var progress: UploadProgress?
        var final: ControlReply?
    }

    let signal = WakePipe()
    private let state = Lock(State())

    func post(_ progress: UploadProgress) {
        state.withLock { $0.progress = progress }
        signal.wake()
    }

    func finish(_ reply: ControlReply) {
        state.withLock { $0.final = reply }
        signal.wake()
    }

    func take() -> (progress: UploadProgress?, final: ControlReply?) {
        signal.drain()
        return state.withLock { state in
            defer { state.progress = nil }
            return (state.progress, state.final)
        }
    }
}
