// Files of the staging directory whose staged file is gone, kept for the next ones.

internal import Base
internal import CLinux
internal import Glibc

/// The two files that a staged file lives in.
struct StagingPair: Sendable {
    /// Their name, without suffix.
    let id: String
    let directory: String
    /// Of the data file. Whoever has the pair closes it.
    let data: Int32
    let journal: Journal

    static let dataSuffix = ".data"
    static let journalSuffix = ".journal"
    static func dataPath(_ directory: String, _ id: String) -> String { "\(directory)/\(id)\(dataSuffix)" }
    static func journalPath(_ directory: String, _ id: String) -> String { "\(directory)/\(id)\(journalSuffix)" }

    /// Removes the names, and closes the data file.
    func remove() {
        // The journal first: data without a journal is nothing, a journal without data would be damage.
        journal.disk.remove(Self.journalPath(directory, id))
        journal.disk.remove(Self.dataPath(directory, id))
        close(data)
    }
}

/// The empty pairs of one session. Thread-safe.
///
/// A filesystem may be slow to make files where others were removed: ext4 looks at every inode that was freed within the last
/// minutes, one by one, to pass over it. Staged files come and go by the thousand, so theirs are emptied and used again.
/// A journal without a record says that its data is nothing. And where a program makes files, it makes more than one, often:
/// some pairs are made ahead then, while it waits for something else.
final class SpareFiles: Sendable {
    private struct State {
        var pairs: [StagingPair] = []
        var isClosed = false
        var isMakingAhead = false
    }

    /// Each pair keeps two descriptors.
    private let countMax = min(1024, pail_file_limit() / 8)
    private let aheadCount: Int
    private let state = Lock(State())
    /// Held while a pair is made ahead, so that none is made in a session that has ended. Taken before `state`.
    private let making = Lock(())

    /// - Parameter aheadCount: how many pairs are made ahead.
    init(aheadCount: Int) {
        self.aheadCount = min(aheadCount, countMax)
    }

    func take() -> StagingPair? { state.withLock { $0.pairs.popLast() } }

    /// Sees to it that there are `aheadCount` pairs soon, where less than half of them are left: a thread of its own makes them.
    /// - Parameter make: makes an empty pair, or nil where the disk refuses; then no more are made this time.
    func makeAhead(_ make: @escaping @Sendable () -> StagingPair?) {
        let isDue = state.withLock { state in
            guard !state.isClosed, !state.isMakingAhead, state.pairs.count < (aheadCount + 1) / 2 else { return false }
            state.isMakingAhead = true
            return true
        }
        guard isDue else { return }
        NamedThread.start("spare files") { [self] in
            while makeOne(make) {}
            state.withLock { $0.isMakingAhead = false }
        }
    }

    /// Whether it made one.
    private func makeOne(_ make: () -> StagingPair?) -> Bool {
        making.withLock { _ in
            let isWanted = state.withLock { !$0.isClosed && $0.pairs.count < aheadCount }
            guard isWanted, let pair = make() else { return false }
            state.withLock { $0.pairs.append(pair) }
            return true
        }
    }

    /// Takes over a pair whose journal has no record. False when there is no use for it.
    func put(_ pair: StagingPair) -> Bool {
        guard state.withLock({ !$0.isClosed && $0.pairs.count < countMax }),
            pair.journal.disk.truncate(pair.data, to: 0)
        else { return false }
        return state.withLock { state in
            guard !state.isClosed else { return false }
            state.pairs.append(pair)
            return true
        }
    }

    /// Removes all of them, and takes no more.
    func close() {
        let pairs = making.withLock { _ in
            state.withLock { state in
                defer { (state.pairs, state.isClosed) = ([], true) }
                return state.pairs
            }
        }
        for pair in pairs { pair.remove() }
    }
}
