// The records of a journal and their encoding.

internal import Base
public import ObjectModel
public import ObjectStore

/// One fact about a staged file. Replaying a journal's records in order gives the file's state.
public enum JournalRecord: Sendable, Equatable {
    /// The first record: what the file is.
    case begin(StagedIdentity)
    /// These bytes of the data file are the program's.
    case wrote(ByteRange)
    /// The file was cut or extended to this many bytes.
    case truncated(Int)
    /// The object's properties (attributes, content type) changed.
    case properties(ObjectProperties)
    /// A request that publishes a file of this length with these properties is about to be sent.
    case sending(PublicationMark)
    /// Up to here everything is in the bucket, as the base.
    case published
    /// A multipart upload was begun, whose object will have these properties. It replaces an earlier one.
    case uploading(UploadReference, ObjectProperties)
    /// The store has acknowledged a part of that upload. It counts until one of its bytes is changed.
    case sent(SentPart)
    /// These bytes of the data file were given up: they are in parts of the upload.
    case freed(ByteRange)
    /// An upload of ours that nobody will complete, to be given up.
    case orphaned(UploadReference)
    /// A write of these bytes failed after the program had been told of others: the file is not sent like that.
    case failed(ByteRange)
    /// The file is about to lose its key; nil: it did not, and lives on.
    case departing(Departure?)
}

/// What a publishing request would leave in the bucket: enough to know the object again as ours.
///
/// The metadata carries the times of the last change in nanoseconds, so that two writers do not look alike.
public struct PublicationMark: Sendable, Equatable {
    public let byteCount: Int
    public let metadata: [String: String]

    public init(byteCount: Int, metadata: [String: String]) {
        self.byteCount = byteCount
        self.metadata = metadata
    }

    /// Whether the object is, as far as its properties tell, what that request wrote.
    public func isMark(of info: ObjectInfo) -> Bool {
        !metadata.isEmpty && info.version.byteCount == byteCount
            && metadata.allSatisfy { info.properties.metadata[$0.key] == $0.value }
    }
}

/// What a staged file will become.
public struct StagedIdentity: Sendable, Equatable {
    /// Where it is uploaded to.
    public var key: ObjectKey
    /// The object whose bytes stand wherever the data file has none; nil for a new file.
    public var base: ObjectVersion?
    /// How many leading bytes of `base` still count (a truncate may have cut it).
    public var baseByteCount: Int
    /// The file's length in bytes.
    public var byteCount: Int
    /// What the upload is conditional on.
    public var condition: WriteCondition
    public var properties: ObjectProperties

    public init(
        key: ObjectKey, base: ObjectVersion?, baseByteCount: Int, byteCount: Int, condition: WriteCondition,
        properties: ObjectProperties
    ) {
        self.key = key
        self.base = base
        self.baseByteCount = baseByteCount
        self.byteCount = byteCount
        self.condition = condition
        self.properties = properties
    }
}

extension JournalRecord {
    private enum Tag: UInt8 {
        case begin = 1
        case wrote, truncated, properties, sending, published, uploading, sent, freed, orphaned, failed, departing
    }

    /// The record framed for the file: payload length, CRC-32C of the payload, payload; integers little-endian.
    func encoded() -> [UInt8] {
        var payload = ByteEncoder()
        switch self {
        case .begin(let identity):
            payload.put(Tag.begin.rawValue)
            payload.put(identity.key.string)
            payload.put(identity.base != nil)
            if let base = identity.base {
                payload.put(base.key.string)
                payload.put(base.etag.value)
                payload.put(base.byteCount)
            }
            payload.put(identity.baseByteCount)
            payload.put(identity.byteCount)
            switch identity.condition {
            case .none: payload.put(UInt8(0))
            case .ifAbsent: payload.put(UInt8(1))
            case .ifMatch(let etag):
                payload.put(UInt8(2))
                payload.put(etag.value)
            }
            payload.put(identity.properties)
        case .wrote(let range):
            payload.put(Tag.wrote.rawValue)
            payload.put(range)
        case .truncated(let byteCount):
            payload.put(Tag.truncated.rawValue)
            payload.put(byteCount)
        case .properties(let properties):
            payload.put(Tag.properties.rawValue)
            payload.put(properties)
        case .sending(let mark):
            payload.put(Tag.sending.rawValue)
            payload.put(mark)
        case .published:
            payload.put(Tag.published.rawValue)
        case .uploading(let upload, let properties):
            payload.put(Tag.uploading.rawValue)
            payload.put(upload)
            payload.put(properties)
        case .sent(let part):
            payload.put(Tag.sent.rawValue)
            payload.put(part.number)
            payload.put(part.range)
            payload.put(part.source == .base)
            payload.put(part.etag.value)
        case .freed(let range):
            payload.put(Tag.freed.rawValue)
            payload.put(range)
        case .orphaned(let upload):
            payload.put(Tag.orphaned.rawValue)
            payload.put(upload)
        case .failed(let range):
            payload.put(Tag.failed.rawValue)
            payload.put(range)
        case .departing(let departure):
            payload.put(Tag.departing.rawValue)
            switch departure {
            case nil: payload.put(UInt8(0))
            case .removal: payload.put(UInt8(1))
            case .replacement(let mark, let etag):
                payload.put(UInt8(2))
                payload.put(mark)
                payload.put(etag.value)
            case .replacementByStaged(let place):
                payload.put(UInt8(3))
                payload.put(place)
            case .savedAs(let key):
                payload.put(UInt8(4))
                payload.put(key.string)
            }
        }
        var frame = ByteEncoder()
        frame.put(UInt32(payload.bytes.count))
        frame.put(CRC32C.of(payload.bytes))
        return frame.bytes + payload.bytes
    }

