// Golden signatures: AWS's published examples, and odd keys signed by an independent implementation (botocore).

import Base
import ObjectModel
import Testing

@testable import S3Protocol

@Suite(.timeLimit(.minutes(3)))
struct SignatureTests {
    struct Example: Sendable {
        var title: String
        var request: S3Request
        var payload: PayloadHash = .empty
        var signedHeaders: String
        var signature: String
    }

    /// <https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html>, "Examples: Signature Calculations".
    static let published: [Example] = [
        Example(
            title: "GET object with range",
            request: S3Request(
                .getObject, .get, bucket: "examplebucket", key: ObjectKey("test.txt"),
                headers: HeaderFields([("Range", "bytes=0-9")])),
            signedHeaders: "host;range;x-amz-content-sha256;x-amz-date",
            signature: "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"),
        Example(
            title: "PUT object with storage class",
            request: S3Request(
                .putObject, .put, bucket: "examplebucket", key: ObjectKey("test$file.text"),
                headers: HeaderFields([
                    ("Date", "Fri, 24 May 2013 00:00:00 GMT"), ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
                ])),
            payload: .of(Array("Welcome to Amazon S3.".utf8)),
            signedHeaders: "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class",
            signature: "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"),
        Example(
            title: "GET bucket lifecycle",
            request: S3Request(.headBucket, .get, bucket: "examplebucket", query: [("lifecycle", "")]),
            signedHeaders: "host;x-amz-content-sha256;x-amz-date",
            signature: "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"),
        Example(
            title: "list objects",
            request: S3Request(
                .listObjectsV2, .get, bucket: "examplebucket", query: [("prefix", "J"), ("max-keys", "2")]),
            signedHeaders: "host;x-amz-content-sha256;x-amz-date",
            signature: "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"),
    ]

    @Test(arguments: published)
    func publishedExamples(_ example: Example) throws {
        let credentials = AWSCredentials(
            accessKeyID: "AKIAIOSFODNN7EXAMPLE", secretAccessKey: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
        let target = try Endpoint(parsing: "https://s3.amazonaws.com").target(of: example.request, style: .virtual)
        #expect(target.host == "examplebucket.s3.amazonaws.com")
        let headers = RequestSigner().sign(
            example.request.method, target, headers: example.request.headers, payload: example.payload,
            credentials: credentials, region: "us-east-1", date: Timestamp(seconds: 1_369_353_600))
        #expect(
            headers["Authorization"]
                == "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,"
                + "SignedHeaders=\(example.signedHeaders),Signature=\(example.signature)", "\(example.title)")
    }

    static let date = Timestamp(iso8601: "2024-02-29T23:59:59Z")!

    func authorization(_ request: S3Request, token: String? = nil, signer: RequestSigner = RequestSigner()) throws
        -> HeaderFields
    {
        let credentials = AWSCredentials(
            accessKeyID: "AKIDODD", secretAccessKey: "secret/with+odd=chars", sessionToken: token)
        let target = try Endpoint(parsing: "http://127.0.0.1:9000").target(of: request, style: .auto)
        return signer.sign(
            request.method, target, headers: request.headers, payload: .empty, credentials: credentials,
            region: "eu-central-1", date: Self.date)
    }

    @Test(arguments: [
        ("a b+c%20d", "8413c75164fd01b6d0d37994b76693df61c780a3095db22d8afedfc298b94f93"),
        ("../x//y/./z", "fe681fa4db3a3a7e76bf12077050ad924b1ac84cc06456168cac14b61294cc04"),
        ("\u{e9} (nfc) \u{e9}", "87ba39a017a87a3259f2576ff3fa5e80eb064954c9b8d20447ab43241bd05eb7"),
        ("quote\"'!*();:@&=$,/?#[]", "4a8ea7e5e1339a6afba1ce6c37e77c2fa7f0e6f298ce576815ccd1e98808809e"),
        ("tab\tnew\nline\u{1}", "b274c2bd71a5be9d571d3817a7aac11e171bf6d15f6ebdcb04e1e88e125fbc9d"),
        ("😀/~_-.", "65b481232914c19b73d264e9240885145a97b1589bbd9c169b4d48864a13ec36"),
    ])
    func oddKeys(_ key: String, _ signature: String) throws {
        let headers = try authorization(S3Request(.getObject, .get, bucket: "bucket", key: ObjectKey(key)))
        #expect(headers["Authorization"]?.hasSuffix("Signature=\(signature)") == true)
    }

