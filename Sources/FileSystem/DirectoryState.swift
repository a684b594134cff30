// What is known of a directory's entries.

internal import Base
internal import ObjectModel

/// What is known of a listed entry beyond its listing.
enum Known: Sendable {
    /// What a HEAD told.
    case object(ObjectInfo)
    /// What was remembered from an earlier mount, or an earlier listing: attributes alone, which take less memory.
    case remembered(RememberedAttributes)
    /// A directory without a marker object.
    case nothing
}

/// The part of an object's metadata that `stat` and `readlink` show.
struct RememberedAttributes: Sendable {
    let version: ObjectVersion?
    let kind: FileKind
    let attributes: FileAttributes
    let symlinkTarget: String?
    let storeTime: Timestamp?
}

/// How many objects of a kind were asked for their attributes, and how many had some. A pure value.
struct AttributeSample: Sendable, Equatable {
    private(set) var askedCount = 0
    private(set) var posixCount = 0
    private(set) var inFlightCount = 0

    /// How many objects without POSIX metadata settle the question for a directory.
    static let countMax = 64

    /// Whether the objects are another tool's, without POSIX metadata, as far as one can tell.
    var isForeign: Bool { askedCount >= Self.countMax && posixCount == 0 }

    /// How many more may be asked for now. 0 until those that are under way have answered, or for good.
    var allowance: Int {
        posixCount > 0 ? Self.countMax : max(0, Self.countMax - askedCount - inFlightCount)
    }

    mutating func began() { inFlightCount += 1 }

    /// - Parameter isPosix: nil when there was no answer.
    mutating func ended(isPosix: Bool?) {
        inFlightCount -= 1
        if let isPosix { note(isPosix: isPosix) }
    }

    /// Something that was known without being asked for.
    mutating func note(isPosix: Bool) {
        askedCount += 1
        if isPosix { posixCount += 1 }
    }
}

struct DirectoryState {
    /// Entries that have a node.
    var children: [FileName: Dentry] = [:]
    var listing: Listing?
    /// Names known to be absent, until when (monotonic nanoseconds).
    var absent: [FileName: UInt64] = [:]
    /// Names of which the kernel was told that they are absent.
    var toldAbsent: Set<FileName> = []
    /// Whether the directory's own marker object exists; nil when that is not known.
    var hasMarker: Bool?
    /// One listing at a time; who comes later shares it.
    var flight: ListingFlight?
    /// What has come of it so far.
    var partial: Listing?
    /// What this mount made of names while a listing was under way (nil: removed them): newer than that listing.
    var changedDuringListing: [FileName: Listing.Entry?] = [:]
    /// What is known of listed entries that have no node yet.
    var known: [FileName: Known] = [:]
    var knownInFlight: [FileName: OneShot<FileSystemError?>] = [:]
    /// Inode numbers that do not follow from key and ETag.
    var inodes: [FileName: UInt64] = [:]
    /// Whether the names asked for are opened, and in which order.
    var lookups = LookupPattern()
    var removals = RemovalBurst()
    var siblings = SiblingPattern()
    var recentlyOpened: [FileName] = []
    /// When the listing began whose positions `siblings` speaks of.
    var followedListing: UInt64?
    /// Names asked for one by one, since the last listing.
    var askCount = 0
    /// It has more entries than are listed only to save lookups.
    var isTooLargeToListEarly = false
    /// What is known of the attributes of this directory's files, and of its directories.
    var fileSample = AttributeSample()
    var directorySample = AttributeSample()
    /// Listings of directories below that came ahead.
    var ahead = ListingsAhead()
    /// Until when this counts as a directory that this mount has just made; monotonic nanoseconds.
    private var madeUntil: UInt64 = 0

    /// The names that are asked for one by one before the whole directory is: a HEAD and a LIST each cost more than a
    /// listing soon, and who looks for three names usually looks for more.
    static let askCountMax = 2
    /// Pages of such a listing, of 1,000 entries each.
    static let earlyPageCountMax = 4
    /// How many names a directory remembers as absent.
    static let absentCountMax = 10_000

