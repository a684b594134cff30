// The properties of an object in header fields of HeadObject and GetObject.

internal import Base
public import ObjectModel

/// A `Content-Range: bytes 0-99/1000` (RFC 9110, 14.4).
public struct ContentRange: Sendable, Equatable {
    public let range: ByteRange
    /// The whole object's length; nil when the server does not say.
    public let total: Int?

    public init?(_ text: String) {
        guard text.lowercased().hasPrefix("bytes ") else { return nil }
        let parts = text.dropFirst(6).split(separator: "/", omittingEmptySubsequences: false)
        guard parts.count == 2 else { return nil }
        let bounds = parts[0].split(separator: "-", omittingEmptySubsequences: false)
        guard bounds.count == 2, let first = Self.number(bounds[0]), let last = Self.number(bounds[1]), first <= last
        else { return nil }
        range = ByteRange(first, last + 1)
        if parts[1] == "*" {
            total = nil
        } else {
            guard let value = Self.number(parts[1]), value > last else { return nil }
            total = value
        }
    }

    /// Digits alone, and far enough from overflow for arithmetic.
    private static func number(_ text: Substring) -> Int? {
        guard !text.isEmpty, text.utf8.count <= 18, text.utf8.allSatisfy({ (0x30...0x39).contains($0) }) else {
            return nil
        }
        return Int(text)
    }
}

extension ObjectInfo {
    /// Reads the header fields of a 200 or 206.
    public init(_ key: ObjectKey, headers: HeaderFields) throws(AnswerError) {
        guard let etag = headers["ETag"].flatMap({ ETag($0) }) else { throw .invalidField("ETag") }
        let byteCount: Int
        if let field = headers["Content-Range"] {
            guard let total = ContentRange(field)?.total else { throw .invalidField("Content-Range") }
            byteCount = total
        } else {
            guard let length = headers["Content-Length"].flatMap({ Int($0) }), length >= 0 else {
                throw .invalidField("Content-Length")
            }
            byteCount = length
        }
        guard let lastModified = headers["Last-Modified"].flatMap({ Timestamp(httpDate: $0) }) else {
            throw .invalidField("Last-Modified")
        }
        let version = ObjectVersion(key: key, etag: etag, byteCount: byteCount)
        self.init(
            version: version, lastModified: lastModified, properties: ObjectProperties(headers),
            versionID: headers["x-amz-version-id"])
    }
}

extension ObjectProperties {
    /// Reads the header fields of HeadObject or GetObject.
    public init(_ headers: HeaderFields) {
        self.init()
        let prefix = "x-amz-meta-"
        for (name, value) in headers.fields {
            let lower = name.lowercased()
            guard lower.hasPrefix(prefix), lower.utf8.count > prefix.utf8.count else { continue }
            let decoded = MetadataCoding.decode(value)
            // The same name twice is one value (RFC 9110, 5.3).
            metadata[String(lower.dropFirst(prefix.utf8.count)), default: ""] +=
                metadata[String(lower.dropFirst(prefix.utf8.count))] == nil ? decoded : ",\(decoded)"
        }
        contentType = headers["Content-Type"]
        cacheControl = headers["Cache-Control"]
        // What the upload was framed in is not a property of the object, though some servers keep it.
        let encodings = headers["Content-Encoding"]?.split(separator: ",").map { $0.filter { $0 != " " } } ?? []
        let kept = encodings.filter { $0 != "aws-chunked" && !$0.isEmpty }
        contentEncoding = kept.isEmpty ? nil : kept.joined(separator: ",")
        contentDisposition = headers["Content-Disposition"]
        contentLanguage = headers["Content-Language"]
        storageClass = headers["x-amz-storage-class"].flatMap { $0 == "STANDARD" ? nil : $0 }
    }
}
