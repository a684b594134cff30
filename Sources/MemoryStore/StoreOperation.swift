// The kinds of request a store is asked for, by S3's names, so that tests can count them and make them fail.

/// An S3 request as it would go over the wire. One call of `ObjectStore` can be several requests (bulk delete, big copy).
public enum StoreOperation: String, Sendable, Hashable, CaseIterable, CustomStringConvertible {
    case headObject = "HeadObject"
    case listObjects = "ListObjectsV2"
    case getObject = "GetObject"
    case putObject = "PutObject"
    case deleteObject = "DeleteObject"
    case deleteObjects = "DeleteObjects"
    case copyObject = "CopyObject"
    case createUpload = "CreateMultipartUpload"
    case uploadPart = "UploadPart"
    case uploadPartCopy = "UploadPartCopy"
    case completeUpload = "CompleteMultipartUpload"
    case abortUpload = "AbortMultipartUpload"
    case listParts = "ListParts"
    case getTagging = "GetObjectTagging"
    case putTagging = "PutObjectTagging"

    public var description: String { rawValue }
}
