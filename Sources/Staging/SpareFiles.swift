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
/// A journal without a record says that its data is nothing.
final class SpareFiles: Sendable {
    /// Each pair keeps two descriptors.
    private let countMax = min(1024, pail_file_limit() / 8)
    private let state = Lock((pairs: [StagingPair](), isClosed: false))

    func take() -> StagingPair? { state.withLock { $0.pairs.popLast() } }

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
        let pairs = state.withLock { state in
            defer { state = ([], true) }
            return state.pairs
        }
        for pair in pairs { pair.remove() }
    }
}
