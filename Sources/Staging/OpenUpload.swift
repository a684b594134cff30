// A multipart upload that the store holds for a staged file. Pure values.

internal import Base
public import ObjectModel
public import ObjectStore

/// Names a multipart upload, so that it can be given up.
public struct UploadReference: Sendable, Equatable {
    public let id: UploadID
    public let key: ObjectKey

    public init(id: UploadID, key: ObjectKey) {
        self.id = id
        self.key = key
    }
}

/// A part that the store has acknowledged, and what it was made of.
public struct SentPart: Sendable, Equatable {
    public let number: Int
    public let range: ByteRange
    public let source: UploadPlan.Part.Source
    public let etag: ETag

    public init(number: Int, range: ByteRange, source: UploadPlan.Part.Source, etag: ETag) {
        self.number = number
        self.range = range
        self.source = source
        self.etag = etag
    }
}

/// A multipart upload that was begun and is not completed: its parts are kept over failures and restarts, so that what
/// was sent once is not sent again.
struct OpenUpload: Sendable, Equatable {
    let reference: UploadReference
    /// What the object will have: given when the upload was begun.
    let properties: ObjectProperties
    /// How the parts are known.
    private var knowledge: Knowledge
    /// By number; the bytes of each are what the file has now.
    private(set) var parts: [Int: SentPart] = [:]
    /// Numbers under which another body may still arrive: a request that was given up, or answered before the bytes were
    /// changed, has attempts that nobody waits for.
    private var contested: Set<Int> = []
    /// No part ends behind this: a write behind everything that was sent costs nothing.
    private var end = 0

    private enum Knowledge {
        /// From the journal of an earlier process, or the upload was not what was known of it: the store is asked first.
        case unconfirmed
        /// The store has told. Nobody knows what was being sent before.
        case listed
        /// Each answer came to this process.
        case own
    }

    /// One that a journal tells of.
    init(reference: UploadReference, properties: ObjectProperties) {
        self.reference = reference
        self.properties = properties
        knowledge = .unconfirmed
    }

    /// Whether the parts are known to be there.
    var isConfirmed: Bool { knowledge != .unconfirmed }

    /// This process has begun it: it needs no confirmation.
    mutating func noteBegun() { knowledge = .own }

    /// The store must be asked again which parts it has.
    mutating func doubt() { knowledge = .unconfirmed }

    mutating func note(_ part: SentPart) {
        parts[part.number] = part
        end = max(end, part.range.upperBound)
    }

    /// These bytes are others now. Returns the smallest number of a part that was dropped for it.
    @discardableResult
    mutating func invalidate(_ range: ByteRange) -> Int? {
        guard range.lowerBound < end else { return nil }
        let dropped = parts.values.filter { $0.range.overlaps(range) }.map(\.number)
        for number in dropped {
            parts[number] = nil
            contested.insert(number)
        }
        return dropped.min()
    }

    /// A request for the part of that number has ended, and may still take effect.
    mutating func contest(_ number: Int) {
        contested.insert(number)
    }

    /// Whether nothing but what was acknowledged can be in the part of that number.
    func isSettled(_ number: Int) -> Bool {
        knowledge == .own && !contested.contains(number)
    }

    /// Whether bytes of a part are among `range`.
    func touches(_ range: ByteRange) -> Bool {
        range.lowerBound < end && parts.values.contains { $0.range.overlaps(range) }
    }

    /// Keeps what the store holds, and forgets the rest.
    mutating func confirm(_ listed: [UploadedPart]) {
        // Some stores list what was sent under a number earlier, too, and complete an upload by any of it.
        let held = Dictionary(grouping: listed, by: \.number)
        parts = parts.filter { number, part in
            held[number]?.contains { $0.etag == part.etag && $0.byteCount == part.range.count } == true
        }
        knowledge = .listed
    }

    /// Whether a planned part is there already.
    func has(_ planned: UploadPlan.Part, number: Int) -> Bool {
        guard let part = parts[number] else { return false }
        return part.range == planned.range && part.source == planned.source
    }

    var sentByteCount: Int { parts.values.reduce(0) { $0 + $1.range.count } }
}
