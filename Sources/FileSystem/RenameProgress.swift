// How far renames of directories are.

internal import Base

/// A rename of a directory that is under way.
public struct RenameProgress: Sendable, Equatable {
    /// Below the mount, beginning with `/`.
    public let from: String
    public let to: String
    /// Objects copied so far, of those that are to be.
    public internal(set) var copiedCount = 0
    public internal(set) var totalCount: Int
    /// An earlier mount began it.
    public let isResumed: Bool
}

/// The renames of directories that are under way, in the order in which they began. Thread-safe.
final class RenameProgresses: Sendable {
    // A leaf lock.
    private let state = Lock((next: 0, renames: [(id: Int, progress: RenameProgress)]()))

    var all: [RenameProgress] { state.withLock { $0.renames.map(\.progress) } }

    /// - Returns: what to name it by from then on.
    func begin(_ progress: RenameProgress) -> Int {
        state.withLock { state in
            state.next += 1
            state.renames.append((state.next, progress))
            return state.next
        }
    }

    /// One more object is copied.
    func noteCopied(_ id: Int) {
        state.withLock { state in
            guard let index = state.renames.firstIndex(where: { $0.id == id }) else { return }
            state.renames[index].progress.copiedCount += 1
        }
    }

    func end(_ id: Int) { state.withLock { $0.renames.removeAll { $0.id == id } } }
}
