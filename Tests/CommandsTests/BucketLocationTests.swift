// What may be mounted, and what is refused with a clear line.

import S3Protocol
import Testing

@testable import Commands

@Suite(.timeLimit(.minutes(3)))
struct BucketLocationTests {
    @Test(arguments: [
        ("s3://b", "b", ""), ("s3://b/", "b", ""), ("S3://b/p", "b", "p/"), ("s3://b/p/", "b", "p/"),
        ("b", "b", ""), ("b/p", "b", "p/"), ("b/p/q/", "b", "p/q/"),
        ("s3://my.bucket-1/a b/ü", "my.bucket-1", "a b/ü/"),
        ("s3://b/a%20b", "b", "a%20b/"), ("b/a://c", "b", "a://c/"), ("s3://b/p//", "b", "p//"),
        ("Old_Bucket", "Old_Bucket", ""),
    ])
    func goodForms(text: String, bucket: String, prefix: String) throws {
        let location = try BucketLocation.parse(text)
        #expect(location.bucket == bucket)
        #expect(location.prefix == prefix)
        #expect(try BucketLocation.parse(location.description) == location)
    }

    @Test(arguments: [
        ("s3://", "'s3://' alone"), ("", "names no bucket"), ("/tmp/x", "names no bucket"),
        ("s3:///p", "names no bucket"),
        ("https://s3.example.com/b", "is not an S3 bucket"), ("bucket:/path", "there is a ':'"),
        ("s3://user:pw@b", "there is a ':'"), ("s3://a b", "cannot be a bucket's name"),
        ("..", "cannot be a bucket's name"),
        ("s3://bücket", "cannot be a bucket's name"), ("b/" + String(repeating: "x", count: 1023), "is too long"),
        ("b/\0", "zero byte"),
    ])
    func badForms(text: String, words: String) {
        let error = #expect(throws: UsageError.self) { try BucketLocation.parse(text) }
        #expect(error?.message.contains(words) == true, "\(error?.message ?? "")")
    }
}

@Suite(.timeLimit(.minutes(3)))
struct ServerURLTests {
    @Test(arguments: [
        ("http://127.0.0.1:9000", "http://127.0.0.1:9000"), ("HTTPS://s3.example.com/", "https://s3.example.com"),
        ("http://[::1]:81", "http://[::1]:81"), ("http://minio_1:9000//", "http://minio_1:9000"),
        ("https://h/gateway/", "https://h/gateway"),
    ])
    func goodForms(text: String, url: String) throws {
        let server = try ServerURL.parse(text, origin: "--endpoint")
        #expect(server.url == url)
        #expect(server.endpoint.description == url)
    }

    @Test(arguments: [
        ("s3.example.com", "must begin with http:// or https://"), ("ftp://x", "must begin with"),
        ("u:p@h", "must begin with"), ("http://", "host name"), ("http://h:0", "port"), ("http://h:99999", "port"),
        ("http://h:", "port"), ("http://h:+1", "port"), ("http://u:p@h", "without user, password"),
        ("http://h?x=u:p", "without user, password"), ("http://a b", "host name"), ("http://[::1", "host name"),
    ])
    func badForms(text: String, words: String) {
        let error = #expect(throws: UsageError.self) { try ServerURL.parse(text, origin: "--endpoint") }
        #expect(error?.message.contains(words) == true, "\(error?.message ?? "")")
        // A password in a refused address must not come back.
        #expect(error?.message.contains("u:p") == false)
    }
}
