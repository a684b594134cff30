// What a staged file holds, as its journal tells it: a pure value, changed by records alone.

internal import Base
internal import ObjectModel
internal import ObjectStore

/// The state that survives kill -9. The living file and the replay of its journal go through the same `apply`.
///
/// Every byte of the file has one home:
/// - in `local`: the data file;
/// - in `freed`: a part of `upload`, until that is completed;
/// - else below `identity.baseByteCount`: the base object.
struct StagedContents: Sendable, Equatable {
    var identity: StagedIdentity
    /// Bytes that the data file holds.
    private(set) var local = ByteRangeSet()
    /// Bytes that differ from the base, and how many they are.
    private(set) var dirty = ByteRangeSet()
    private(set) var dirtyByteCount = 0
    /// Dirty bytes that are not in the data file any more.
    private(set) var freed = ByteRangeSet()
    private(set) var freedByteCount = 0
    private(set) var upload: OpenUpload?
    private(set) var orphans: [UploadReference] = []
    /// Bytes that a program wanted to write and could not.
    private(set) var failed = ByteRangeSet()
    /// The publishing requests whose outcome is not known: the key may hold what one of them wrote.
    private(set) var uncertain: [PublicationMark] = []
    /// How the file was about to lose its key: a call that was begun, and whose outcome is not known.
    private(set) var departure: Departure?
    /// Whether anything is not in the bucket.
    private(set) var isChanged: Bool

    init(_ identity: StagedIdentity, isChanged: Bool) {
        self.identity = identity
        self.isChanged = isChanged
        // From `baseByteCount` on there is no base: a new file with a length begins as a hole.
        if identity.byteCount > identity.baseByteCount {
            let hole = ByteRange(identity.baseByteCount, identity.byteCount)
            local.insert(hole)
            insertDirty(hole)
        }
    }

    /// Replays a journal; nil when its first record does not begin a file.
    init?(replaying records: [JournalRecord]) {
        guard case .begin(let identity)? = records.first else { return nil }
        self.init(identity, isChanged: true)
        for record in records.dropFirst() { apply(record) }
    }

    mutating func apply(_ record: JournalRecord) {
        switch record {
        case .published: isChanged = false
        case .orphaned, .departing: break
        default: isChanged = true
        }
        // Who changes the bytes wants to have them.
        switch record {
        case .wrote, .truncated: departure = nil
        default: break
        }
        switch record {
        case .begin(let identity): self = StagedContents(identity, isChanged: true)
        case .wrote(let range):
            local.insert(range)
            insertDirty(range)
            identity.byteCount = max(identity.byteCount, range.upperBound)
            upload?.invalidate(range)
            failed.remove(range)
        case .truncated(let byteCount): truncate(to: byteCount)
        case .properties(let properties): identity.properties = properties
        case .sending(let mark): if !uncertain.contains(mark) { uncertain.append(mark) }
        case .published: break
        case .uploading(let reference, let properties):
            upload = OpenUpload(reference: reference, properties: properties)
        case .sent(let part): upload?.note(part)
        case .freed(let range):
            local.remove(range)
            freedByteCount += freed.gaps(in: range).reduce(0) { $0 + $1.count }
            freed.insert(range)
        case .orphaned(let reference): if !orphans.contains(reference) { orphans.append(reference) }
        case .failed(let range): failed.insert(range)
        case .departing(let how): departure = how
        }
    }

    private mutating func truncate(to byteCount: Int) {
        let old = identity.byteCount
        if byteCount < old {
            let cut = ByteRange(byteCount, old)
            local.remove(cut)
            removeDirty(cut)
            freedByteCount -= freed.intersection(cut).reduce(0) { $0 + $1.count }
            freed.remove(cut)
            failed.remove(cut)
            upload?.invalidate(cut)
            identity.baseByteCount = min(identity.baseByteCount, byteCount)
        } else if byteCount > old {
            let hole = ByteRange(old, byteCount)
            local.insert(hole)
            insertDirty(hole)
        }
        identity.byteCount = byteCount
    }

    private mutating func insertDirty(_ range: ByteRange) {
        dirtyByteCount += dirty.gaps(in: range).reduce(0) { $0 + $1.count }
        dirty.insert(range)
    }

    private mutating func removeDirty(_ range: ByteRange) {
        dirtyByteCount -= dirty.intersection(range).reduce(0) { $0 + $1.count }
        dirty.remove(range)
    }

    /// The journal that describes this state.
    var records: [JournalRecord] {
        var result: [JournalRecord] = [.begin(identity)]
        result += dirty.ranges.map { .wrote($0) }
        result += uncertain.map { .sending($0) }
        if let upload {
            result.append(.uploading(upload.reference, upload.properties))
            result += upload.parts.values.sorted { $0.number < $1.number }.map { .sent($0) }
        }
        result += freed.ranges.map { .freed($0) }
        result += failed.ranges.map { .failed($0) }
        if let departure { result.append(.departing(departure)) }
        if !isChanged { result.append(.published) }
        result += orphans.map { .orphaned($0) }
        return result
    }
}

