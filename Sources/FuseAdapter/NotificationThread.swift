// Kernel notifications, on a thread of their own: one that waits for a lock in the kernel may need a FUSE worker to end.

internal import Base
internal import Synchronization
internal import Dispatch

/// Runs short actions in order. Thread-safe.
final class NotificationThread: Sendable {
    private let queue = DispatchQueue(label: "pail.notifications")
    private let hasEnded = Atomic<Bool>(false)

    func add(_ action: @escaping @Sendable () -> Void) {
        queue.async { [hasEnded = self] in
            if !hasEnded.hasEnded.load(ordering: .acquiring) { action() }
        }
    }

    /// Drops what is queued and returns when nothing runs any more.
    func end() {
        hasEnded.store(true, ordering: .releasing)
        queue.sync {}
    }
}
