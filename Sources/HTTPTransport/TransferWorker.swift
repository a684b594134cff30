// The thread that owns a curl multi handle: starts transfers, lets curl work, ends transfers, watches their limits.

internal import Base
internal import CCurl

/// One loop's thread side. Everything here happens on that thread, and is asserted to.
final class TransferWorker {
    private let loop: TransferLoop
    private let configuration: HTTPConfiguration
    private let connectionsMax: Int
    private let clock = SystemTime()
    private let thread = pail_thread_identity()
    private let multi: UnsafeMutableRawPointer
    private let share: UnsafeMutableRawPointer

    /// In curl's hands; at most `connectionsMax`. `Transfer.runningIndex` is the index here.
    private var running: [Transfer] = []
    /// Handles to use again; at most `connectionsMax`.
    private var idleHandles: [EasyHandle] = []
    /// Waiting for a connection, in order of arrival from `firstWaiting` on; may hold finished ones. Queued here
    /// and not in curl, so that the order is kept, and waiting does not count as connecting.
    private var waiting: [Transfer] = []
    private var firstWaiting = 0
    private var sweptNanoseconds: UInt64 = 0
    private var judge = LaggardJudge()
    /// Of the window that the judge gets next: its begin, and what was received and how long connections were busy in it.
    private var windowNanoseconds: UInt64 = 0
    private var windowBytes = 0
    private var windowBusyNanoseconds: UInt64 = 0

    /// How often the limits are looked at while something runs or waits.
    private static let sweepNanoseconds: UInt64 = 100_000_000
    /// How long to sleep with nothing to do; a submission wakes the thread.
    private static let idleMilliseconds: Int32 = 60_000

    init(loop: TransferLoop, configuration: HTTPConfiguration, connectionsMax: Int) {
        self.loop = loop
        self.configuration = configuration
        self.connectionsMax = connectionsMax
        guard let multi = curl_multi_init(), let share = curl_share_init() else {
            preconditionFailure("out of memory allocating a curl multi handle")
        }
        self.multi = multi
        self.share = share
        pail_multi_set_long(multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, connectionsMax)
        pail_multi_set_long(multi, CURLMOPT_MAXCONNECTS, connectionsMax)
        pail_multi_set_long(multi, CURLMOPT_PIPELINING, Int(CURLPIPE_NOTHING))
        // Only this thread uses the share, so it needs no lock functions.
        pail_share_add(share, CURL_LOCK_DATA_SSL_SESSION)
    }

    /// Works until the loop is closed.
    func run() {
        assertOnThread()
        loop.attach(multi)
        while true {
            let (commands, isClosed) = loop.takeCommands()
            for command in commands {
                switch command {
                case .start(let transfer): accept(transfer)
                case .cancel(let transfer): cancel(transfer)
                }
            }
            if isClosed { break }
            admit()
            perform()
            complete()
            admit()
            sweepIfDue()
            poll()
        }
        tearDown()
    }

    // MARK: - One turn

    private func accept(_ transfer: Transfer) {
        transfer.isAccepted = true
        if transfer.isCancelled {
            end(transfer, .cancelled, Self.cancelledMessage)
        } else if let problem = transfer.request.problem {
            end(transfer, .invalidRequest, problem)
        } else {
            // In front of those not yet taken; the room of those taken is free.
            if transfer.request.isUrgent, firstWaiting > 0 {
                firstWaiting -= 1
                waiting[firstWaiting] = transfer
            } else if transfer.request.isUrgent {
                waiting.insert(transfer, at: 0)
            } else {
                waiting.append(transfer)
            }
        }
    }

    private func cancel(_ transfer: Transfer) {
        if !transfer.isAccepted {
            transfer.isCancelled = true
        } else if !transfer.isFinished {
            end(transfer, .cancelled, Self.cancelledMessage)
        }
    }

    private func admit() {
        while running.count < connectionsMax, firstWaiting < waiting.count {
            let transfer = waiting[firstWaiting]
            firstWaiting += 1
            if !transfer.isFinished { start(transfer) }
        }
        if firstWaiting == waiting.count, firstWaiting > 0 {
            waiting.removeAll(keepingCapacity: true)
            firstWaiting = 0
        }
    }

    private func start(_ transfer: Transfer) {
        assertOnThread()
        let easy = idleHandles.popLast() ?? EasyHandle(share: share)
        easy.prepare(for: transfer, configuration: configuration)
        transfer.easy = easy
        transfer.runningIndex = running.count
        running.append(transfer)
        let code = curl_multi_add_handle(multi, easy.curl)
        precondition(code == CURLM_OK, "curl_multi_add_handle: \(String(cString: curl_multi_strerror(code)))")
    }

    private func perform() {
        guard !running.isEmpty else { return }
        var stillRunning: Int32 = 0
        let code = curl_multi_perform(multi, &stillRunning)
        precondition(code == CURLM_OK, "curl_multi_perform: \(String(cString: curl_multi_strerror(code)))")
    }

    private func complete() {
        var remaining: Int32 = 0
        while let message = curl_multi_info_read(multi, &remaining) {
            guard message.pointee.msg == CURLMSG_DONE, let curl = message.pointee.easy_handle else { continue }
            let code = message.pointee.data.result
            // SAFETY: `prepare` stored the transfer, and it is still in `running`.
            let transfer = Unmanaged<Transfer>.fromOpaque(pail_easy_get_private(curl)!).takeUnretainedValue()
            withdraw(transfer)
            transfer.finish(code: code, now: clock.monotonicNanoseconds)
            retire(transfer, isReusable: code == CURLE_OK)
        }
    }

