// What is mounted: a bucket, or a part of it.

/// A bucket and the prefix of the keys in it.
public struct BucketLocation: Sendable, Hashable, Codable, CustomStringConvertible {
    public let bucket: String
    /// Empty, or ending with `/`. Taken literally: nothing in it is decoded or normalised.
    public let prefix: String

    /// Precondition: `prefix` is empty or ends with `/`.
    public init(bucket: String, prefix: String) {
        precondition(prefix.isEmpty || prefix.utf8.last == UInt8(ascii: "/"))
        self.bucket = bucket
        self.prefix = prefix
    }

    /// `s3://BUCKET/PREFIX/`, as it may be given again.
    public var description: String { "s3://\(bucket)" + (prefix.isEmpty ? "" : "/\(prefix)") }

    /// Parses `s3://BUCKET[/PREFIX]` or `BUCKET[/PREFIX]`.
    public static func parse(_ text: String) throws(UsageError) -> BucketLocation {
        let expected = "give s3://BUCKET or s3://BUCKET/PREFIX"
        var rest = Substring(text)
        if let scheme = rest.firstRange(ofScheme: "://") {
            guard rest[..<scheme.lowerBound].lowercased() == "s3" else {
                throw UsageError(
                    "'\(text)' is not an S3 bucket; \(expected), and the server's address with --endpoint")
            }
            rest = rest[scheme.upperBound...]
            if rest.isEmpty {
                throw UsageError("'s3://' alone (every bucket as a directory) is not in this version; \(expected)")
            }
        }
        let bucket = rest.prefix { $0 != "/" }
        guard !bucket.isEmpty else { throw UsageError("'\(text)' names no bucket; \(expected)") }
        if bucket.contains(":") {
            throw UsageError("'\(text)' is not of the form BUCKET/PREFIX: there is a ':' in '\(bucket)'; \(expected)")
        }
        // Names of S3's own rules and of older ones and other servers' (upper case, underscore, up to 255 bytes).
        let allowed = bucket.utf8.allSatisfy { byte in
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "."), UInt8(ascii: "-"), UInt8(ascii: "_"):
                true
            default: false
            }
        }
        guard allowed, bucket.utf8.count <= 255, bucket != ".", bucket != ".." else {
            throw UsageError("'\(bucket)' cannot be a bucket's name; \(expected)")
        }
        var prefix = String(rest.dropFirst(bucket.count + 1))
        if !prefix.isEmpty, prefix.utf8.last != UInt8(ascii: "/") { prefix += "/" }
        // A key has at most 1,024 bytes, of which at least one must be left for a name.
        guard prefix.utf8.count < 1024 else { throw UsageError("the prefix of '\(text.prefix(40))…' is too long") }
        guard !prefix.utf8.contains(0) else { throw UsageError("there is a zero byte in the prefix") }
        return BucketLocation(bucket: String(bucket), prefix: prefix)
    }
}

extension Substring {
    fileprivate func firstRange(ofScheme separator: String) -> Range<Index>? {
        var index = startIndex
        while index < endIndex {
            if self[index...].hasPrefix(separator) {
                return index..<self.index(index, offsetBy: separator.count)
            }
            // A scheme has no slash: `bucket/a://b` is a prefix.
            if self[index] == "/" { return nil }
            formIndex(after: &index)
        }
        return nil
    }
}