    /// How the bytes of a journal end.
    enum Ending: Equatable {
        case whole
        /// The last append was cut off: it was not acknowledged.
        case torn
        /// Not what an append that was cut off leaves: bytes were changed on the disk, or another version of pail wrote them.
        case damaged
    }

    private static let byteCountMax = 1 << 20

    /// The records at the front of `bytes`, up to the first that is torn or damaged, and how many bytes they take.
    static func decode(_ bytes: [UInt8]) -> (records: [JournalRecord], validByteCount: Int, ending: Ending) {
        var records: [JournalRecord] = []
        var position = 0
        while position < bytes.count {
            guard let (payload, end) = framed(bytes, at: position) else {
                // An append is one record: behind a torn one there is nothing.
                let isLast = !(position + 1..<bytes.count).contains { framed(bytes, at: $0) != nil }
                return (records, position, isLast ? .torn : .damaged)
            }
            // Its checksum holds, so it was written like that.
            guard let record = decode(payload: payload) else { return (records, position, .damaged) }
            records.append(record)
            position = end
        }
        return (records, position, .whole)
    }

    /// The payload of the record at `position`, if one stands there whole, and where it ends.
    private static func framed(_ bytes: [UInt8], at position: Int) -> (payload: [UInt8], end: Int)? {
        var frame = ByteDecoder(bytes, from: position)
        guard let length: UInt32 = frame.integer(), let crc: UInt32 = frame.integer(), length > 0,
            length <= byteCountMax, let payload = frame.take(Int(length)), CRC32C.of(payload) == crc
        else { return nil }
        return (payload, frame.position)
    }

    private static func decode(payload: [UInt8]) -> JournalRecord? {
        var input = ByteDecoder(payload, from: 0)
        guard let rawTag: UInt8 = input.integer(), let tag = Tag(rawValue: rawTag) else { return nil }
        switch tag {
        case .begin:
            guard let keyText = input.string(), let key = ObjectKey(keyText), let hasBase = input.bool() else {
                return nil
            }
            var base: ObjectVersion?
            if hasBase {
                guard let baseKeyText = input.string(), let baseKey = ObjectKey(baseKeyText),
                    let etagText = input.string(), let etag = ETag(etagText), let byteCount = input.count()
                else { return nil }
                base = ObjectVersion(key: baseKey, etag: etag, byteCount: byteCount)
            }
            guard let baseByteCount = input.count(), let byteCount = input.count(), let form: UInt8 = input.integer()
            else {
                return nil
            }
            let condition: WriteCondition
            switch form {
            case 0: condition = .none
            case 1: condition = .ifAbsent
            case 2:
                guard let text = input.string(), let etag = ETag(text) else { return nil }
                condition = .ifMatch(etag)
            default: return nil
            }
            guard let properties = input.properties() else { return nil }
            return .begin(
                StagedIdentity(
                    key: key, base: base, baseByteCount: baseByteCount, byteCount: byteCount, condition: condition,
                    properties: properties))
        case .wrote:
            return input.range().map { .wrote($0) }
        case .truncated:
            guard let byteCount = input.count() else { return nil }
            return .truncated(byteCount)
        case .properties:
            guard let properties = input.properties() else { return nil }
            return .properties(properties)
        case .sending:
            return input.mark().map { .sending($0) }
        case .published: return .published
        case .uploading:
            guard let upload = input.upload(), let properties = input.properties() else { return nil }
            return .uploading(upload, properties)
        case .sent:
            guard let number = input.count(), let range = input.range(), let isCopied = input.bool(),
                let etag = input.string().flatMap({ ETag($0) })
            else { return nil }
            return .sent(SentPart(number: number, range: range, source: isCopied ? .base : .staged, etag: etag))
        case .freed: return input.range().map { .freed($0) }
        case .orphaned: return input.upload().map { .orphaned($0) }
        case .failed: return input.range().map { .failed($0) }
        case .departing:
            guard let form: UInt8 = input.integer() else { return nil }
            switch form {
            case 0: return .departing(nil)
            case 1: return .departing(.removal)
            case 2:
                guard let mark = input.mark(), let etag = input.string().flatMap({ ETag($0) }) else { return nil }
                return .departing(.replacement(mark, etag))
            case 3: return input.string().map { .departing(.replacementByStaged($0)) }
            case 4: return input.string().flatMap { ObjectKey($0) }.map { .departing(.savedAs($0)) }
            default: return nil
            }
        }
    }
}
