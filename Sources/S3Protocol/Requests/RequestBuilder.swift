// Builds requests from typed inputs: the bucket, and what reads.

public import Base
public import ObjectModel

/// Makes the requests of one bucket. Pure.
public struct RequestBuilder: Sendable {
    public let bucket: String
    public let options: RequestOptions

    public init(bucket: String, options: RequestOptions = RequestOptions()) {
        self.bucket = bucket
        self.options = options
    }

    public func headBucket() -> S3Request { request(.headBucket, .head, key: nil) }

    public func getBucketLocation() -> S3Request {
        request(.getBucketLocation, .get, key: nil, query: [("location", "")])
    }

    /// - Parameter entryCountMax: 1...1,000.
    public func listObjectsV2(
        prefix: ByteString, delimiter: String? = nil, continuation: String? = nil, startAfter: ObjectKey? = nil,
        entryCountMax: Int = 1000
    ) -> S3Request {
        var query: [(name: String, value: String)] = [
            ("list-type", "2"), ("encoding-type", "url"), ("max-keys", String(entryCountMax)),
        ]
        query.append(("prefix", prefix.string))
        if let delimiter { query.append(("delimiter", delimiter)) }
        if let continuation { query.append(("continuation-token", continuation)) }
        if let startAfter { query.append(("start-after", startAfter.string)) }
        return request(.listObjectsV2, .get, key: nil, query: query)
    }

    public func headObject(_ key: ObjectKey, ifMatch: ETag? = nil) -> S3Request {
        var request = request(.headObject, .head, key: key)
        if let ifMatch { request.headers["If-Match"] = ifMatch.quoted }
        options.applyCustomerKey(to: &request.headers)
        return request
    }

    /// - Parameter range: not empty; nil is the whole object.
    public func getObject(_ key: ObjectKey, range: ByteRange? = nil, ifMatch: ETag? = nil) -> S3Request {
        var request = request(.getObject, .get, key: key)
        if let range { request.headers["Range"] = "bytes=\(range.lowerBound)-\(range.upperBound - 1)" }
        if let ifMatch { request.headers["If-Match"] = ifMatch.quoted }
        options.applyCustomerKey(to: &request.headers)
        return request
    }

    func request(
        _ operation: S3Operation, _ method: S3Method, key: ObjectKey?, query: [(name: String, value: String)] = []
    ) -> S3Request {
        var request = S3Request(operation, method, bucket: bucket, key: key, query: query)
        options.applyCommon(to: &request.headers)
        return request
    }
}