extension StagedContents {
    /// Base bytes were put into the data file. The journal need not know: they are where they were, too.
    mutating func fetched(_ range: ByteRange) {
        local.insert(range)
    }

    /// Bytes that the base has too were given up locally.
    mutating func dropClean(_ range: ByteRange) {
        local.remove(range)
    }

    mutating func forget(_ mark: PublicationMark) {
        uncertain.removeAll { $0 == mark }
    }

    mutating func forgetPublications() {
        uncertain = []
    }

    /// The store holds `version`, with everything but `since`; the upload that brought it there, if one did, is no more. One
    /// that was begun meanwhile is an orphan.
    mutating func published(
        _ version: ObjectVersion, by completed: UploadReference?, baseByteCount: Int, since: ByteRangeSet,
        isChanged: Bool
    ) {
        if upload?.reference != completed { orphanUpload() }
        identity.base = version
        identity.condition = .ifMatch(version.etag)
        identity.baseByteCount = baseByteCount
        uncertain = []
        departure = nil
        upload = nil
        dirty = since
        dirtyByteCount = since.count
        freed = ByteRangeSet()
        freedByteCount = 0
        self.isChanged = isChanged
    }

    /// The key holds an object of ours, whose answer was lost: it is the base now, and what it lacks stays dirty.
    /// - Parameter isOfUpload: whether completing the open upload made it.
    mutating func rebase(_ version: ObjectVersion, isOfUpload: Bool) {
        identity.base = version
        identity.condition = .ifMatch(version.etag)
        if isOfUpload {
            // What was given up locally is in that object.
            if !freed.isEmpty { identity.baseByteCount = identity.byteCount }
            for range in freed.ranges { removeDirty(range) }
            freed = ByteRangeSet()
            freedByteCount = 0
            upload = nil
        } else if freed.isEmpty {
            // Its copied parts are of another base.
            orphanUpload()
        }
        identity.baseByteCount = min(identity.baseByteCount, version.byteCount)
    }

    /// The file is a new object under another key, all of whose bytes are local.
    mutating func becomeNew(_ key: ObjectKey, condition: WriteCondition) {
        precondition(freed.isEmpty, "bytes in an upload cannot go to another key")
        identity.key = key
        identity.base = nil
        identity.baseByteCount = 0
        identity.condition = condition
        insertDirty(ByteRange(0, identity.byteCount))
        uncertain = []
        orphanUpload()
    }

    /// The base object stands under another key.
    mutating func moveBase(to version: ObjectVersion) {
        precondition(freed.isEmpty, "bytes in an upload cannot go to another key")
        identity.key = version.key
        identity.base = version
        identity.condition = .ifMatch(version.etag)
        uncertain = []
        orphanUpload()
    }

    /// The upload will not be completed.
    mutating func orphanUpload() {
        guard let upload else { return }
        apply(.orphaned(upload.reference))
        self.upload = nil
    }

    /// A request for the part of that number has ended without the part being known to be there, and may still take effect.
    mutating func contestPart(_ number: Int) {
        upload?.contest(number)
    }

    /// The store must be asked again which parts it has.
    mutating func doubtUpload() {
        upload?.doubt()
    }

    mutating func confirmUpload(_ listed: [UploadedPart]) {
        upload?.confirm(listed)
    }

    /// A begun upload needs no confirmation.
    mutating func confirmNewUpload() {
        upload?.noteBegun()
    }

    mutating func forgetOrphan(_ reference: UploadReference) {
        orphans.removeAll { $0 == reference }
    }

    /// What of `range` is dirty, and was not refused, where parts of the upload have bytes of it.
    func sentDirty(_ range: ByteRange) -> [ByteRange] {
        guard touchesSentPart(range) else { return [] }
        return dirty.intersection(range).flatMap { failed.isEmpty ? [$0] : failed.gaps(in: $0) }
    }

    /// Whether bytes of a part of the upload are among `range`.
    func touchesSentPart(_ range: ByteRange) -> Bool {
        guard let upload else { return false }
        return upload.touches(range)
    }

    /// Whether every byte is the base object's, and no request has been made for the file yet.
    var hasBaseOnly: Bool {
        dirty.isEmpty && failed.isEmpty && uncertain.isEmpty && upload == nil && orphans.isEmpty
    }

    /// Whether bytes of `range` are in the store only, in an upload that is not completed.
    func isInTransit(_ range: ByteRange) -> Bool {
        !freed.isEmpty && !freed.intersection(range).isEmpty
    }

    /// Whether a write of `range` is news for the journal.
    func mustTell(_ range: ByteRange) -> Bool {
        !isChanged || range.upperBound > identity.byteCount || !dirty.contains(range) || touchesSentPart(range)
            || !failed.intersection(range).isEmpty
    }

    mutating func forgetFailed(from byteCount: Int) {
        failed.remove(ByteRange(byteCount, .max))
    }
}
