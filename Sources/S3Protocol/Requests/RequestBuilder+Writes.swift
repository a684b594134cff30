// Requests that write, copy or remove whole objects.

internal import Base
public import ObjectModel

extension RequestBuilder {
    /// The body is streamed beside the request; `checksum` is of it.
    public func putObject(
        _ key: ObjectKey, properties: ObjectProperties = ObjectProperties(), condition: RequestCondition = .none,
        checksum: BodyChecksum? = nil
    ) -> S3Request {
        var request = request(.putObject, .put, key: key)
        apply(properties, to: &request.headers)
        options.applyWrite(to: &request.headers)
        condition.apply(to: &request.headers)
        checksum?.apply(to: &request.headers)
        return request
    }

    public func deleteObject(_ key: ObjectKey) -> S3Request { request(.deleteObject, .delete, key: key) }

    /// Removes up to 1,000 keys in quiet mode: the answer names only those that failed. Every key must satisfy
    /// `isDeletableInBatch`.
    public func deleteObjects(_ keys: [ObjectKey]) -> S3Request {
        precondition(keys.count <= 1000, "DeleteObjects takes 1,000 keys")
        var request = request(.deleteObjects, .post, key: nil, query: [("delete", "")])
        var xml = XMLText(root: "Delete")
        xml.add("Quiet", "true")
        for key in keys { xml.add("Object") { $0.add("Key", key.string) } }
        request.body = xml.finish()
        request.headers["Content-Type"] = "application/xml"
        BodyChecksum.md5(Digest.of(request.body, .md5)).apply(to: &request.headers)
        return request
    }

    /// Whether XML 1.0 can carry the key unchanged there and back.
    public static func isDeletableInBatch(_ key: ObjectKey) -> Bool {
        key.bytes.string.unicodeScalars.allSatisfy { scalar in
            switch scalar.value {
            case 0..<0x20, 0x7F...0x9F, 0x2028, 0x2029, 0xFFFE, 0xFFFF: false
            default: true
            }
        }
    }

    /// - Parameters:
    ///   - sourceCondition: `.ifMatch` pins the version; `.ifAbsent` makes no sense here.
    ///   - properties: replace those of the source; nil keeps them, but for the storage class.
    ///   - storageClass: of a copy that keeps the properties; nil is the default
    ///     (<https://docs.aws.amazon.com/AmazonS3/latest/API/API_CopyObject.html>).
    public func copyObject(
        from source: ObjectKey, sourceCondition: RequestCondition = .none, to destination: ObjectKey,
        properties: ObjectProperties? = nil, storageClass: String? = nil
    ) -> S3Request {
        var request = request(.copyObject, .put, key: destination)
        applySource(source, sourceCondition, to: &request.headers)
        request.headers["x-amz-metadata-directive"] = properties == nil ? "COPY" : "REPLACE"
        if let properties {
            apply(properties, to: &request.headers)
        } else {
            request.headers["x-amz-storage-class"] = storageClass
        }
        options.applyWrite(to: &request.headers)
        return request
    }

    func applySource(
        _ source: ObjectKey, _ condition: RequestCondition, to headers: inout HeaderFields, isEncodedTwice: Bool = false
    ) {
        let bucketPath = PercentEncoding.encodeQuery(bucket)
        let keyPath =
            isEncodedTwice
            ? PercentEncoding.encodeTwice(source.string) : PercentEncoding.encodePath(source.string)
        headers["x-amz-copy-source"] = "/\(bucketPath)/\(keyPath)"
        if case .ifMatch(let etag, let isQuoted) = condition {
            headers["x-amz-copy-source-if-match"] = isQuoted ? etag.quoted : etag.value
        }
        options.applySourceCustomerKey(to: &headers)
    }

    func apply(_ properties: ObjectProperties, to headers: inout HeaderFields) {
        for (name, value) in properties.metadata.sorted(by: { $0.key < $1.key }) {
            headers.fields.append(("x-amz-meta-\(name)", MetadataCoding.encode(value)))
        }
        headers["Content-Type"] = properties.contentType
        headers["Cache-Control"] = properties.cacheControl
        headers["Content-Encoding"] = properties.contentEncoding
        headers["Content-Disposition"] = properties.contentDisposition
        headers["Content-Language"] = properties.contentLanguage
        headers["x-amz-storage-class"] = properties.storageClass
    }
}
