// The bytes of journal records: little-endian integers and length-prefixed strings.

internal import Base
internal import ObjectModel
internal import ObjectStore

/// Appends little-endian integers and length-prefixed strings.
struct ByteEncoder {
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

    mutating func put(_ value: ByteRange) {
        put(value.lowerBound)
        put(value.upperBound)
    }

    mutating func put(_ value: UploadReference) {
        put(value.id.value)
        put(value.key.string)
    }

    mutating func put(_ value: PublicationMark) {
        put(value.byteCount)
        put(ObjectProperties(metadata: value.metadata))
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
struct ByteDecoder {
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

    mutating func range() -> ByteRange? {
        guard let lower = count(), let upper = count(), lower <= upper else { return nil }
        return ByteRange(lower, upper)
    }

    mutating func upload() -> UploadReference? {
        guard let id = string(), let key = string().flatMap({ ObjectKey($0) }) else { return nil }
        return UploadReference(id: UploadID(id), key: key)
    }

    mutating func mark() -> PublicationMark? {
        guard let byteCount = count(), let properties = properties() else { return nil }
        return PublicationMark(byteCount: byteCount, metadata: properties.metadata)
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
