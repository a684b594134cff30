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
    private enum Tag: UInt8 { case begin = 1, wrote, truncated, properties, sending, published }

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
            payload.put(range.lowerBound)
            payload.put(range.upperBound)
        case .truncated(let byteCount):
            payload.put(Tag.truncated.rawValue)
            payload.put(byteCount)
        case .properties(let properties):
            payload.put(Tag.properties.rawValue)
            payload.put(properties)
        case .sending(let mark):
            payload.put(Tag.sending.rawValue)
            payload.put(mark.byteCount)
            payload.put(ObjectProperties(metadata: mark.metadata))
        case .published:
            payload.put(Tag.published.rawValue)
        }
        var frame = ByteEncoder()
        frame.put(UInt32(payload.bytes.count))
        frame.put(CRC32C.of(payload.bytes))
        return frame.bytes + payload.bytes
    }

    /// The records at the front of `bytes`, up to the first that is torn or damaged, and how many bytes they take.
    static func decode(_ bytes: [UInt8]) -> (records: [JournalRecord], validByteCount: Int) {
        var records: [JournalRecord] = []
        var position = 0
        while true {
            var frame = ByteDecoder(bytes, from: position)
            guard let length: UInt32 = frame.integer(), let crc: UInt32 = frame.integer(),
                length <= 1 << 20, let payload = frame.take(Int(length)), CRC32C.of(payload) == crc,
                let record = decode(payload: payload)
            else { break }
            records.append(record)
            position = frame.position
        }
        return (records, position)
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
            guard let lower = input.count(), let upper = input.count(), lower <= upper else { return nil }
            return .wrote(ByteRange(lower, upper))
        case .truncated:
            guard let byteCount = input.count() else { return nil }
            return .truncated(byteCount)
        case .properties:
            guard let properties = input.properties() else { return nil }
            return .properties(properties)
        case .sending:
            guard let byteCount = input.count(), let properties = input.properties() else { return nil }
            return .sending(PublicationMark(byteCount: byteCount, metadata: properties.metadata))
        case .published: return .published
        }
    }
}

/// Appends little-endian integers and length-prefixed strings.
private struct ByteEncoder {
    private(set) var bytes: [UInt8] = []

    mutating func put(_ value: some FixedWidthInteger) {
        withUnsafeBytes(of: value.littleEndian) { bytes.append(contentsOf: $0) }
    }

    mutating func put(_ value: Bool) { put(UInt8(value ? 1 : 0)) }

    mutating func put(_ value: String) {
        put(UInt32(value.utf8.count))
        bytes.append(contentsOf: value.utf8)
    }

    mutating func put(_ value: String?) {
        put(value != nil)
        if let value { put(value) }
    }

    mutating func put(_ value: ObjectProperties) {
        put(UInt32(value.metadata.count))
        for (name, text) in value.metadata.sorted(by: { $0.key < $1.key }) {
            put(name)
            put(text)
        }
        for field in [
            value.contentType, value.cacheControl, value.contentEncoding, value.contentDisposition,
            value.contentLanguage,
            value.storageClass,
        ] { put(field) }
    }
}

/// Reads what `ByteEncoder` wrote; every method is nil when the bytes do not hold it.
private struct ByteDecoder {
    private let bytes: [UInt8]
    private(set) var position: Int

    init(_ bytes: [UInt8], from position: Int) {
        self.bytes = bytes
        self.position = position
    }

    mutating func take(_ count: Int) -> [UInt8]? {
        guard count >= 0, bytes.count - position >= count else { return nil }
        defer { position += count }
        return Array(bytes[position..<position + count])
    }

    mutating func integer<Value: FixedWidthInteger>() -> Value? {
        let size = MemoryLayout<Value>.size
        guard bytes.count - position >= size else { return nil }
        defer { position += size }
        return bytes.withUnsafeBytes { Value(littleEndian: $0.loadUnaligned(fromByteOffset: position, as: Value.self)) }
    }

    /// A size or position: not negative.
    mutating func count() -> Int? {
        guard let value: Int = integer(), value >= 0 else { return nil }
        return value
    }

    mutating func bool() -> Bool? {
        guard let value: UInt8 = integer(), value <= 1 else { return nil }
        return value == 1
    }

    mutating func string() -> String? {
        guard let length: UInt32 = integer(), let text = take(Int(length)) else { return nil }
        return String(validating: text, as: UTF8.self)
    }

    /// The outer nil is damage, the inner one an absent value.
    private mutating func optionalString() -> String?? {
        guard let present = bool() else { return nil }
        guard present else { return .some(nil) }
        guard let text = string() else { return nil }
        return .some(text)
    }

    mutating func properties() -> ObjectProperties? {
        guard let count: UInt32 = integer(), count <= 4096 else { return nil }
        var result = ObjectProperties()
        for _ in 0..<count {
            guard let name = string(), let text = string() else { return nil }
            result.metadata[name] = text
        }
        let fields: [WritableKeyPath<ObjectProperties, String?>] = [
            \.contentType, \.cacheControl, \.contentEncoding, \.contentDisposition, \.contentLanguage, \.storageClass,
        ]
        for field in fields {
            guard let value = optionalString() else { return nil }
            result[keyPath: field] = value
        }
        return result
    }
}
