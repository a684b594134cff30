// The answer of ListObjectsV2 (<https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html>).

public import Base
public import ObjectModel

/// One page of a listing.
public struct ListAnswer: Sendable, Equatable {
    public var objects: [ListedObject] = []
    public var commonPrefixes: [ByteString] = []
    /// Nil on the last page.
    public var continuation: String?
    /// Entries left out because their key is no UTF-8 text of 1 to 1,024 bytes.
    public var unusableCount = 0

    public init(body: [UInt8]) throws(AnswerError) {
        // Whether keys are encoded may be said after them: decide at the end.
        var records: [XMLRecord] = []
        let document = try XMLDocument.parse(body, roots: ["ListBucketResult"]) { records.append($0) }
        let isEncoded = document["EncodingType"] == "url"
        // A wrong key is worse than none.
        if document.isMended, !isEncoded { throw .invalidField("Key") }
        func decode(_ text: String) -> String? { isEncoded ? PercentEncoding.decodeListed(text) : text }

        for record in records {
            switch record.name {
            case "Contents":
                guard let key = record["Key"].flatMap(decode).flatMap({ ObjectKey($0) }) else {
                    unusableCount += 1
                    continue
                }
                guard let byteCount = record["Size"].flatMap({ Int($0) }), byteCount >= 0 else {
                    throw .invalidField("Size")
                }
                guard let lastModified = record["LastModified"].flatMap({ Timestamp(iso8601: $0) }) else {
                    throw .invalidField("LastModified")
                }
                let etag = record["ETag"].flatMap { ETag($0) } ?? Self.unknownETag
                let storageClass = record["StorageClass"].flatMap { $0 == "STANDARD" || $0.isEmpty ? nil : $0 }
                let version = ObjectVersion(key: key, etag: etag, byteCount: byteCount)
                objects.append(ListedObject(version: version, lastModified: lastModified, storageClass: storageClass))
            case "CommonPrefixes":
                guard let prefix = record["Prefix"].flatMap(decode), prefix.utf8.count <= ObjectKey.byteCountMax else {
                    unusableCount += 1
                    continue
                }
                commonPrefixes.append(ByteString(prefix))
            default: break
            }
        }
        if document["IsTruncated"] == "true" {
            // Without it the listing would end early and look complete.
            guard let token = document["NextContinuationToken"], !token.isEmpty else {
                throw .invalidField("NextContinuationToken")
            }
            continuation = token
        }
    }

    /// Stands for an ETag that a listing leaves out. No object has it, so a read that is pinned to it finds the
    /// precondition failed and refreshes.
    public static let unknownETag = ETag("unknown")!
}
