// Requests for the tags of objects (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-tagging.html>).

internal import Base
public import ObjectModel

extension RequestBuilder {
    public func getObjectTagging(_ key: ObjectKey) -> S3Request {
        request(.getObjectTagging, .get, key: key, query: [("tagging", "")])
    }

    /// Replaces all tags.
    public func putObjectTagging(_ key: ObjectKey, tags: [ObjectTag]) -> S3Request {
        var request = request(.putObjectTagging, .put, key: key, query: [("tagging", "")])
        var xml = XMLText(root: "Tagging")
        xml.add("TagSet") { set in
            for tag in tags {
                set.add("Tag") {
                    $0.add("Key", tag.key)
                    $0.add("Value", tag.value)
                }
            }
        }
        request.body = xml.finish()
        request.headers["Content-Type"] = "application/xml"
        BodyChecksum.md5(Digest.of(request.body, .md5)).apply(to: &request.headers)
        return request
    }
}
