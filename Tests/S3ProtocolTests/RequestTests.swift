// Endpoints, targets and the header fields of each request.

import Base
import ObjectModel
import Testing

@testable import S3Protocol

@Suite(.timeLimit(.minutes(3)))
struct EndpointTests {
    @Test(arguments: [
        ("https://s3.eu-west-1.amazonaws.com", "https://s3.eu-west-1.amazonaws.com", "eu-west-1", true),
        ("https://S3.amazonaws.com:443/", "https://s3.amazonaws.com", nil, true),
        ("http://127.0.0.1:9000", "http://127.0.0.1:9000", nil, false),
        ("http://[::1]:9000", "http://[::1]:9000", nil, false),
        ("http://my_host:80", "http://my_host", nil, false),
        ("https://gate.example/s3/v1//", "https://gate.example/s3/v1", nil, false),
        (
            "https://s3.dualstack.us-west-2.amazonaws.com", "https://s3.dualstack.us-west-2.amazonaws.com", "us-west-2",
            true
        ),
        (
            "https://s3-fips.us-gov-west-1.amazonaws.com", "https://s3-fips.us-gov-west-1.amazonaws.com",
            "us-gov-west-1", true
        ),
        ("https://s3-eu-west-1.amazonaws.com", "https://s3-eu-west-1.amazonaws.com", "eu-west-1", true),
        ("https://s3.cn-north-1.amazonaws.com.cn", "https://s3.cn-north-1.amazonaws.com.cn", "cn-north-1", true),
        (
            "https://bucket.vpce-1.s3.us-east-1.vpce.amazonaws.com",
            "https://bucket.vpce-1.s3.us-east-1.vpce.amazonaws.com", nil, true
        ),
        ("https://amazonaws.com.evil.example", "https://amazonaws.com.evil.example", nil, false),
    ])
    func parsing(_ text: String, _ spelled: String, _ region: String?, _ isAWS: Bool) throws {
        let endpoint = try Endpoint(parsing: text)
        #expect(endpoint.description == spelled)
        #expect(endpoint.region == region)
        #expect(endpoint.isAWS == isAWS)
    }

    @Test(arguments: [
        "", "s3.example.com", "ftp://h", "http://", "http://:80", "http://h:0", "http://h:65536", "http://h:x",
        "http://u@h", "http://h/?q", "http://h#f", "http://a b", "http://[::1", "http://[::1]x", "http://a..b",
        "http://h/ä",
    ])
    func refusals(_ text: String) {
        #expect(throws: EndpointError.self) { try Endpoint(parsing: text) }
    }

    @Test func movesToAnotherRegion() throws {
        let table = [
            ("https://s3.amazonaws.com", "https://s3.eu-west-1.amazonaws.com"),
            ("https://s3.dualstack.us-west-2.amazonaws.com", "https://s3.dualstack.eu-west-1.amazonaws.com"),
            ("https://s3-fips.us-west-2.amazonaws.com", "https://s3-fips.eu-west-1.amazonaws.com"),
            ("http://127.0.0.1:9000", "http://127.0.0.1:9000"),
        ]
        for (from, to) in table {
            #expect(try Endpoint(parsing: from).inRegion("eu-west-1").description == to)
        }
        #expect(Endpoint.aws(region: "cn-north-1").host == "s3.cn-north-1.amazonaws.com.cn")
    }

    @Test(arguments: [
        (
            "https://s3.us-east-1.amazonaws.com", "good-bucket", AddressingStyle.auto,
            "https://good-bucket.s3.us-east-1.amazonaws.com/a%20b"
        ),
        (
            "https://s3.us-east-1.amazonaws.com", "dotted.bucket", .auto,
            "https://s3.us-east-1.amazonaws.com/dotted.bucket/a%20b"
        ),
        (
            "http://s3.us-east-1.amazonaws.com", "dotted.bucket", .auto,
            "http://dotted.bucket.s3.us-east-1.amazonaws.com/a%20b"
        ),
        (
            "https://s3.us-east-1.amazonaws.com", "Upper_bucket", .auto,
            "https://s3.us-east-1.amazonaws.com/Upper_bucket/a%20b"
        ),
        (
            "https://s3.us-east-1.amazonaws.com", "good-bucket", .path,
            "https://s3.us-east-1.amazonaws.com/good-bucket/a%20b"
        ),
        ("http://127.0.0.1:9000", "good-bucket", .auto, "http://127.0.0.1:9000/good-bucket/a%20b"),
        ("http://s3.localhost:9000", "good-bucket", .virtual, "http://good-bucket.s3.localhost:9000/a%20b"),
        ("https://gate.example/s3", "good-bucket", .auto, "https://gate.example/s3/good-bucket/a%20b"),
    ])
    func addressing(_ endpoint: String, _ bucket: String, _ style: AddressingStyle, _ url: String) throws {
        let request = RequestBuilder(bucket: bucket).getObject(ObjectKey("a b")!)
        #expect(try Endpoint(parsing: endpoint).target(of: request, style: style).url == url)
    }

