// The XML answers of copies, multipart uploads and removals.

public import Base
public import ObjectModel

/// Decoders of the bodies of successful answers.
public enum WriteAnswers {
    /// The ETag that CopyObject or UploadPartCopy gives.
    public static func copyETag(_ body: [UInt8]) throws(AnswerError) -> ETag {
        let document = try XMLDocument.parse(body, roots: ["CopyObjectResult", "CopyPartResult"])
        guard let etag = document["ETag"].flatMap({ ETag($0) }) else { throw .invalidField("ETag") }
        return etag
    }

    /// The upload ID that CreateMultipartUpload gives.
    public static func uploadID(_ body: [UInt8]) throws(AnswerError) -> String {
        let document = try XMLDocument.parse(body, roots: ["InitiateMultipartUploadResult"])
        guard let id = document["UploadId"], !id.isEmpty else { throw .invalidField("UploadId") }
        return id
    }

    /// The ETag that CompleteMultipartUpload gives.
    public static func completeETag(_ body: [UInt8]) throws(AnswerError) -> ETag {
        let document = try XMLDocument.parse(body, roots: ["CompleteMultipartUploadResult"])
        guard let etag = document["ETag"].flatMap({ ETag($0) }) else { throw .invalidField("ETag") }
        return etag
    }

    /// The region that GetBucketLocation gives, by its present name.
    public static func region(_ body: [UInt8]) throws(AnswerError) -> String {
        let document = try XMLDocument.parse(body, roots: ["LocationConstraint"])
        switch document.text {
        case "": return "us-east-1"
        case "EU": return "eu-west-1"
        default: return document.text
        }
    }

    /// The tags that GetObjectTagging gives.
    public static func tags(_ body: [UInt8]) throws(AnswerError) -> [ObjectTag] {
        var tags: [ObjectTag] = []
        var isComplete = true
        let document = try XMLDocument.parse(body, roots: ["Tagging"], wrapper: "TagSet") { record in
            guard record.name == "Tag" else { return }
            guard let key = record["Key"], !key.isEmpty else {
                isComplete = false
                return
            }
            tags.append(ObjectTag(key: key, value: record["Value"] ?? ""))
        }
        guard isComplete, !document.isMended else { throw .invalidField("Tag") }
        return tags
    }

    /// The keys that DeleteObjects could not remove.
    public static func deleteFailures(_ body: [UInt8]) throws(AnswerError) -> [DeleteFailure] {
        var failures: [DeleteFailure] = []
        var isComplete = true
        let document = try XMLDocument.parse(body, roots: ["DeleteResult", "DeleteObjectsResult"]) { record in
            guard record.name == "Error" else { return }
            guard let key = record["Key"].flatMap({ ObjectKey($0) }) else {
                isComplete = false
                return
            }
            failures.append(DeleteFailure(key: key, code: record["Code"] ?? "", message: record["Message"] ?? ""))
        }
        guard isComplete, failures.isEmpty || !document.isMended else { throw .invalidField("Key") }
        return failures
    }
}

/// A key that DeleteObjects could not remove.
public struct DeleteFailure: Sendable, Equatable {
    public let key: ObjectKey
    public let code: String
    public let message: String
}

/// A page of ListParts.
public struct PartsAnswer: Sendable, Equatable {
    public struct Part: Sendable, Equatable {
        public let number: Int
        public let etag: ETag
        public let byteCount: Int
    }

    public var parts: [Part] = []
    /// Where the next page begins; nil on the last one.
    public var nextMarker: Int?

    public init(body: [UInt8]) throws(AnswerError) {
        var parts: [Part] = []
        var badField: String?
        let document = try XMLDocument.parse(body, roots: ["ListPartsResult"]) { record in
            guard record.name == "Part" else { return }
            guard let number = record["PartNumber"].flatMap({ Int($0) }), (1...10_000).contains(number),
                let etag = record["ETag"].flatMap({ ETag($0) }), let size = record["Size"].flatMap({ Int($0) }),
                size >= 0
            else {
                badField = "Part"
                return
            }
            parts.append(Part(number: number, etag: etag, byteCount: size))
        }
        if let badField { throw .invalidField(badField) }
        self.parts = parts
        if document["IsTruncated"] == "true" {
            guard let marker = document["NextPartNumberMarker"].flatMap({ Int($0) }) else {
                throw .invalidField("NextPartNumberMarker")
            }
            nextMarker = marker
        }
    }
}

/// A page of ListMultipartUploads.
public struct UploadsAnswer: Sendable, Equatable {
    public struct Upload: Sendable, Equatable {
        public let key: ObjectKey
        public let uploadID: String
        public let initiated: Timestamp?
    }

    public var uploads: [Upload] = []
    /// Whether pages follow, and where the next begins.
    public var isTruncated = false
    public var nextKeyMarker: ByteString?
    public var nextUploadIDMarker: String?

    public init(body: [UInt8]) throws(AnswerError) {
        var records: [XMLRecord] = []
        let document = try XMLDocument.parse(body, roots: ["ListMultipartUploadsResult"]) { records.append($0) }
        let isEncoded = document["EncodingType"] == "url"
        func decode(_ text: String) -> String? { isEncoded ? PercentEncoding.decodeListed(text) : text }
        for record in records where record.name == "Upload" {
            guard let key = record["Key"].flatMap(decode).flatMap({ ObjectKey($0) }),
                let id = record["UploadId"], !id.isEmpty
            else { continue }
            let initiated = record["Initiated"].flatMap { Timestamp(iso8601: $0) }
            uploads.append(Upload(key: key, uploadID: id, initiated: initiated))
        }
        isTruncated = document["IsTruncated"] == "true"
        nextKeyMarker = document["NextKeyMarker"].flatMap(decode).map { ByteString($0) }
        nextUploadIDMarker = document["NextUploadIdMarker"]
    }
}