    @Test func sessionTokenAndQuery() throws {
        let request = S3Request(
            .listObjectsV2, .get, bucket: "bucket", key: ObjectKey("k"),
            query: [("prefix", "a/b c"), ("delimiter", "/"), ("list-type", "2"), ("uploads", "")])
        let headers = try authorization(request, token: "tok/en==")
        #expect(headers["x-amz-security-token"] == "tok/en==")
        #expect(
            headers["Authorization"]?.hasSuffix(
                "Signature=ff1d3744d8893b0a284ea162c6fcfc8d85be4fbb26b764cd5a4fea9de3c5d742") == true)
    }

    @Test func keptSigningKeyFollowsDayRegionAndSecret() {
        let signer = RequestSigner()
        let target = Endpoint.aws(region: "x").target(
            of: S3Request(.headBucket, .head, bucket: "bucket"), style: .auto)
        for secret in ["one", "two", "one"] {
            for region in ["us-east-1", "eu-west-1"] {
                for day in [0, 1] {
                    let arguments = (
                        AWSCredentials(accessKeyID: "A", secretAccessKey: secret),
                        Timestamp(seconds: 1_700_000_000 + Int64(day) * 86_400)
                    )
                    let kept = signer.sign(
                        .head, target, headers: HeaderFields(), payload: .unsigned, credentials: arguments.0,
                        region: region, date: arguments.1)
                    let fresh = RequestSigner().sign(
                        .head, target, headers: HeaderFields(), payload: .unsigned, credentials: arguments.0,
                        region: region, date: arguments.1)
                    #expect(kept["Authorization"] == fresh["Authorization"])
                }
            }
        }
    }

    @Test(arguments: [
        (PayloadHash.unsigned, "UNSIGNED-PAYLOAD"),
        (.streamingUnsignedTrailer, "STREAMING-UNSIGNED-PAYLOAD-TRAILER"),
        (.of([]), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        (.of(Array("Welcome to Amazon S3.".utf8)), "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072"),
    ])
    func payloadForms(_ payload: PayloadHash, _ text: String) {
        #expect(payload.headerValue == text)
    }

    @Test func headerValuesAreTrimmedAndProxyFieldsLeftOut() throws {
        var request = S3Request(.putObject, .put, bucket: "bucket", key: ObjectKey("k"))
        request.headers = HeaderFields([
            ("X-Amz-Meta-B", "  two   words\t "), ("x-amz-meta-a", "1"), ("User-Agent", "pail"),
        ])
        let target = try Endpoint(parsing: "http://h").target(of: request, style: .path)
        let (text, names) = RequestSigner.canonicalRequest(
            .put, target, headers: request.headers, payload: .unsigned)
        #expect(names == "x-amz-meta-a;x-amz-meta-b")
        #expect(text == "PUT\n/bucket/k\n\nx-amz-meta-a:1\nx-amz-meta-b:two words\n\n\(names)\nUNSIGNED-PAYLOAD")
    }

    @Test func credentialsNeverShowTheSecret() {
        let credentials = AWSCredentials(accessKeyID: "AKID", secretAccessKey: "s3cr3t", sessionToken: "t0ken")
        var dumped = ""
        dump(credentials, to: &dumped)
        for text in ["\(credentials)", String(reflecting: credentials), "\([credentials])", dumped] {
            #expect(text.contains("AKID") && !text.contains("s3cr3t") && !text.contains("t0ken"))
        }
        let key = CustomerKey([UInt8](repeating: 0x41, count: 32))!
        #expect(!String(reflecting: ServerSideEncryption.customerKey(key)).contains("65"))
    }
}
