// Real servers, named by PAIL_TEST_S3: `name=URL,ACCESS,SECRET;name=…`. Names are those of the exemption table.

import Base
import Glibc
import HTTPTransport
import ObjectModel
import ObjectStore
import S3Protocol
import Testing

extension StoreUnderTest {
    static let servers: [StoreUnderTest] = {
        guard let text = getenv("PAIL_TEST_S3").map({ String(cString: $0) }) else { return [] }
        return text.split(separator: ";").map { entry in
            let parts = entry.split(separator: "=", maxSplits: 1).map(String.init)
            let fields = parts.count == 2 ? parts[1].split(separator: ",").map(String.init) : []
            precondition(fields.count == 3, "PAIL_TEST_S3 is 'name=URL,ACCESS,SECRET;…'")
            let server = Server(url: fields[0], accessKeyID: fields[1], secretAccessKey: fields[2])
            return StoreUnderTest(name: parts[0], isServer: true) { try await server.store($0) }
        }
    }()

    static let all = [memory] + servers

    /// One transport for all of them, as one mount has.
    private static let transport = HTTPTransport(configuration: HTTPConfiguration(connectionsMax: 32))

    private struct Server: Sendable {
        let url: String
        let accessKeyID: String
        let secretAccessKey: String

        func store(_ variation: Variation) async throws -> any ObjectStore {
            let bucket = variation == .missingBucket ? "pail-no-such-bucket" : "pail-conformance"
            if variation == .standard || variation == .smallSingleCopy { try await makeBucket(bucket) }
            let endpoint =
                switch variation {
                case .closedPort: "http://127.0.0.1:1"
                case .unknownHost: "http://no-such-host.invalid"
                case .standard, .wrongSecret, .wrongAccessKey, .missingBucket, .smallSingleCopy: url
                }
            var configuration = S3StoreConfiguration(bucket: bucket, endpoint: try Endpoint(parsing: endpoint))
            if variation == .smallSingleCopy { configuration.singleCopyBytesMax = 6 << 20 }
            if variation == .closedPort || variation == .unknownHost {
                configuration.retry = RetryPolicy(attemptsMax: 2)
            }
            let credentials = AWSCredentials(
                accessKeyID: variation == .wrongAccessKey ? "NOSUCHACCESSKEY00000" : accessKeyID,
                secretAccessKey: variation == .wrongSecret ? "no-such-secret" : secretAccessKey)
            return S3Store(
                configuration: configuration, transport: StoreUnderTest.transport,
                credentials: FixedCredentials(credentials))
        }

        private func makeBucket(_ bucket: String) async throws {
            let credentials = AWSCredentials(accessKeyID: accessKeyID, secretAccessKey: secretAccessKey)
            let target = try Endpoint(parsing: url).target(
                of: S3Request(.headBucket, .put, bucket: bucket), style: .path)
            let headers = RequestSigner().sign(
                .put, target, headers: HeaderFields(), payload: .empty, credentials: credentials, region: "us-east-1",
                date: SystemTime().now)
            let request = HTTPRequest(method: .put, url: target.url, headers: headers.fields)
            let response = try await StoreUnderTest.transport.send(request)
            #expect([200, 409].contains(response.status), "the bucket could not be made on \(url)")
        }
    }
}
