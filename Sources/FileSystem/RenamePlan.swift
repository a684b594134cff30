// The journal of a directory's rename.

internal import Base
internal import ObjectModel

/// What a rename of a directory moves. A pure value.
struct RenamePlan: Sendable, Equatable {
    /// Both end with `/`.
    let from: ByteString
    let to: ByteString
    let objects: [Moved]

    /// An object as it was when the rename began: another one under that key is none of the plan's.
    struct Moved: Sendable, Equatable {
        /// What follows the prefixes.
        let rest: ByteString
        let etag: ByteString
        let modifiedSeconds: Int64

        init(_ object: ListedObject, below prefix: ByteString) {
            rest = object.key.bytes.dropFirst(prefix.count)
            etag = ByteString(object.version.etag.value)
            modifiedSeconds = object.lastModified.seconds
        }

        fileprivate init?(_ texts: ArraySlice<ByteString>) {
            let texts = Array(texts)
            guard texts.count == 3, let seconds = Int64(texts[2].string) else { return nil }
            (rest, etag, modifiedSeconds) = (texts[0], texts[1], seconds)
        }

        func isStill(_ info: ObjectInfo) -> Bool {
            ByteString(info.version.etag.value) == etag && info.lastModified.seconds == modifiedSeconds
        }

        fileprivate var texts: [ByteString] { [rest, etag, ByteString(String(modifiedSeconds))] }
    }

    /// Each text with its length before it, as eight bytes.
    var encoded: [UInt8] {
        var bytes: [UInt8] = []
        for text in [from, to] + objects.flatMap(\.texts) {
            withUnsafeBytes(of: UInt64(text.count).littleEndian) { bytes.append(contentsOf: $0) }
            bytes.append(contentsOf: text.utf8)
        }
        return bytes
    }

    init(from: ByteString, to: ByteString, objects: [Moved]) {
        self.from = from
        self.to = to
        self.objects = objects
    }

    /// Nil for bytes that are no plan.
    init?(_ bytes: [UInt8]) {
        var texts: [ByteString] = []
        var position = 0
        while position < bytes.count {
            guard bytes.count - position >= 8 else { return nil }
            let count = bytes.withUnsafeBytes {
                UInt64(littleEndian: $0.loadUnaligned(fromByteOffset: position, as: UInt64.self))
            }
            position += 8
            guard count <= UInt64(bytes.count - position),
                let text = String(validating: bytes[position..<position + Int(count)], as: UTF8.self)
            else { return nil }
            texts.append(ByteString(text))
            position += Int(count)
        }
        guard texts.count >= 2, texts[0].hasSuffix("/"), texts[1].hasSuffix("/") else { return nil }
        var objects: [Moved] = []
        for start in stride(from: 2, to: texts.count, by: 3) {
            guard let object = Moved(texts[start..<min(start + 3, texts.count)]) else { return nil }
            objects.append(object)
        }
        self.init(from: texts[0], to: texts[1], objects: objects)
    }
}
