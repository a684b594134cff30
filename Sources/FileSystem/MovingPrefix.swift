// Which directory is being moved from one prefix to another.

internal import Base

/// The keys that a directory's rename has copied and is removing: what the store says of them meanwhile is no answer. At most
/// one prefix, since renames of directories run alone. Thread-safe.
///
/// nothing → `begin` → moving → `end` → nothing.
final class MovingPrefix: Sendable {
    private struct Move {
        let prefix: ByteString
        let done: OneShot<Void>
    }

    // A leaf lock; taken inside the tree's. `done` is set after unlock.
    private let move = Lock<Move?>(nil)

    var isUnderWay: Bool { move.withLock { $0 != nil } }

    /// - Parameter prefix: ends with `/`.
    func begin(_ prefix: ByteString) {
        move.withLock { move in
            precondition(move == nil, "renames of directories run alone")
            move = Move(prefix: prefix, done: OneShot())
        }
    }

    /// No prefix is being moved any more, if one was.
    func end() {
        let done = move.withLock { move in
            defer { move = nil }
            return move?.done
        }
        done?.set(())
    }

    /// What to wait for before the store is asked for a key, or a prefix; nil when it is not being moved.
    func end(of key: ByteString) -> OneShot<Void>? {
        move.withLock { move in
            guard let move, key.hasPrefix(move.prefix) || key + "/" == move.prefix else { return nil }
            return move.done
        }
    }
}