    /// What is listed under a name, and when that listing began: in what comes in just now, or the last whole listing.
    /// - Parameter isUsable: whether a listing that began then counts; monotonic nanoseconds.
    func listed(
        _ name: FileName, isUsable: (UInt64) -> Bool
    ) -> (entry: Listing.Entry, startedAt: UInt64)? {
        if let partial, isUsable(partial.startedAt) {
            // Nil: this mount has removed it since.
            if let change = changedDuringListing[name] { return change.map { ($0, partial.startedAt) } }
            if let entry = partial.entries[name] { return (entry, partial.startedAt) }
        }
        if let listing, isUsable(listing.startedAt), let entry = listing.entries[name] {
            return (entry, listing.startedAt)
        }
        return nil
    }

    /// What is listed under a name, however long ago.
    func listed(_ name: FileName) -> Listing.Entry? { listed(name, isUsable: { _ in true })?.entry }

    /// The name for which this one is shown, where that is a longer one: by all that is known of the directory, however old.
    func longName(shown text: String) -> FileName? {
        // By bytes: texts that look the same are equal for `String`.
        let shown = ByteString(text)
        return partial?.longName(shown: shown) ?? listing?.longName(shown: shown)
            ?? children.keys.first { $0.isLong && ByteString($0.shown) == shown }
    }

    func sample(of entry: Listing.Entry) -> AttributeSample { entry.isFile ? fileSample : directorySample }

    mutating func withSample(of entry: Listing.Entry, _ change: (inout AttributeSample) -> Void) {
        if entry.isFile { change(&fileSample) } else { change(&directorySample) }
    }

    mutating func noteAbsent(_ name: FileName, until: UInt64) {
        if absent.count >= Self.absentCountMax { absent.removeAll() }
        absent[name] = until
    }

    /// How long nobody else is taken to work in a directory that was made here, after the last directory that was made in it.
    /// Who makes one directory in a second waits for a round trip easily.
    private static let ownNanoseconds: UInt64 = 1_000_000_000

    /// Whether directories that are made in this one can be nobody else's.
    func isJustMade(_ now: UInt64) -> Bool { now < madeUntil }

    /// This mount made the directory, or another one in it.
    mutating func noteMade(_ now: UInt64) {
        madeUntil = now &+ Self.ownNanoseconds
    }

    /// A directory in it is gone. If its name is made again that may be a lock, for which several machines run.
    mutating func noteDirectoryGone() {
        madeUntil = 0
    }

    /// What is listed and learnt is not believed any more.
    mutating func forgetEntries() {
        listing = nil
        absent = [:]
        known = [:]
        fileSample = AttributeSample()
        directorySample = AttributeSample()
        isTooLargeToListEarly = false
        ahead = ListingsAhead()
        // What is under way began before.
        partial = nil
        flight = nil
        changedDuringListing = [:]
    }
}

/// What this mount does to entries. Of directories.
extension Dentry {
    /// This mount made an entry.
    func noteCreated(_ name: FileName, _ entry: Listing.Entry?) {
        directory!.absent[name] = nil
        if let entry { notePublished(name, entry) } else { directory!.known[name] = nil }
        spoilListingsAhead()
    }

    /// An entry has another object than before.
    func notePublished(_ name: FileName, _ entry: Listing.Entry) {
        directory!.known[name] = nil
        directory!.listing?.set(name, entry)
        if directory!.flight != nil {
            // A name that has not come yet stays out of the partial listing: its readers are still to be shown it.
            if directory!.partial?.entries[name] != nil { directory!.partial?.set(name, entry) }
            directory!.changedDuringListing[name] = .some(entry)
        }
        spoilListingsAhead()
    }

    /// This mount removed an entry.
    func noteRemoved(_ name: FileName) {
        directory!.children[name] = nil
        directory!.known[name] = nil
        directory!.inodes[name] = nil
        directory!.ahead.forget(name)
        directory!.listing?.remove(name)
        if directory!.flight != nil {
            directory!.partial?.remove(name)
            directory!.changedDuringListing[name] = .some(nil)
        }
        spoilListingsAhead()
    }

    /// Listings of trees that this directory is in began before its entries changed.
    func spoilListingsAhead() {
        var above: Dentry? = self
        while let dentry = above {
            dentry.directory!.ahead.spoil()
            above = dentry.parent
        }
    }
}
