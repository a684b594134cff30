// Buckets of a kind that is not supported.

internal import S3Protocol

extension MountPlan {
    /// Refuses what AWS calls a directory bucket (S3 Express One Zone), known by its name
    /// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/directory-bucket-naming-rules.html>). Elsewhere such a name means
    /// nothing. Why it is refused, and what it would need: doc/design/requests.md.
    public func refuseDirectoryBucket() throws(MountFailure) {
        guard location.bucket.hasSuffix("--x-s3"), endpoint?.endpoint.isAWS ?? true else { return }
        throw MountFailure(
            "'\(location.bucket)' is a directory bucket (S3 Express One Zone), which pail does not support",
            remedy: "use a general purpose bucket")
    }
}
