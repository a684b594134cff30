// What a test can ask about the requests that a `MemoryStore` got.

public import ObjectModel
public import ObjectStore

/// One request, in the order of arrival.
public struct RequestRecord: Sendable, Equatable {
    public var operation: StoreOperation
    /// The object; for a listing, nil.
    public var key: ObjectKey?
    /// The prefix of a listing.
    public var prefix: String?
    /// The range of a GET or of the source of an UploadPartCopy.
    public var range: ByteRange?
    /// The If-Match that a GET, PUT, copy or completion carried.
    public var ifMatch: ETag?
    /// Whether `If-None-Match: *` was carried.
    public var ifAbsent = false
    public var partNumber: Int?
    /// How many keys a DeleteObjects named.
    public var keyCount: Int?
    /// Body bytes that the client sent.
    public var bytesSent = 0
    /// Body bytes that the client received.
    public var bytesReceived = 0
    /// Nil while the request runs.
    public var outcome: Outcome?

    public enum Outcome: Sendable, Equatable {
        case succeeded
        case failed(StoreError.Kind)
    }

    public init(_ operation: StoreOperation, key: ObjectKey? = nil) {
        self.operation = operation
        self.key = key
    }
}

/// The requests since the last reset: a value, so that a test compares it before and after.
public struct RequestCounts: Sendable, Equatable, CustomStringConvertible {
    public internal(set) var byOperation: [StoreOperation: Int] = [:]
    /// Requests that ended with an error, injected or not.
    public internal(set) var failedCount = 0
    /// Body bytes from client to store.
    public internal(set) var bytesSent = 0
    /// Body bytes from store to client.
    public internal(set) var bytesReceived = 0
    /// The most requests that ran at once.
    public internal(set) var inFlightPeak = 0

    public init() {}

    public subscript(operation: StoreOperation) -> Int { byOperation[operation] ?? 0 }

    /// All requests.
    public var total: Int { byOperation.values.reduce(0, +) }

    /// `GetObject 2, HeadObject 1; sent 0 B, received 8192 B`.
    public var description: String {
        let parts = byOperation.sorted { $0.key.rawValue < $1.key.rawValue }.map { "\($0.key) \($0.value)" }
        return parts.joined(separator: ", ") + "; sent \(bytesSent) B, received \(bytesReceived) B"
    }
}
