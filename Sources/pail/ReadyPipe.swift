// How the serving process says that it is ready, or why it is not.

internal import Base
internal import Commands
internal import Glibc

/// Tells whoever waits for the mount. Thread-safe; after `succeed` or `fail` everything is ignored.
struct ReadyPipe: Sendable {
    private enum Target {
        /// To the command that started this daemon.
        case pipe(Int32)
        /// To the user, and to systemd where it asked (sd_notify(3)).
        case foreground(BucketLocation)
        case done
    }

    private final class Shared: Sendable {
        let target: Lock<Target>

        init(_ target: sending Target) {
            self.target = Lock(target)
        }
    }

    private let shared: Shared

    /// A daemon's; closes the descriptor when it is done.
    init(descriptor: Int32) {
        shared = Shared(.pipe(descriptor))
    }

    private init(_ target: sending Target) {
        shared = Shared(target)
    }

    /// Nobody waits: the mount is there already.
    static var nobody: ReadyPipe { ReadyPipe(.done) }

    private init(foreground location: BucketLocation) {
        shared = Shared(.foreground(location))
    }

    static func foreground(_ plan: MountPlan) -> ReadyPipe {
        ReadyPipe(foreground: plan.location)
    }

    /// What is being done now; shown when it takes too long: `asking http://…`.
    func stage(_ text: String) {
        if case .pipe(let descriptor) = shared.target.withLock({ $0 }) {
            _ = Self.send(.stage(text), to: descriptor)
        }
    }

    /// Something that the user should know about a mount that works.
    func notice(_ text: String) {
        switch shared.target.withLock({ $0 }) {
        case .pipe(let descriptor): _ = Self.send(.notice(text), to: descriptor)
        case .foreground: say(Message.line(text))
        case .done: break
        }
    }

    /// Whether the command that waited for this mount is gone: it was interrupted.
    var isAbandoned: Bool {
        guard case .pipe(let descriptor) = shared.target.withLock({ $0 }) else { return false }
        // A pipe without a reader shows as an error on its writing end.
        var watch = pollfd(fd: descriptor, events: 0, revents: 0)
        return Glibc.poll(&watch, 1, 0) > 0 && watch.revents & Int16(POLLERR) != 0
    }

    /// The mount answers. False when nobody waits for it any more: unmount, and end.
    func succeed() -> Bool {
        switch finish() {
        case .pipe(let descriptor):
            defer { close(descriptor) }
            return Self.send(.ready, to: descriptor)
        case .foreground:
            ServiceNotification.send("READY=1")
            return true
        case .done: return true
        }
    }

    /// The mount cannot be. Call when nothing of it is left, then return the exit code 1.
    func fail(_ failure: MountFailure) {
        switch finish() {
        case .pipe(let descriptor):
            _ = Self.send(.failed(failure), to: descriptor)
            close(descriptor)
        case .foreground(let location): say(failure.line(cannotMount: location))
        case .done: break
        }
    }

    private func finish() -> Target {
        shared.target.withLock { target in
            defer { target = .done }
            return target
        }
    }

    private static func send(_ message: ReadyMessage, to descriptor: Int32) -> Bool {
        let line = JSONText.encode(message) + [UInt8(ascii: "\n")]
        return write(descriptor, line, line.count) == line.count
    }
}
