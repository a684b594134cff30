// What can go wrong with a store, decided from status and error code, never from message text.

public import ObjectModel

/// A failed store call, final after all retries.
public struct StoreError: Error, Sendable, Equatable, CustomStringConvertible {
    /// The closed set that the layers above decide by.
    public enum Kind: Sendable, Equatable {
        /// The key (or upload) is not there: the store said so.
        case notFound
        /// The bucket is not there.
        case bucketNotFound
        /// If-Match or If-None-Match did not hold.
        case preconditionFailed
        /// The range begins at or beyond the end of the object.
        case invalidRange
        /// Signed, but not allowed.
        case accessDenied
        /// The key pair is unknown, the signature wrong, or there are no credentials.
        case badCredentials
        /// The session token or key has expired.
        case expiredCredentials
        /// The object is archived and must be restored first.
        case archived
        /// Larger than the store takes (object, part, metadata or key).
        case tooLarge
        /// No room or quota left in the store.
        case quotaExceeded
        /// 429, 503 SlowDown and the like, still so after all retries.
        case throttled
        /// 5xx, still so after all retries.
        case serverFault
        /// No answer in time, still so after all retries.
        case timedOut
        /// The name does not resolve, or nothing listens, or TLS failed.
        case unreachable
        /// The server does not know this request.
        case unsupported
        /// The request itself is wrong (400 and the like).
        case invalidRequest
        /// The server's answer breaks the protocol (short body, bad XML, wrong length or checksum).
        case malformedResponse
        /// The body's source could not be read, or changed while it was sent.
        case sourceFailed
        /// The task was cancelled.
        case cancelled
    }

    public var kind: Kind
    /// What was asked: `GetObject`, `ListObjectsV2`…
    public var operation: String
    public var key: ObjectKey?
    /// S3's error code, such as `NoSuchKey`, where the server gave one.
    public var code: String?
    public var httpStatus: Int?
    /// For the server's operator: `x-amz-request-id`.
    public var requestID: String?
    /// The server's or transport's words, for people only.
    public var message: String
    /// Of a request that writes: whether an attempt of it whose answer was lost may have taken effect, whatever the last
    /// attempt was told.
    public var mayHaveHappened = false
    /// Of `.sourceFailed`: what the local disk said, an errno, where that is why.
    public var localCode: Int32?

    public init(
        _ kind: Kind, operation: String, key: ObjectKey? = nil, code: String? = nil, httpStatus: Int? = nil,
        requestID: String? = nil, message: String = ""
    ) {
        self.kind = kind
        self.operation = operation
        self.key = key
        self.code = code
        self.httpStatus = httpStatus
        self.requestID = requestID
        self.message = message
    }

    /// The code of an answer that says that the multipart upload is not there: aborted, completed, or never begun.
    public static let noSuchUpload = "NoSuchUpload"

    /// Whether the store does not know, or has spoiled, the multipart upload that the request was for.
    public var isLostUpload: Bool { kind == .notFound && code == Self.noSuchUpload || code == "InvalidPart" }

    /// Whether the key has more bytes than the store takes.
    public var isOfLongKey: Bool { code == "KeyTooLongError" || code == "KeyTooLong" }

    /// Of a request that writes: whether it may have been done, or may still be.
    public var isOutcomeOpen: Bool {
        switch kind {
        case .timedOut, .cancelled, .unreachable, .serverFault, .malformedResponse: true
        default: mayHaveHappened
        }
    }

    /// One line for the log: operation, key, code, status, request id, message.
    public var description: String {
        var parts = [operation]
        if let key { parts.append("'\(key)'") }
        parts.append(code ?? "\(kind)")
        if let httpStatus { parts.append("(HTTP \(httpStatus))") }
        if !message.isEmpty { parts.append("- \(message)") }
        if let requestID { parts.append("[request \(requestID)]") }
        return parts.joined(separator: " ")
    }
}
