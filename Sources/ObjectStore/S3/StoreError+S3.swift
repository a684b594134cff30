// From S3's refusals and the transport's failures to the kinds that the layers above decide by.

public import HTTPTransport
public import ObjectModel
public import S3Protocol

extension StoreError {
    /// The final error of a refusal.
    public init(_ refusal: S3ErrorResponse, operation: S3Operation, key: ObjectKey?) {
        let kind = Self.kind(status: refusal.status, code: refusal.code, operation: operation)
        // Some servers (Ceph RGW's ListParts) say NoSuchKey, though the upload is what is not there.
        let isOfUpload = kind == .notFound && (operation == .listParts || operation == .uploadPart)
        self.init(
            kind, operation: operation.rawValue, key: key, code: isOfUpload ? Self.noSuchUpload : refusal.code,
            httpStatus: refusal.status, requestID: refusal.requestID, message: refusal.message)
    }

    /// The final error of a request without an answer.
    public init(_ error: HTTPError, operation: S3Operation, key: ObjectKey?) {
        let kind: Kind =
            switch error.kind {
            case .resolve, .connect, .tls, .timedOut(.connect), .sendFailed, .receiveFailed, .other: .unreachable
            case .timedOut(.stall), .timedOut(.slow), .timedOut(.total): .timedOut
            case .bodySourceFailed: .sourceFailed
            case .responseTooLarge, .malformedResponse: .malformedResponse
            case .invalidRequest: .invalidRequest
            case .cancelled, .shutDown: .cancelled
            }
        self.init(kind, operation: operation.rawValue, key: key, message: error.message)
    }

    /// Decides from the code where there is one that says something, else from the status
    /// (<https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html#ErrorCodeList>).
    static func kind(status: Int, code: String?, operation: S3Operation) -> Kind {
        if let code {
            if let kind = kindsOfCodes[code] { return kind }
            if code.hasPrefix("KMS.") { return .accessDenied }
        }
        switch status {
        case 401: return .badCredentials
        case 403: return .accessDenied
        case 404: return isOfBucket(operation) ? .bucketNotFound : .notFound
        case 405, 501: return .unsupported
        case 408: return .timedOut
        case 412: return .preconditionFailed
        case 413: return .tooLarge
        case 416: return .invalidRange
        case 429, 503: return .throttled
        case 507: return .quotaExceeded
        case 500...599: return .serverFault
        // A 200 that carries an error; a redirect that leads nowhere.
        case 200..<300: return .serverFault
        default: return .invalidRequest
        }
    }

    private static func isOfBucket(_ operation: S3Operation) -> Bool {
        switch operation {
        case .listObjectsV2, .headBucket, .getBucketLocation, .listMultipartUploads, .createMultipartUpload, .putObject,
            .deleteObjects:
            true
        case .headObject, .getObject, .deleteObject, .copyObject, .uploadPart, .uploadPartCopy, .abortMultipartUpload,
            .completeMultipartUpload, .listParts, .getObjectTagging, .putObjectTagging:
            false
        }
    }

