// AWS Signature Version 4 in the `Authorization` header
// (<https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html>). Pure: the date comes in.

public import Base

/// Signs requests for S3. Thread-safe; keeps the signing key of the day.
public final class RequestSigner: Sendable {
    private struct SigningKey {
        let secret: String
        /// `20130524/us-east-1`.
        let scope: String
        let bytes: [UInt8]
    }

    // Taken alone. The last key is nearly always the right one: it changes with the day, the region and the secret.
    private let lastKey = Lock<SigningKey?>(nil)

    public init() {}

    /// The header fields to send: those given, and `Host`, `x-amz-date`, `x-amz-content-sha256`, the session token and
    /// `Authorization`. Every field is signed except the few that proxies change.
    public func sign(
        _ method: S3Method, _ target: RequestTarget, headers: HeaderFields, payload: PayloadHash,
        credentials: AWSCredentials, region: String, date: Timestamp
    ) -> HeaderFields {
        let amzDate = date.amzDate
        var headers = headers
        headers["Host"] = target.host
        headers["x-amz-date"] = amzDate
        headers["x-amz-content-sha256"] = payload.headerValue
        headers["x-amz-security-token"] = credentials.sessionToken

        let (canonical, signedNames) = Self.canonicalRequest(method, target, headers: headers, payload: payload)
        let scope = "\(amzDate.prefix(8))/\(region)/s3/aws4_request"
        let hash = Hex.encode(Digest.of(Array(canonical.utf8), .sha256))
        let stringToSign = "AWS4-HMAC-SHA256\n\(amzDate)\n\(scope)\n\(hash)"
        let key = signingKey(secret: credentials.secretAccessKey, day: String(amzDate.prefix(8)), region: region)
        let signature = Hex.encode(HMACSHA256.of(stringToSign, key: key))
        headers["Authorization"] =
            "AWS4-HMAC-SHA256 Credential=\(credentials.accessKeyID)/\(scope),"
            + "SignedHeaders=\(signedNames),Signature=\(signature)"
        return headers
    }

    static func canonicalRequest(
        _ method: S3Method, _ target: RequestTarget, headers: HeaderFields, payload: PayloadHash
    ) -> (text: String, signedNames: String) {
        var signed: [(name: String, value: String)] = []
        for (name, value) in headers.fields {
            let lower = name.lowercased()
            if unsignedNames.contains(lower) { continue }
            signed.append((lower, collapseBlanks(value)))
        }
        signed.sort { $0.name.utf8.lexicographicallyPrecedes($1.name.utf8) }
        let names = signed.map(\.name).joined(separator: ";")
        var text = "\(method.rawValue)\n\(target.path)\n\(target.query)\n"
        for (name, value) in signed { text += "\(name):\(value)\n" }
        text += "\n\(names)\n\(payload.headerValue)"
        return (text, names)
    }

    private func signingKey(secret: String, day: String, region: String) -> [UInt8] {
        let scope = "\(day)/\(region)"
        if let key = lastKey.withLock({ $0 }), key.scope == scope, key.secret == secret { return key.bytes }
        var bytes = HMACSHA256.of(day, key: Array("AWS4\(secret)".utf8))
        for part in [region, "s3", "aws4_request"] { bytes = HMACSHA256.of(part, key: bytes) }
        lastKey.withLock { $0 = SigningKey(secret: secret, scope: scope, bytes: bytes) }
        return bytes
    }

    /// Without outer blanks, and inner ones as one.
    private static func collapseBlanks(_ value: String) -> String {
        if !value.utf8.contains(where: { $0 == 0x20 || $0 == 0x09 }) { return value }
        return value.split(whereSeparator: { $0 == " " || $0 == "\t" }).joined(separator: " ")
    }

    /// Proxies and libcurl set or change these.
    private static let unsignedNames: Set<String> = [
        "authorization", "user-agent", "accept", "accept-encoding", "connection", "content-length", "expect",
        "transfer-encoding", "x-amzn-trace-id",
    ]
}
