// Requests of multipart uploads (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/mpuoverview.html>).

public import Base
public import ObjectModel

extension RequestBuilder {
    /// - Parameter checksumAlgorithm: such as `CRC64NVME`, where parts are to carry that checksum; nil for Content-MD5.
    public func createMultipartUpload(
        _ key: ObjectKey, properties: ObjectProperties = ObjectProperties(), checksumAlgorithm: String? = nil
    ) -> S3Request {
        var request = request(.createMultipartUpload, .post, key: key, query: [("uploads", "")])
        apply(properties, to: &request.headers)
        options.applyWrite(to: &request.headers)
        request.headers["x-amz-checksum-algorithm"] = checksumAlgorithm
        return request
    }

    /// The body is streamed beside the request; `checksum` is of it.
    public func uploadPart(
        _ uploadID: String, key: ObjectKey, number: Int, checksum: BodyChecksum? = nil
    ) -> S3Request {
        var request = request(.uploadPart, .put, key: key, query: partQuery(uploadID, number))
        options.applyCustomerKey(to: &request.headers)
        checksum?.apply(to: &request.headers)
        return request
    }

    /// - Parameters:
    ///   - range: of the source, not empty; nil is all of it.
    ///   - isSourceEncodedTwice: for a server that decodes the source's name twice.
    public func uploadPartCopy(
        _ uploadID: String, key: ObjectKey, number: Int, from source: ObjectKey,
        sourceCondition: RequestCondition = .none, range: ByteRange? = nil, isSourceEncodedTwice: Bool = false
    ) -> S3Request {
        var request = request(.uploadPartCopy, .put, key: key, query: partQuery(uploadID, number))
        applySource(source, sourceCondition, to: &request.headers, isEncodedTwice: isSourceEncodedTwice)
        if let range {
            request.headers["x-amz-copy-source-range"] = "bytes=\(range.lowerBound)-\(range.upperBound - 1)"
        }
        options.applyCustomerKey(to: &request.headers)
        return request
    }

    /// - Parameter parts: in the order of the object.
    public func completeMultipartUpload(
        _ uploadID: String, key: ObjectKey, parts: [(number: Int, etag: ETag)], condition: RequestCondition = .none
    ) -> S3Request {
        var request = request(.completeMultipartUpload, .post, key: key, query: [("uploadId", uploadID)])
        var xml = XMLText(root: "CompleteMultipartUpload")
        for part in parts {
            xml.add("Part") {
                $0.add("PartNumber", String(part.number))
                $0.add("ETag", part.etag.quoted)
            }
        }
        request.body = xml.finish()
        request.headers["Content-Type"] = "application/xml"
        condition.apply(to: &request.headers)
        options.applyCustomerKey(to: &request.headers)
        return request
    }

    public func abortMultipartUpload(_ uploadID: String, key: ObjectKey) -> S3Request {
        request(.abortMultipartUpload, .delete, key: key, query: [("uploadId", uploadID)])
    }

    /// - Parameter after: the part number after which the page begins; nil for the first page.
    public func listParts(_ uploadID: String, key: ObjectKey, after: Int? = nil) -> S3Request {
        var request = request(.listParts, .get, key: key, query: [("uploadId", uploadID)])
        if let after { request.query.append(("part-number-marker", String(after))) }
        options.applyCustomerKey(to: &request.headers)
        return request
    }

    /// - Parameter marker: of an earlier page; nil for the first.
    public func listMultipartUploads(
        prefix: ByteString, marker: (key: ByteString, uploadID: String)? = nil
    ) -> S3Request {
        var query: [(name: String, value: String)] = [
            ("uploads", ""), ("encoding-type", "url"), ("prefix", prefix.string),
        ]
        if let marker {
            query.append(("key-marker", marker.key.string))
            query.append(("upload-id-marker", marker.uploadID))
        }
        return request(.listMultipartUploads, .get, key: nil, query: query)
    }

    private func partQuery(_ uploadID: String, _ number: Int) -> [(name: String, value: String)] {
        precondition((1...10_000).contains(number), "part numbers are 1...10,000")
        return [("partNumber", String(number)), ("uploadId", uploadID)]
    }
}
