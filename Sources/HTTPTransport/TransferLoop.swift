// The way from the callers' tasks to the thread that owns a curl multi handle.

internal import Base
internal import CCurl

/// The shared side of one loop: a locked inbox and the wake-up. The other side is `TransferWorker`, on its thread.
final class TransferLoop: Sendable {
    enum Command: Sendable {
        case start(Transfer)
        case cancel(Transfer)
    }

    private struct Inbox {
        var commands: [Command] = []
        var isClosed = false
        /// Transfers submitted and not finished.
        var load = 0
    }

    // SAFETY: curl_multi_wakeup is the one call that any thread may make on a multi handle.
    private struct Wakeable: @unchecked Sendable {
        let multi: UnsafeMutableRawPointer
    }

    // Each taken alone. The second guards the life of the multi handle: it is nil before the worker has made it and
    // after the worker has begun to tear it down. It is held over the wake-up, one write to a pipe that never blocks.
    private let inbox = Lock(Inbox())
    private let wakeable = Lock<Wakeable?>(nil)

    /// Starts the thread.
    init(name: String, configuration: HTTPConfiguration, connectionsMax: Int) {
        NamedThread.start(name) { [self] in
            TransferWorker(loop: self, configuration: configuration, connectionsMax: connectionsMax).run()
        }
    }

    /// Transfers submitted and not finished.
    var load: Int { inbox.withLock { $0.load } }

    /// False, and nothing done, when the loop is closed.
    func submit(_ transfer: Transfer) -> Bool {
        post(.start(transfer))
    }

    /// Ends the transfer with `.cancelled` unless it has ended. May come before its submission.
    func cancel(_ transfer: Transfer) {
        _ = post(.cancel(transfer))
    }

    /// Ends all transfers with `.shutDown`, closes the connections and ends the thread. Does not wait for it.
    func close() {
        inbox.withLock { $0.isClosed = true }
        wake()
    }

    private func post(_ command: Command) -> Bool {
        enum Step { case closed, posted, wake }
        let step: Step = inbox.withLock { inbox in
            if inbox.isClosed { return .closed }
            if case .start = command { inbox.load += 1 }
            inbox.commands.append(command)
            // The first one wakes the thread, which takes all.
            return inbox.commands.count == 1 ? .wake : .posted
        }
        if step == .wake { wake() }
        return step != .closed
    }

    private func wake() {
        wakeable.withLock { wakeable in
            if let wakeable { curl_multi_wakeup(wakeable.multi) }
        }
    }

    // MARK: - For the worker

    /// From now on posts wake the thread; posts made before are found by the next `takeCommands`.
    func attach(_ multi: UnsafeMutableRawPointer) {
        let value = Wakeable(multi: multi)
        wakeable.withLock { $0 = value }
    }

    /// After this nobody touches the multi handle but the worker.
    func detach() {
        wakeable.withLock { $0 = nil }
    }

    func takeCommands() -> (commands: [Command], isClosed: Bool) {
        inbox.withLock { inbox in
            defer { inbox.commands = [] }
            return (inbox.commands, inbox.isClosed)
        }
    }

    func transferFinished() {
        inbox.withLock { $0.load -= 1 }
    }
}
