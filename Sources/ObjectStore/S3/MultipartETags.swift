// Whether a server makes the ETags of completed uploads as S3 does: pure state, fed by answers.

/// What is known of the ETags of completed uploads.
///
/// S3 makes the MD5 of the parts' MD5s, and so do Ceph's gateway and MinIO; of objects that are encrypted by KMS or a customer's
/// key, of which it is not true, answers say so. SeaweedFS has long summed the pieces that it cuts parts into, which is the same for
/// small parts only (<https://github.com/seaweedfs/seaweedfs/issues/2512>, <https://github.com/seaweedfs/seaweedfs/pull/9772>). So
/// another ETag means something only where the server was seen to follow S3 with parts as large.
struct MultipartETags {
    /// The largest part of an upload whose ETag was as S3 makes it, in bytes.
    private var followedPartBytes = 0
    /// What was refused last: the ETag expected, and the one found.
    private var refused: (expected: String, found: String)?
    /// It was seen to make another one of the same parts twice: that is its form, and no damage.
    private var isOwn = false

    /// Takes note of an ETag; false when it is not to be believed.
    /// - Parameters:
    ///   - found: in small letters, as `expected`, which is what S3 would make of the parts.
    ///   - partBytes: the size of the largest part.
    mutating func accept(_ found: String, expected: String, partBytes: Int) -> Bool {
        if found == expected {
            followedPartBytes = max(followedPartBytes, partBytes)
            return true
        }
        guard !isOwn, partBytes <= followedPartBytes else { return true }
        if let refused, refused == (expected, found) {
            isOwn = true
            return true
        }
        refused = (expected, found)
        return false
    }
}
