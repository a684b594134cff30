// Decoding of answers, and of refusals.

import Base
import ObjectModel
import Testing

@testable import S3Protocol

@Suite(.timeLimit(.minutes(3)))
struct ResponseTests {
    static let list = """
        <?xml version="1.0" encoding="UTF-8"?>
        <ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>bucket</Name><Prefix>p%2F</Prefix>
        <KeyCount>3</KeyCount><MaxKeys>1000</MaxKeys><IsTruncated>true</IsTruncated>
        <NextContinuationToken>1+a/b==</NextContinuationToken>
        <Contents><Key>p%2Fa+b%2B.txt</Key><LastModified>2013-05-24T00:00:00.250Z</LastModified>
        <ETag>&quot;abc&quot;</ETag><Size>12</Size><Owner><ID>me</ID></Owner><StorageClass>STANDARD</StorageClass></Contents>
        <Contents><Key>p%2Fe%CC%81</Key><LastModified>2013-05-24T00:00:00Z</LastModified><Size>0</Size>
        <StorageClass>GLACIER</StorageClass></Contents>
        <Contents><Key>p%2F%C3%A9</Key><LastModified>2013-05-24T00:00:00Z</LastModified><ETag>x-2</ETag><Size>1</Size></Contents>
        <Contents><Key>%FF</Key><LastModified>2013-05-24T00:00:00Z</LastModified><Size>1</Size></Contents>
        <CommonPrefixes><Prefix>p%2Fd%0A%2F</Prefix></CommonPrefixes><EncodingType>url</EncodingType></ListBucketResult>
        """

    @Test func listPage() throws {
        let page = try ListAnswer(body: Array(Self.list.utf8))
        #expect(page.objects.map(\.key) == ["p/a b+.txt", "p/e\u{301}", "p/\u{e9}"].map { ObjectKey($0)! })
        #expect(Set(page.objects.map(\.key)).count == 3, "NFC and NFD spellings are two keys")
        #expect(page.objects[0].version.etag == ETag("abc"))
        #expect(page.objects[0].version.byteCount == 12)
        #expect(page.objects[0].lastModified == Timestamp(seconds: 1_369_353_600, nanoseconds: 250_000_000))
        #expect(page.objects[0].storageClass == nil)
        #expect(page.objects[1].storageClass == "GLACIER")
        #expect(page.objects[1].version.etag == ListAnswer.unknownETag)
        #expect(page.commonPrefixes == ["p/d\n/"])
        #expect(page.continuation == "1+a/b==")
        #expect(page.unusableCount == 1)
    }

    @Test func listWithoutEncoding() throws {
        let page = try ListAnswer(
            body: Array(
                """
                <s3:ListBucketResult xmlns:s3="x"><IsTruncated>false</IsTruncated><s3:Contents><Key>a%20+ &amp;&#x9;</Key>
                <LastModified>2013-05-24T00:00:00Z</LastModified><ETag>"e"</ETag><Size>1</Size></s3:Contents></s3:ListBucketResult>
                """.utf8))
        #expect(page.objects.map(\.key.string) == ["a%20+ &\t"])
        #expect(page.continuation == nil)
    }

    @Test(arguments: [
        ("", AnswerError.xml(.malformed(line: 1))),
        ("not xml", .xml(.malformed(line: 1))),
        ("<ListBucketResult>", .xml(.malformed(line: 1))),
        ("<html><body/></html>", .unexpectedRoot("html")),
        ("<Error><Code>NoSuchBucket</Code></Error>", .unexpectedRoot("Error")),
        (
            "<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>",
            .invalidField("NextContinuationToken")
        ),
        ("<ListBucketResult><Contents><Key>a</Key></Contents></ListBucketResult>", .invalidField("Size")),
        (
            "<ListBucketResult><Contents><Key>a</Key><Size>-1</Size></Contents></ListBucketResult>",
            .invalidField("Size")
        ),
        (
            "<ListBucketResult><Contents><Key>a</Key><Size>1</Size></Contents></ListBucketResult>",
            .invalidField("LastModified")
        ),
        (
            "<!DOCTYPE a [<!ENTITY x \"xxxxxxxxxx\"><!ENTITY y \"&x;&x;&x;\">]><ListBucketResult>&y;</ListBucketResult>",
            .xml(.hasDocumentType)
        ),
        (
            String(repeating: "<a>", count: 40) + String(repeating: "</a>", count: 40), .xml(.exceedsLimits)
        ),
        (
            "<ListBucketResult>\(String(repeating: "x", count: 2 << 20))</ListBucketResult>", .xml(.exceedsLimits)
        ),
    ])
    func brokenLists(_ body: String, _ error: AnswerError) {
        #expect(throws: error) { try ListAnswer(body: Array(body.utf8)) }
    }

