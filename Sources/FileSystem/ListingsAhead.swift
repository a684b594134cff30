// Directories below one that were listed before anybody asked for them.

internal import Base
internal import ObjectModel

/// A name as a listing shows it, with what was remembered of it.
struct ListedName: Sendable {
    let name: FileName
    let entry: Listing.Entry
    var remembered: RememberedEntry?
}

/// A whole listing of one directory.
struct ListedDirectory: Sendable {
    /// When the listing began; monotonic nanoseconds.
    var startedAt: UInt64
    var names: [ListedName]
    var marker: ListedObject?
    /// The directories below that were listed with it.
    var below: [FileName: ListedDirectory] = [:]
}

/// What came ahead of the children of a directory, and whether more should. A pure value; the owner guards it.
///
/// The pattern of a tree walk (`find`, `du`, `git status`): children of a directory are listed one after another. Then one
/// listing without a delimiter brings many of them at once. Where a page of that does not even bring one child whole,
/// children are listed each by itself.
struct ListingsAhead: Sendable {
    var directories: [FileName: ListedDirectory] = [:]
    /// A run under way; who waits looks again afterwards.
    private(set) var inFlight: OneShot<Void>?
    /// Something below was changed by this mount since the run began.
    private var isSpoilt = false
    /// Children listed without any help so far.
    private(set) var missCount = 0
    /// A run did not bring what it was begun for.
    private(set) var isPoor = false

    /// Children that are listed singly before a walk is supposed.
    private static let missCountMax = 1

    /// A child's listing is wanted, and was not brought. Returns whether to begin a run at this child.
    mutating func missed() -> Bool {
        missCount += 1
        return missCount > Self.missCountMax && !isPoor
    }

    mutating func beginRun(_ done: OneShot<Void>) {
        inFlight = done
        isSpoilt = false
    }

    /// Returns whether what the run brought is out of date already: spoilt, or of before everything was forgotten.
    mutating func endRun(_ done: OneShot<Void>) -> Bool {
        guard inFlight === done else { return true }
        inFlight = nil
        return isSpoilt
    }

    mutating func spoil() { if inFlight != nil { isSpoilt = true } }

    mutating func ranPoorly() { isPoor = true }

    /// What is known of a child's marker: nil where nothing came ahead.
    func hasMarker(_ name: FileName) -> Bool? { directories[name].map { $0.marker != nil } }

    mutating func forget(_ name: FileName) { directories[name] = nil }
}
