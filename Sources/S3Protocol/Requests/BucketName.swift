// The rules of bucket names (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html>).

public enum BucketName {
    /// Whether the name can be a part of a host name: 3 to 63 lower-case letters, digits, dots and hyphens.
    public static func isDNSLabelSafe(_ name: String) -> Bool {
        guard (3...63).contains(name.utf8.count) else { return false }
        let labels = name.split(separator: ".", omittingEmptySubsequences: false)
        let isEachSafe = labels.allSatisfy { label in
            guard let first = label.utf8.first, let last = label.utf8.last else { return false }
            return isAlphanumeric(first) && isAlphanumeric(last)
                && label.utf8.allSatisfy { isAlphanumeric($0) || $0 == UInt8(ascii: "-") }
        }
        let looksLikeAddress =
            labels.count == 4 && labels.allSatisfy { $0.utf8.allSatisfy { $0 < 0x3A } && !$0.isEmpty }
        return isEachSafe && !looksLikeAddress
    }

    /// Whether it can be a bucket on any server: older AWS buckets and other servers allow upper case, underscores and
    /// up to 255 bytes. Whether it exists is another question.
    public static func isPossible(_ name: String) -> Bool {
        (3...255).contains(name.utf8.count)
            && name.utf8.allSatisfy {
                isAlphanumeric($0) || (0x41...0x5A).contains($0) || "-._".utf8.contains($0)
            }
    }

    private static func isAlphanumeric(_ byte: UInt8) -> Bool {
        (0x30...0x39).contains(byte) || (0x61...0x7A).contains(byte)
    }
}