    @Test func writeAnswers() throws {
        let copy = "\n <CopyObjectResult><LastModified>x</LastModified><ETag>&quot;e1&quot;</ETag></CopyObjectResult>"
        #expect(try WriteAnswers.copyETag(Array(copy.utf8)) == ETag("e1"))
        #expect(
            try WriteAnswers.copyETag(Array("<CopyPartResult><ETag>\"e2\"</ETag></CopyPartResult>".utf8)) == ETag("e2"))
        let created = "<InitiateMultipartUploadResult><UploadId>u1</UploadId></InitiateMultipartUploadResult>"
        #expect(try WriteAnswers.uploadID(Array(created.utf8)) == "u1")
        let complete = "<CompleteMultipartUploadResult><ETag>\"m-2\"</ETag></CompleteMultipartUploadResult>"
        #expect(try WriteAnswers.completeETag(Array(complete.utf8)) == ETag("m-2"))
        for (body, region) in [
            ("<LocationConstraint xmlns=\"x\"/>", "us-east-1"),
            ("<LocationConstraint>EU</LocationConstraint>", "eu-west-1"),
            ("<LocationConstraint>eu-central-1</LocationConstraint>", "eu-central-1"),
        ] {
            #expect(try WriteAnswers.region(Array(body.utf8)) == region)
        }
        let failures = try WriteAnswers.deleteFailures(
            Array(
                """
                <DeleteResult><Deleted><Key>a</Key></Deleted><Error><Key>b</Key><Code>AccessDenied</Code>
                <Message>no</Message></Error></DeleteResult>
                """.utf8))
        #expect(failures == [DeleteFailure(key: ObjectKey("b")!, code: "AccessDenied", message: "no")])
        #expect(throws: AnswerError.unexpectedRoot("Error")) { try WriteAnswers.copyETag(Array("<Error/>".utf8)) }
        #expect(throws: AnswerError.invalidField("ETag")) {
            try WriteAnswers.completeETag(Array("<CompleteMultipartUploadResult/>".utf8))
        }
    }

    @Test(arguments: ["a\u{1}b", "a&#x1;b", "a&#1F;b", "a&#xFFFE;b", "a\u{ffff}b", "&#0;", "&#x1", "&", "&#"])
    func keysThatXMLCannotCarry(_ key: String) throws {
        let created =
            "<InitiateMultipartUploadResult><Key>\(key)</Key><UploadId>u</UploadId></InitiateMultipartUploadResult>"
        let isReference = key.hasPrefix("&") && key != "&#0;" || key == "a&#1F;b"
        let id = try? WriteAnswers.uploadID(Array(created.utf8))
        #expect(id == (isReference ? nil : "u"))
        let listed = """
            <ListBucketResult><Contents><Key>\(key)</Key><Size>1</Size><LastModified>2013-05-24T00:00:00Z</LastModified>
            </Contents></ListBucketResult>
            """
        #expect(throws: AnswerError.self, "a mended key is no key") { try ListAnswer(body: Array(listed.utf8)) }
    }

    @Test func partsAndUploads() throws {
        let parts = try PartsAnswer(
            body: Array(
                """
                <ListPartsResult><IsTruncated>true</IsTruncated><NextPartNumberMarker>2</NextPartNumberMarker>
                <Part><PartNumber>1</PartNumber><ETag>"a"</ETag><Size>5</Size></Part>
                <Part><PartNumber>2</PartNumber><ETag>"b"</ETag><Size>6</Size></Part></ListPartsResult>
                """.utf8))
        #expect(
            parts.parts.map(\.number) == [1, 2] && parts.parts.map(\.byteCount) == [5, 6] && parts.nextMarker == 2)
        #expect(throws: AnswerError.invalidField("Part")) {
            try PartsAnswer(
                body: Array("<ListPartsResult><Part><PartNumber>0</PartNumber></Part></ListPartsResult>".utf8))
        }
        let uploads = try UploadsAnswer(
            body: Array(
                """
                <ListMultipartUploadsResult><EncodingType>url</EncodingType><IsTruncated>false</IsTruncated><Upload>
                <Key>a%20b</Key><UploadId>u</UploadId><Initiated>2013-05-24T00:00:00Z</Initiated></Upload>
                </ListMultipartUploadsResult>
                """.utf8))
        #expect(uploads.uploads.map(\.key.string) == ["a b"])
        #expect(uploads.uploads[0].initiated == Timestamp(seconds: 1_369_353_600))
    }

    @Test func refusals() {
        let headers = HeaderFields([
            ("X-Amz-Request-Id", "r1"), ("date", "Fri, 24 May 2013 00:00:00 GMT"), ("Retry-After", "7"),
        ])
        let body = """
            <Error><Code>AuthorizationHeaderMalformed</Code><Message>wrong region</Message><Region>eu-west-1</Region></Error>
            """
        let error = S3ErrorResponse(status: 400, headers: headers, body: Array(body.utf8))
        #expect(error.code == "AuthorizationHeaderMalformed" && error.message == "wrong region")
        #expect(error.region == "eu-west-1" && error.requestID == "r1" && error.retryAfterSeconds == 7)
        #expect(error.serverTime == Timestamp(seconds: 1_369_353_600))
        for junk in ["", "<html>502</html>", "<Error><Code>", "\u{0}\u{1}"] {
            let error = S3ErrorResponse(status: 502, headers: HeaderFields(), body: Array(junk.utf8))
            #expect(error == S3ErrorResponse(status: 502))
        }
        let dated = HeaderFields([
            ("Date", "Fri, 24 May 2013 00:00:00 GMT"), ("Retry-After", "Fri, 24 May 2013 00:01:30 GMT"),
        ])
        #expect(S3ErrorResponse(status: 503, headers: dated, body: []).retryAfterSeconds == 90)
    }

    @Test func errorInsideSuccess() {
        let body = Array("  <?xml version=\"1.0\"?>\n   <Error><Code>InternalError</Code></Error>".utf8)
        #expect(S3ErrorResponse.inside(body, headers: HeaderFields())?.code == "InternalError")
        #expect(S3ErrorResponse.inside(Array("<CopyObjectResult/>".utf8), headers: HeaderFields()) == nil)
    }

    @Test func objectHeaders() throws {
        let key = ObjectKey("k")!
        let headers = HeaderFields([
            ("ETag", "\"abc\""), ("Content-Length", "10"), ("Last-Modified", "Fri, 24 May 2013 00:00:00 GMT"),
            ("X-Amz-Meta-Mode", "33188"), ("x-amz-meta-note", "=?UTF-8?Q?=C3=A4?="), ("Content-Type", "text/plain"),
            ("Content-Encoding", "aws-chunked, gzip"), ("x-amz-storage-class", "STANDARD"),
        ])
        let info = try ObjectInfo(key, headers: headers)
        #expect(info.version == ObjectVersion(key: key, etag: ETag("abc")!, byteCount: 10))
        #expect(info.properties.metadata == ["mode": "33188", "note": "ä"])
        #expect(info.properties.contentEncoding == "gzip" && info.properties.storageClass == nil)
        var partial = headers
        partial["Content-Range"] = "bytes 0-9/1000"
        #expect(try ObjectInfo(key, headers: partial).version.byteCount == 1000)
        for (name, value) in [("ETag", nil), ("Content-Length", "-1"), ("Last-Modified", "yesterday")] {
            var broken = headers
            broken[name] = value
            #expect(throws: AnswerError.invalidField(name)) { try ObjectInfo(key, headers: broken) }
        }
    }

    @Test(arguments: [
        ("bytes 0-0/1", 0, 1, 1), ("Bytes 5-9/*", 5, 10, nil), ("bytes 10-19/20", 10, 20, 20),
    ])
    func contentRange(_ text: String, _ lower: Int, _ upper: Int, _ total: Int?) throws {
        let range = try #require(ContentRange(text))
        #expect(range.range == ByteRange(lower, upper) && range.total == total)
    }

    @Test(arguments: [
        "", "bytes", "bytes */10", "bytes 5-4/10", "bytes 0-9/9", "bytes 0-9", "bytes -1-5/10", "bytes a-b/c",
        "bytes 0-9223372036854775807/9223372036854775807", "items 0-1/2", "bytes 0-1/2/3",
    ])
    func badContentRanges(_ text: String) {
        #expect(ContentRange(text) == nil)
    }
}