    private func sweepIfDue() {
        let now = clock.monotonicNanoseconds
        guard isBusy, now &- sweptNanoseconds >= Self.sweepNanoseconds else { return }
        // Of an idle time nothing is to be said.
        let wasIdle = now &- sweptNanoseconds > 4 * Self.sweepNanoseconds
        if !wasIdle { windowBusyNanoseconds += (now &- sweptNanoseconds) * UInt64(running.count) }
        sweptNanoseconds = now
        judgeIfDue(now: now, isNew: wasIdle)
        // From the end: ending one moves the last to its place.
        for index in running.indices.reversed() {
            expire(running[index], now: now)
        }
        for transfer in waiting[firstWaiting...] where !transfer.isFinished {
            expire(transfer, now: now)
        }
        // Given-up ones must not pile up behind transfers that take long.
        waiting.removeSubrange(..<firstWaiting)
        firstWaiting = 0
        waiting.removeAll { $0.isFinished }
    }

    private func expire(_ transfer: Transfer, now: UInt64) {
        switch transfer.exceededLimit(now: now) {
        case nil: break
        case .total:
            let limit = transfer.timeouts.totalMilliseconds
            end(transfer, .timedOut(.total), "not complete within \(limit) ms")
        case .stall:
            let limit = transfer.timeouts.stallMilliseconds
            end(transfer, .timedOut(.stall), "no byte moved for \(limit) ms")
        case .connect, .slow:
            preconditionFailure("the connect limit is curl's, and slowness is the judge's")
        }
    }

    /// Compares the bodies on their way, once a window.
    private func judgeIfDue(now: UInt64, isNew: Bool) {
        let length = now &- windowNanoseconds
        guard isNew || length >= LaggardJudge.windowNanoseconds else { return }
        var compared: [Transfer] = []
        var bodies: [LaggardJudge.Body] = []
        for transfer in running {
            windowBytes += transfer.bodyBytesReceived - transfer.countedBytes
            transfer.countedBytes = transfer.bodyBytesReceived
            if let before = transfer.comparedBytes, transfer.request.isGivenUpWhenSlow, !isNew {
                compared.append(transfer)
                bodies.append(.init(byteCount: transfer.bodyBytesReceived - before, wasSlow: transfer.wasSlow))
            }
            transfer.comparedBytes = transfer.isStreaming ? transfer.bodyBytesReceived : nil
        }
        if !isNew {
            let verdicts = judge.judge(
                bodies, seconds: Double(length) / 1e9, byteCount: windowBytes,
                busySeconds: Double(windowBusyNanoseconds) / 1e9)
            for (transfer, verdict) in zip(compared, verdicts) {
                transfer.wasSlow = verdict.isSlow
                if verdict.isGivenUp { end(transfer, .timedOut(.slow), "the body came far slower than others") }
            }
        }
        windowNanoseconds = now
        windowBytes = 0
        windowBusyNanoseconds = 0
    }

    private func poll() {
        let milliseconds = isBusy ? Int32(Self.sweepNanoseconds / 1_000_000) : Self.idleMilliseconds
        let code = curl_multi_poll(multi, nil, 0, milliseconds, nil)
        precondition(code == CURLM_OK, "curl_multi_poll: \(String(cString: curl_multi_strerror(code)))")
    }

    // MARK: - Ending

    /// Ends a transfer, running or not, for a reason of ours. After this curl knows nothing of it.
    private func end(_ transfer: Transfer, _ kind: HTTPError.Kind, _ message: String) {
        assertOnThread()
        withdraw(transfer)
        transfer.finish(error: kind, message)
        retire(transfer, isReusable: false)
    }

    /// Takes a transfer out of curl's hands, if it is there; an unfinished one loses its connection.
    private func withdraw(_ transfer: Transfer) {
        guard let easy = transfer.easy else { return }
        let code = curl_multi_remove_handle(multi, easy.curl)
        precondition(code == CURLM_OK, "curl_multi_remove_handle: \(String(cString: curl_multi_strerror(code)))")
        let last = running.removeLast()
        if last !== transfer {
            running[transfer.runningIndex] = last
            last.runningIndex = transfer.runningIndex
        }
    }

    /// - Parameter isReusable: a handle whose transfer failed early may still hold the receive buffer, and then refuses
    ///   to be set up again (curl 7.88, CURLOPT_BUFFERSIZE).
    private func retire(_ transfer: Transfer, isReusable: Bool) {
        windowBytes += transfer.bodyBytesReceived - transfer.countedBytes
        transfer.countedBytes = transfer.bodyBytesReceived
        judge.requestEnded()
        if let easy = transfer.easy {
            transfer.easy = nil
            if isReusable { idleHandles.append(easy) }
        }
        loop.transferFinished()
    }

    private func tearDown() {
        loop.detach()
        for transfer in running.reversed() + waiting[firstWaiting...] where !transfer.isFinished {
            end(transfer, .shutDown, "the transport was shut down")
        }
        idleHandles = []
        curl_multi_cleanup(multi)
        curl_share_cleanup(share)
    }

    private var isBusy: Bool { !running.isEmpty || firstWaiting < waiting.count }

    private func assertOnThread() {
        precondition(pail_thread_identity() == thread, "a curl multi handle belongs to one thread")
    }

    private static let cancelledMessage = "the task was cancelled"
}