    @Test(arguments: [
        ("abc", true), ("ab", false), ("a.b", true), ("a..b", false), ("-ab", false), ("ab-", false), ("Abc", false),
        ("1.2.3.4", false), ("a_b", false), (String(repeating: "a", count: 64), false),
    ])
    func bucketNames(_ name: String, _ isSafe: Bool) {
        #expect(BucketName.isDNSLabelSafe(name) == isSafe)
    }
}

@Suite(.timeLimit(.minutes(3)))
struct RequestTests {
    let builder = RequestBuilder(bucket: "bucket")
    let key = ObjectKey("dir/a b+%.txt")!
    let etag = ETag("abc")!

    func query(_ request: S3Request) throws -> String {
        try Endpoint(parsing: "http://h").target(of: request, style: .path).query
    }

    @Test func list() throws {
        let request = builder.listObjectsV2(
            prefix: "p/\u{e9}", delimiter: "/", continuation: "t+/=", startAfter: ObjectKey("p/z"), entryCountMax: 7)
        #expect(
            try query(request)
                == "continuation-token=t%2B%2F%3D&delimiter=%2F&encoding-type=url&list-type=2&max-keys=7"
                + "&prefix=p%2F%C3%A9&start-after=p%2Fz")
        #expect(request.method == .get && request.key == nil)
    }

    @Test func reads() {
        let head = builder.headObject(key)
        #expect(head.method == .head && head.headers["If-Match"] == nil)
        let get = builder.getObject(key, range: ByteRange(10, 20), ifMatch: etag)
        #expect(get.headers["Range"] == "bytes=10-19")
        #expect(get.headers["If-Match"] == "\"abc\"")
    }

    @Test func putCarriesEverything() {
        var options = RequestOptions()
        options.storageClass = "STANDARD_IA"
        options.acl = "private"
        options.encryption = .kms(keyID: "k1", usesBucketKey: true)
        options.isRequesterPaying = true
        options.expectedBucketOwner = "123"
        var properties = ObjectProperties(metadata: ["mode": "33188", "note": "ä"], contentType: "text/plain")
        properties.cacheControl = "no-cache"
        let request = RequestBuilder(bucket: "bucket", options: options).putObject(
            key, properties: properties, condition: .ifMatch(etag), checksum: .md5(Digest.of([], .md5)))
        let expected = [
            "x-amz-storage-class": "STANDARD_IA", "x-amz-acl": "private", "x-amz-server-side-encryption": "aws:kms",
            "x-amz-server-side-encryption-aws-kms-key-id": "k1",
            "x-amz-server-side-encryption-bucket-key-enabled": "true", "x-amz-request-payer": "requester",
            "x-amz-expected-bucket-owner": "123", "x-amz-meta-mode": "33188",
            "x-amz-meta-note": "=?UTF-8?B?w6Q=?=", "Content-Type": "text/plain", "Cache-Control": "no-cache",
            "If-Match": "\"abc\"", "Content-MD5": "1B2M2Y8AsgTpgAmY7PhCfg==",
        ]
        for (name, value) in expected { #expect(request.headers[name] == value, "\(name)") }
        #expect(request.headers.fields.count == expected.count)
        properties.storageClass = "GLACIER_IR"
        let own = RequestBuilder(bucket: "bucket", options: options).putObject(key, properties: properties)
        #expect(own.headers["x-amz-storage-class"] == "GLACIER_IR")
    }

    @Test func conditions() {
        #expect(builder.putObject(key, condition: .ifAbsent).headers["If-None-Match"] == "*")
        #expect(builder.putObject(key, condition: .ifMatch(etag, isQuoted: false)).headers["If-Match"] == "abc")
        #expect(builder.putObject(key).headers["If-Match"] == nil)
    }

    @Test func customerKeyGoesWithReadsAndCopies() {
        var options = RequestOptions()
        options.encryption = .customerKey(CustomerKey([UInt8](repeating: 1, count: 32))!)
        let builder = RequestBuilder(bucket: "bucket", options: options)
        let name = "x-amz-server-side-encryption-customer-key"
        for request in [
            builder.headObject(key), builder.getObject(key), builder.putObject(key), builder.createMultipartUpload(key),
            builder.uploadPart("u", key: key, number: 1), builder.copyObject(from: key, to: key),
        ] {
            #expect(request.headers[name] == "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=", "\(request.operation)")
        }
        let copy = builder.uploadPartCopy("u", key: key, number: 1, from: key)
        #expect(copy.headers["x-amz-copy-source-server-side-encryption-customer-key"] != nil)
        #expect(builder.deleteObject(key).headers.fields.isEmpty)
    }

    @Test func copy() {
        let copy = builder.copyObject(from: key, sourceCondition: .ifMatch(etag), to: ObjectKey("x")!)
        #expect(copy.headers["x-amz-copy-source"] == "/bucket/dir/a%20b%2B%25.txt")
        #expect(copy.headers["x-amz-copy-source-if-match"] == "\"abc\"")
        #expect(copy.headers["x-amz-metadata-directive"] == "COPY")
        #expect(copy.headers["x-amz-storage-class"] == nil)
        let classed = builder.copyObject(from: key, to: ObjectKey("x")!, storageClass: "STANDARD_IA")
        #expect(classed.headers["x-amz-storage-class"] == "STANDARD_IA")
        let replacing = builder.copyObject(from: key, to: key, properties: ObjectProperties(metadata: ["a": "b"]))
        #expect(replacing.headers["x-amz-metadata-directive"] == "REPLACE")
        #expect(replacing.headers["x-amz-meta-a"] == "b")
    }

    @Test func multipart() throws {
        #expect(try query(builder.createMultipartUpload(key)) == "uploads=")
        #expect(try query(builder.uploadPart("u/1", key: key, number: 3)) == "partNumber=3&uploadId=u%2F1")
        let copy = builder.uploadPartCopy("u", key: key, number: 1, from: key, range: ByteRange(0, 5))
        #expect(copy.headers["x-amz-copy-source-range"] == "bytes=0-4")
        let complete = builder.completeMultipartUpload(
            "u", key: key, parts: [(1, etag), (2, ETag("d<e")!)], condition: .ifAbsent)
        #expect(
            String(decoding: complete.body, as: UTF8.self)
                == "<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">"
                + "<Part><PartNumber>1</PartNumber><ETag>&quot;abc&quot;</ETag></Part>"
                + "<Part><PartNumber>2</PartNumber><ETag>&quot;d&lt;e&quot;</ETag></Part></CompleteMultipartUpload>")
        #expect(complete.headers["If-None-Match"] == "*")
        #expect(try query(builder.listParts("u", key: key, after: 5)) == "part-number-marker=5&uploadId=u")
        #expect(
            try query(builder.listMultipartUploads(prefix: "p", marker: ("k", "u")))
                == "encoding-type=url&key-marker=k&prefix=p&upload-id-marker=u&uploads=")
    }

    @Test func deleteMany() {
        let request = builder.deleteObjects([ObjectKey("a&b")!, ObjectKey("e\u{301}")!])
        #expect(
            String(decoding: request.body, as: UTF8.self)
                == "<Delete xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Quiet>true</Quiet>"
                + "<Object><Key>a&amp;b</Key></Object><Object><Key>e\u{301}</Key></Object></Delete>")
        #expect(request.headers["Content-MD5"] == Base64.encode(Digest.of(request.body, .md5)))
        for (key, isFine) in [("a b", true), ("a\u{1}", false), ("a\r", false), ("a\u{ffff}", false), ("😀", true)] {
            #expect(RequestBuilder.isDeletableInBatch(ObjectKey(key)!) == isFine)
        }
    }
}
