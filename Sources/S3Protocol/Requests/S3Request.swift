// A request before it has a host and a signature.

public import ObjectModel

/// What to ask of a bucket: independent of endpoint, addressing style, credentials and time.
public struct S3Request: Sendable {
    public var operation: S3Operation
    public var method: S3Method
    public var bucket: String
    /// Nil addresses the bucket itself.
    public var key: ObjectKey?
    /// Names and values before encoding, in any order; a value of "" is sent as `name=`.
    public var query: [(name: String, value: String)]
    /// All of them are signed, except those that the signer names.
    public var headers: HeaderFields
    /// The XML body of POST requests. Bodies of objects and parts are not here: they are streamed.
    public var body: [UInt8]

    public init(
        _ operation: S3Operation, _ method: S3Method, bucket: String, key: ObjectKey? = nil,
        query: [(name: String, value: String)] = [], headers: HeaderFields = HeaderFields(), body: [UInt8] = []
    ) {
        self.operation = operation
        self.method = method
        self.bucket = bucket
        self.key = key
        self.query = query
        self.headers = headers
        self.body = body
    }
}

/// Where a request goes, in its final spelling: what is sent is what is signed.
public struct RequestTarget: Sendable, Equatable {
    /// The value of `Host`: with the port, unless it is the scheme's own.
    public let host: String
    /// Percent-encoded once, never normalised; begins with `/`.
    public let path: String
    /// Sorted and encoded, without the question mark; may be empty.
    public let query: String
    /// The whole URL.
    public let url: String

    init(scheme: Endpoint.Scheme, host: String, path: String, query: [(name: String, value: String)]) {
        self.host = host
        self.path = path
        let encoded = query.map { (PercentEncoding.encodeQuery($0.name), PercentEncoding.encodeQuery($0.value)) }
        self.query =
            encoded.sorted { left, right in
                left.0 == right.0
                    ? left.1.utf8.lexicographicallyPrecedes(right.1.utf8)
                    : left.0.utf8.lexicographicallyPrecedes(right.0.utf8)
            }
            .map { "\($0)=\($1)" }.joined(separator: "&")
        url = "\(scheme.rawValue)://\(host)\(path)" + (self.query.isEmpty ? "" : "?\(self.query)")
    }
}
