// What a mount says about every object it writes, beside the object's own properties.

internal import Base

/// Header fields that are the same for all requests of a store.
public struct RequestOptions: Sendable, Equatable {
    /// For objects whose properties name none; nil leaves it to the bucket.
    public var storageClass: String?
    /// A canned ACL such as `bucket-owner-full-control`; nil sends none.
    public var acl: String?
    public var encryption: ServerSideEncryption?
    /// Agrees to pay for requests to a requester-pays bucket.
    public var isRequesterPaying = false
    /// The account that must own the bucket; the server refuses the request otherwise.
    public var expectedBucketOwner: String?

    public init() {}
}

/// How the server encrypts what it stores
/// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/serv-side-encryption.html>).
public enum ServerSideEncryption: Sendable, Equatable {
    /// SSE-S3.
    case s3
    /// SSE-KMS, with the account's own key when no ID is given.
    case kms(keyID: String?, usesBucketKey: Bool)
    /// DSSE-KMS.
    case dualLayerKMS(keyID: String?)
    /// SSE-C: the key goes along with every request, reads included.
    case customerKey(CustomerKey)

    /// Whether ETags are something else than the MD5 of the body.
    public var hidesMD5: Bool { self != .s3 }
}

/// A key of SSE-C, never printed.
public struct CustomerKey: Sendable, Equatable, CustomStringConvertible, CustomReflectable {
    let key: [UInt8]

    /// Nil unless it has 32 bytes (AES-256).
    public init?(_ key: [UInt8]) {
        guard key.count == 32 else { return nil }
        self.key = key
    }

    /// Tells it from other keys, and does not tell it: 8 hexadecimal digits of its SHA-256.
    public var fingerprint: String { String(Hex.encode(Digest.of(key, .sha256)).prefix(8)) }

    public var description: String { "CustomerKey(hidden)" }
    public var customMirror: Mirror { Mirror(self, children: []) }
}

extension RequestOptions {
    /// For every request.
    func applyCommon(to headers: inout HeaderFields) {
        if isRequesterPaying { headers["x-amz-request-payer"] = "requester" }
        if let expectedBucketOwner { headers["x-amz-expected-bucket-owner"] = expectedBucketOwner }
    }

    /// For requests that make an object: PutObject, CopyObject, CreateMultipartUpload.
    func applyWrite(to headers: inout HeaderFields) {
        if let acl { headers["x-amz-acl"] = acl }
        if let storageClass, headers["x-amz-storage-class"] == nil { headers["x-amz-storage-class"] = storageClass }
        switch encryption {
        case nil, .customerKey: break
        case .s3: headers["x-amz-server-side-encryption"] = "AES256"
        case .kms(let keyID, let usesBucketKey):
            headers["x-amz-server-side-encryption"] = "aws:kms"
            if let keyID { headers["x-amz-server-side-encryption-aws-kms-key-id"] = keyID }
            if usesBucketKey { headers["x-amz-server-side-encryption-bucket-key-enabled"] = "true" }
        case .dualLayerKMS(let keyID):
            headers["x-amz-server-side-encryption"] = "aws:kms:dsse"
            if let keyID { headers["x-amz-server-side-encryption-aws-kms-key-id"] = keyID }
        }
        applyCustomerKey(to: &headers)
    }

    /// For every request that reads or writes a body or its properties.
    func applyCustomerKey(to headers: inout HeaderFields) {
        addCustomerKey(prefix: "x-amz-server-side-encryption-customer", to: &headers)
    }

    /// For the source of a copy.
    func applySourceCustomerKey(to headers: inout HeaderFields) {
        addCustomerKey(prefix: "x-amz-copy-source-server-side-encryption-customer", to: &headers)
    }

    private func addCustomerKey(prefix: String, to headers: inout HeaderFields) {
        guard case .customerKey(let customerKey) = encryption else { return }
        headers["\(prefix)-algorithm"] = "AES256"
        headers["\(prefix)-key"] = Base64.encode(customerKey.key)
        headers["\(prefix)-key-MD5"] = Base64.encode(Digest.of(customerKey.key, .md5))
    }
}
