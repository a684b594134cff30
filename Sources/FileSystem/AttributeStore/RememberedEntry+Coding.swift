// The bytes of a remembered entry. A checksum covers them and where they stand: whatever happens to the file, no row is
// believed that was not written for this name of this directory.

internal import Base
internal import ObjectModel

extension RememberedEntry {
    private static let formatVersion: UInt8 = 1

    private static func checksum(_ directory: ByteString, _ name: ByteString, _ payload: ArraySlice<UInt8>) -> UInt32 {
        var sum = CRC32C()
        for text in [directory, name] {
            var string = text.string
            string.withUTF8 { sum.update(UnsafeRawBufferPointer($0)) }
            [UInt8(0)].withUnsafeBytes { sum.update($0) }
        }
        payload.withUnsafeBytes { sum.update($0) }
        return sum.value
    }

    /// - Parameter directory: the key prefix of the directory.
    func encoded(directory: ByteString, name: ByteString) -> [UInt8] {
        var writer = ByteWriter()
        writer.add(UInt32(0))
        writer.add(Self.formatVersion)
        switch content {
        case .directory: writer.add(UInt8(0))
        case .file(let etag, let byteCount):
            writer.add(UInt8(1))
            writer.add(etag.value)
            writer.add(UInt64(byteCount))
        }
        switch modified {
        case .unknown: writer.add(UInt8(0))
        case .told(let time): writer.add(UInt8(1), time)
        case .written(let time): writer.add(UInt8(2), time)
        }
        writer.add(storageClass)
        writer.add(inode == nil ? UInt8(0) : 1)
        if let inode { writer.add(inode) }
        switch learned {
        case .nothing: writer.add(UInt8(0))
        case .noMarker: writer.add(UInt8(1))
        case .properties(let properties):
            writer.add(UInt8(2))
            writer.add(properties)
        }
        let sum = Self.checksum(directory, name, writer.bytes[4...])
        for index in 0..<4 { writer.bytes[index] = UInt8(truncatingIfNeeded: sum >> (8 * UInt32(index))) }
        return writer.bytes
    }

    /// Nil for bytes that were not written for this name.
    init?(_ bytes: [UInt8], directory: ByteString, name: ByteString) {
        var reader = ByteReader(bytes)
        guard let sum: UInt32 = reader.number(), sum == Self.checksum(directory, name, bytes.dropFirst(4)),
            reader.number() == Self.formatVersion, let kind: UInt8 = reader.number()
        else { return nil }
        if kind == 0 {
            self.init(content: .directory)
        } else {
            guard let etag = reader.text().flatMap({ ETag($0) }), let byteCount: UInt64 = reader.number(),
                byteCount <= UInt64(Int.max)
            else { return nil }
            self.init(content: .file(etag: etag, byteCount: Int(byteCount)))
        }
        switch reader.number() as UInt8? {
        case 0: modified = .unknown
        case 1: if let time = reader.time() { modified = .told(time) } else { return nil }
        case 2: if let time = reader.time() { modified = .written(time) } else { return nil }
        default: return nil
        }
        guard let storageClass = reader.optionalText(), let hasInode: UInt8 = reader.number() else { return nil }
        self.storageClass = storageClass
        if hasInode == 1 {
            guard let number: UInt64 = reader.number() else { return nil }
            inode = number
        }
        switch reader.number() as UInt8? {
        case 0: learned = .nothing
        case 1: learned = .noMarker
        case 2: if let properties = reader.properties() { learned = .properties(properties) } else { return nil }
        default: return nil
        }
    }
}

/// Little-endian numbers, and texts with their length before them.
private struct ByteWriter {
    var bytes: [UInt8] = []

    mutating func add<Number: FixedWidthInteger>(_ number: Number) {
        withUnsafeBytes(of: number.littleEndian) { bytes.append(contentsOf: $0) }
    }

    mutating func add(_ text: String) {
        add(UInt32(text.utf8.count))
        bytes.append(contentsOf: text.utf8)
    }

    mutating func add(_ text: String?) {
        add(text == nil ? UInt8(0) : 1)
        if let text { add(text) }
    }

    mutating func add(_ tag: UInt8, _ time: Timestamp) {
        add(tag)
        add(time.seconds)
        add(time.nanoseconds)
    }

    mutating func add(_ properties: ObjectProperties) {
        for text in [
            properties.contentType, properties.cacheControl, properties.contentEncoding, properties.contentDisposition,
            properties.contentLanguage, properties.storageClass,
        ] { add(text) }
        add(UInt32(properties.metadata.count))
        for (key, value) in properties.metadata.sorted(by: { $0.key < $1.key }) {
            add(key)
            add(value)
        }
    }
}

/// Reads what `ByteWriter` wrote; nil wherever the bytes are not that.
private struct ByteReader {
    private let bytes: [UInt8]
    private var position = 0

    init(_ bytes: [UInt8]) {
        self.bytes = bytes
    }

    mutating func number<Number: FixedWidthInteger>() -> Number? {
        let count = MemoryLayout<Number>.size
        guard bytes.count - position >= count else { return nil }
        defer { position += count }
        return bytes.withUnsafeBytes {
            Number(littleEndian: $0.loadUnaligned(fromByteOffset: position, as: Number.self))
        }
    }

    mutating func text() -> String? {
        guard let count: UInt32 = number(), bytes.count - position >= Int(count) else { return nil }
        defer { position += Int(count) }
        return String(validating: bytes[position..<position + Int(count)], as: UTF8.self)
    }

    /// The outer nil is damage, the inner one "none".
    mutating func optionalText() -> String?? {
        switch number() as UInt8? {
        case 0: return .some(nil)
        case 1: return text().map { .some($0) }
        default: return nil
        }
    }

    mutating func time() -> Timestamp? {
        guard let seconds: Int64 = number(), let nanoseconds: Int32 = number(),
            (0..<1_000_000_000).contains(nanoseconds)
        else { return nil }
        return Timestamp(seconds: seconds, nanoseconds: nanoseconds)
    }

    mutating func properties() -> ObjectProperties? {
        var result = ObjectProperties()
        guard let contentType = optionalText(), let cacheControl = optionalText(), let encoding = optionalText(),
            let disposition = optionalText(), let language = optionalText(), let storageClass = optionalText(),
            let count: UInt32 = number()
        else { return nil }
        result.contentType = contentType
        result.cacheControl = cacheControl
        result.contentEncoding = encoding
        result.contentDisposition = disposition
        result.contentLanguage = language
        result.storageClass = storageClass
        for _ in 0..<count {
            guard let key = text(), let value = text() else { return nil }
            result.metadata[key] = value
        }
        return result
    }
}