    private static let kindsOfCodes: [String: Kind] = [
        "NoSuchKey": .notFound, "NoSuchVersion": .notFound, "NoSuchUpload": .notFound,
        "NoSuchBucket": .bucketNotFound,
        "PreconditionFailed": .preconditionFailed, "ConditionalRequestConflict": .preconditionFailed,
        "InvalidRange": .invalidRange,
        "AccessDenied": .accessDenied, "AllAccessDisabled": .accessDenied, "AccountProblem": .accessDenied,
        "InvalidPayer": .accessDenied, "NotSignedUp": .accessDenied, "UserSuspended": .accessDenied,
        "InvalidAccessKeyId": .badCredentials, "SignatureDoesNotMatch": .badCredentials,
        "InvalidToken": .badCredentials, "InvalidSecurity": .badCredentials, "MissingSecurityHeader": .badCredentials,
        "AuthorizationHeaderMalformed": .badCredentials, "CredentialsNotSupported": .badCredentials,
        "RequestTimeTooSkewed": .badCredentials, "InvalidClientTokenId": .badCredentials,
        "UnrecognizedClientException": .badCredentials, "InvalidAccessKey": .badCredentials,
        "ExpiredToken": .expiredCredentials, "ExpiredTokenException": .expiredCredentials,
        "TokenRefreshRequired": .expiredCredentials, "RequestExpired": .expiredCredentials,
        "InvalidObjectState": .archived,
        "EntityTooLarge": .tooLarge, "MetadataTooLarge": .tooLarge, "KeyTooLongError": .tooLarge,
        "KeyTooLong": .tooLarge, "RequestHeaderSectionTooLarge": .tooLarge, "MaxMessageLengthExceeded": .tooLarge,
        "QuotaExceeded": .quotaExceeded, "XMinioStorageFull": .quotaExceeded, "StorageFull": .quotaExceeded,
        "InsufficientCapacity": .quotaExceeded,
        "SlowDown": .throttled, "SlowDownRead": .throttled, "SlowDownWrite": .throttled, "Throttling": .throttled,
        "ThrottlingException": .throttled, "TooManyRequests": .throttled, "RequestLimitExceeded": .throttled,
        "BandwidthLimitExceeded": .throttled, "ServiceUnavailable": .throttled, "OperationAborted": .throttled,
        "InternalError": .serverFault,
        "RequestTimeout": .timedOut,
        "NotImplemented": .unsupported, "MethodNotAllowed": .unsupported,
        "BadDigest": .sourceFailed, "XAmzContentSHA256Mismatch": .sourceFailed, "IncompleteBody": .sourceFailed,
    ]
}

extension RetryPolicy.Failure {
    /// Nil when asking again would give the same answer.
    init?(_ refusal: S3ErrorResponse, operation: S3Operation) {
        let retryAfter = refusal.retryAfterSeconds.map { UInt64(min($0, 3600)) * 1_000_000_000 }
        switch refusal.code {
        // Another write to the same key was under way; the body was damaged between here and there.
        case "ConditionalRequestConflict", "BadDigest", "XAmzContentSHA256Mismatch", "IncompleteBody":
            self = .transient
            return
        default: break
        }
        switch StoreError.kind(status: refusal.status, code: refusal.code, operation: operation) {
        case .throttled: self = .throttled(retryAfterNanoseconds: retryAfter)
        case .serverFault, .timedOut:
            self = retryAfter == nil ? .transient : .throttled(retryAfterNanoseconds: retryAfter)
        case .notFound, .bucketNotFound, .preconditionFailed, .invalidRange, .accessDenied, .badCredentials,
            .expiredCredentials, .archived, .tooLarge, .quotaExceeded, .unreachable, .unsupported, .invalidRequest,
            .malformedResponse, .sourceFailed, .cancelled:
            return nil
        }
    }

    init?(_ error: HTTPError) {
        switch error.kind {
        case .resolve, .connect, .tls, .timedOut(.connect): self = .unreachable
        case .timedOut(.stall), .timedOut(.slow), .timedOut(.total), .sendFailed, .receiveFailed, .malformedResponse,
            .other:
            self = .transient
        case .bodySourceFailed, .responseTooLarge, .invalidRequest, .cancelled, .shutDown: return nil
        }
    }
}

extension StoreError {
    /// Why a request could not be signed.
    init(_ error: CredentialError, operation: S3Operation, key: ObjectKey?) {
        let kind: Kind =
            switch error.kind {
            case .notFound, .unreadable, .malformed: .badCredentials
            case .expired: .expiredCredentials
            case .unreachable: .unreachable
            case .cancelled: .cancelled
            }
        self.init(kind, operation: operation.rawValue, key: key, message: error.message)
    }

    /// An answer of success that makes no sense.
    init(_ error: AnswerError, _ answer: S3Answer, operation: S3Operation, key: ObjectKey?) {
        self.init(
            .malformedResponse, operation: operation.rawValue, key: key, httpStatus: answer.status,
            requestID: answer.headers["x-amz-request-id"], message: error.description)
    }
}
