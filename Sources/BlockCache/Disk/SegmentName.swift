// Names of segment files: a digest of what they hold, so that opening a file is the lookup.

internal import CCrypto
internal import ObjectModel

/// The name of a segment file, `ab/cdef…-0`, in 24 bytes: 128 bits of SHA-256 over the object version, and the number of
/// the segment. The header says what the file really holds, so nothing rests on the digest being unique.
struct SegmentName: Sendable, Hashable {
    let high: UInt64
    let low: UInt64
    let number: UInt32

    init(_ identity: SegmentIdentity) {
        self.init(version: VersionDigest(identity), number: identity.number)
    }

    init(version: VersionDigest, number: Int) {
        high = version.high
        low = version.low
        self.number = UInt32(number)
    }

    /// From the names of a directory and of a file in it; nil for names that no segment has.
    init?(directory: String, file: String) {
        let parts = file.split(separator: "-", omittingEmptySubsequences: false)
        guard parts.count == 2, directory.utf8.count == 2, parts[0].utf8.count == 30,
            let number = UInt32(parts[1], radix: 16)
        else { return nil }
        let digits = directory + parts[0]
        guard let high = UInt64(digits.prefix(16), radix: 16), let low = UInt64(digits.suffix(16), radix: 16) else {
            return nil
        }
        self.high = high
        self.low = low
        self.number = number
        // One name for each segment: no capitals, signs or leading zeros.
        guard path == "\(directory)/\(file)" else { return nil }
    }

    /// The directory: the first two digits.
    var directory: String { String(digits.prefix(2)) }

    /// Below the directory of all blocks.
    var path: String {
        let digits = digits
        return "\(digits.prefix(2))/\(digits.dropFirst(2))-\(String(number, radix: 16))"
    }

    private var digits: String {
        [high, low].map { word in
            let text = String(word, radix: 16)
            return String(repeating: "0", count: 16 - text.utf8.count) + text
        }.joined()
    }
}

/// 128 bits that stand for an object version of a bucket in blocks of a size.
struct VersionDigest: Sendable, Hashable {
    let high: UInt64
    let low: UInt64

    init(_ identity: SegmentIdentity) {
        self.init(identity.version, bucket: identity.bucket, blockBytes: identity.blockBytes)
    }

    init(_ version: ObjectVersion, bucket: String, blockBytes: Int) {
        var text: [UInt8] = []
        // Lengths stand before the texts, so that no two versions give one text.
        for part in [bucket, version.key.string, version.etag.value] {
            text += Array("\(part.utf8.count):".utf8)
            text += Array(part.utf8)
        }
        text += Array("\(version.byteCount):\(blockBytes)".utf8)
        var digest = [UInt8](repeating: 0, count: Int(SHA256_DIGEST_LENGTH))
        SHA256(text, text.count, &digest)
        high = digest[..<8].reduce(0) { $0 << 8 | UInt64($1) }
        low = digest[8..<16].reduce(0) { $0 << 8 | UInt64($1) }
    }
}
