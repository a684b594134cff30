// The names of the operations, as S3's documentation and every log have them.

/// An S3 API operation that pail uses.
public enum S3Operation: String, Sendable, Hashable, CaseIterable {
    case listObjectsV2 = "ListObjectsV2"
    case headObject = "HeadObject"
    case getObject = "GetObject"
    case putObject = "PutObject"
    case deleteObject = "DeleteObject"
    case deleteObjects = "DeleteObjects"
    case copyObject = "CopyObject"
    case headBucket = "HeadBucket"
    case getBucketLocation = "GetBucketLocation"
    case createMultipartUpload = "CreateMultipartUpload"
    case uploadPart = "UploadPart"
    case uploadPartCopy = "UploadPartCopy"
    case completeMultipartUpload = "CompleteMultipartUpload"
    case abortMultipartUpload = "AbortMultipartUpload"
    case listParts = "ListParts"
    case listMultipartUploads = "ListMultipartUploads"
    case getObjectTagging = "GetObjectTagging"
    case putObjectTagging = "PutObjectTagging"

    /// Whether a 200 may still carry an error in its body: S3 answers before the work is done.
    public var mayFailAfterSuccess: Bool {
        switch self {
        case .copyObject, .uploadPartCopy, .completeMultipartUpload: true
        default: false
        }
    }
}

public enum S3Method: String, Sendable, Hashable {
    case get = "GET"
    case head = "HEAD"
    case put = "PUT"
    case post = "POST"
    case delete = "DELETE"
}
