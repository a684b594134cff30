// How long the uploads of closed files are held back: a pure value.

/// Programs that write many small files (tar, a build, a training run's outputs) wait for each close() and for no upload. What
/// uploads take of the processors meanwhile they take from the program. And programs that save a file as a whole write it under
/// another name and rename it (editors, rsync, pip): sent before that, it would be sent, copied by the store and removed. So closed
/// files wait until none was closed for a moment, but never for long.
struct CloseBurst: Sendable, Equatable {
    /// A pause of so long ends a burst: longer than a busy machine keeps a program from its processor.
    static let pauseNanoseconds: UInt64 = 50_000_000
    /// The longest time that a burst holds files back.
    static let holdNanosecondsMax: UInt64 = 500_000_000

    private var closeCount = 0
    private var lookedAtCount = 0
    private var heldNanoseconds: UInt64 = 0

    /// A file was closed, or renamed after that.
    mutating func close() {
        closeCount += 1
    }

    /// The first file of a burst is held back from now on.
    mutating func begin() {
        lookedAtCount = closeCount
        heldNanoseconds = 0
    }

    /// To be called when files have been held back for another `pauseNanoseconds`; whether they go now.
    mutating func hasPaused() -> Bool {
        heldNanoseconds += Self.pauseNanoseconds
        defer { lookedAtCount = closeCount }
        return closeCount == lookedAtCount || heldNanoseconds >= Self.holdNanosecondsMax
    }
}
