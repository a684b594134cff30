// Requests whose answer has to wait for the store, and what happens when their process is killed meanwhile.

internal import Base
internal import CFuse
internal import Glibc

/// Holds the replies of waiting requests, so that either the answer or a kill takes each, whoever comes first.
///
/// A signal makes the kernel send an interrupt for a waiting request. Local disks do not fail with EINTR, and programs
/// do not expect it: so only a request whose thread is being killed is answered early. Everyone else goes on waiting.
final class ParkedReplies: Sendable {
    private final class Entry: @unchecked Sendable {
        // SAFETY: touched only under the lock of the table.
        var reply: Reply?
        let threadID: Int32
        var abandon: (@Sendable () -> Void)?

        init(_ reply: consuming Reply, threadID: Int32) {
            self.reply = consume reply
            self.threadID = threadID
        }
    }

    private struct State {
        var entries: [UInt: Entry] = [:]
        var nextToken: UInt = 1
    }

    private let state = Lock(State())
    private let time: any TimeSource

    init(time: any TimeSource) {
        self.time = time
    }

    /// Takes charge of a request's reply.
    func park(_ request: fuse_req_t) -> UInt {
        let threadID = fuse_req_ctx(request).pointee.pid
        let token = state.withLock { state in
            let token = state.nextToken
            state.nextToken += 1
            state.entries[token] = Entry(Reply(request), threadID: threadID)
            return token
        }
        // The token, not a pointer: whatever order answer and interrupt come in, it names this request or nothing.
        fuse_req_interrupt_func(
            request,
            { request, data in FuseSession.of(request!).parked.interrupted(UInt(bitPattern: data)) },
            UnsafeMutableRawPointer(bitPattern: token))
        return token
    }

    /// Sets what to give up when the request is killed.
    func onKill(_ token: UInt, _ abandon: @escaping @Sendable () -> Void) {
        state.withLock { $0.entries[token]?.abandon = abandon }
    }

    /// Answers the request, unless a kill was faster. Returns whether it was answered by `body`.
    @discardableResult
    func answer(_ token: UInt, _ body: (consuming Reply) -> Void) -> Bool {
        let entry = state.withLock { $0.entries.removeValue(forKey: token) }
        guard let entry, let reply = entry.reply.take() else { return false }
        body(reply)
        return true
    }

    private func interrupted(_ token: UInt) {
        guard let threadID = state.withLock({ $0.entries[token]?.threadID }) else { return }
        if Self.isBeingKilled(threadID) {
            kill(token)
            return
        }
        // The kernel tells of the first signal only; a kill may follow it.
        Task {
            while state.withLock({ $0.entries[token] != nil }) {
                if Self.isBeingKilled(threadID) {
                    kill(token)
                    return
                }
                try? await time.sleep(nanoseconds: 250_000_000)
            }
        }
    }

    private func kill(_ token: UInt) {
        let abandon = state.withLock { $0.entries[token]?.abandon }
        answer(token) { $0.error(EINTR) }
        abandon?()
    }

    /// Whether a fatal signal is pending for a thread: the kernel marks that as a pending SIGKILL, whichever signal it
    /// was (kernel/signal.c, complete_signal). A thread that is gone counts.
    private static func isBeingKilled(_ threadID: Int32) -> Bool {
        guard threadID > 0 else { return false }
        let descriptor = open("/proc/\(threadID)/status", O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return errno == ENOENT }
        defer { close(descriptor) }
        var bytes = [UInt8](repeating: 0, count: 4096)
        let count = read(descriptor, &bytes, bytes.count)
        guard count > 0 else { return true }
        let killBit: UInt64 = 1 << (9 - 1)
        for line in String(decoding: bytes[..<count], as: UTF8.self).split(separator: "\n")
        where line.hasPrefix("SigPnd:") || line.hasPrefix("ShdPnd:") {
            let digits = line.split(separator: "\t").last ?? ""
            if let mask = UInt64(digits, radix: 16), mask & killBit != 0 { return true }
        }
        return false
    }
}
