// What a server says when it refuses
// (<https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html>).

public import Base

/// A refusal. The body may be missing (HEAD), of another kind (a proxy's page), or inside a 200.
public struct S3ErrorResponse: Error, Sendable, Equatable {
    public var status: Int
    /// Such as `NoSuchKey`; nil when the answer has none.
    public var code: String?
    /// For people only.
    public var message: String
    /// For the server's operator.
    public var requestID: String?
    /// The region that the bucket is in, or the signature should be for, where the answer says one.
    public var region: String?
    /// Where to go instead, with a redirect: a host name.
    public var endpoint: String?
    /// The server's clock, from the body or the `Date` field.
    public var serverTime: Timestamp?
    /// How long to wait, in seconds.
    public var retryAfterSeconds: Int?

    public init(status: Int, code: String? = nil, message: String = "", requestID: String? = nil) {
        self.status = status
        self.code = code
        self.message = message
        self.requestID = requestID
    }

    /// Reads a refusal out of an answer. Never fails: what cannot be read is left out.
    public init(status: Int, headers: HeaderFields, body: [UInt8]) {
        self.init(status: status)
        var document = XMLDocument()
        if let parsed = try? XMLDocument.parse(body), parsed.root == "Error" { document = parsed }
        func text(_ name: String) -> String? {
            document[name].flatMap { $0.isEmpty ? nil : String($0.prefix(1000)) }
        }
        code = text("Code")
        message = text("Message") ?? ""
        requestID = headers["x-amz-request-id"] ?? text("RequestId")
        region = headers["x-amz-bucket-region"] ?? text("Region")
        endpoint = text("Endpoint")
        let date = headers["Date"].flatMap { Timestamp(httpDate: $0) }
        serverTime = text("ServerTime").flatMap { Timestamp(iso8601: $0) } ?? date
        if let retryAfter = headers["Retry-After"] {
            if let seconds = Int(retryAfter), seconds >= 0 {
                retryAfterSeconds = seconds
            } else if let until = Timestamp(httpDate: retryAfter), let date {
                retryAfterSeconds = Int(max(0, until.seconds - date.seconds))
            }
        }
    }

    /// The error inside a 200, if there is one: an answer to an operation for which `mayFailAfterSuccess` holds.
    public static func inside(_ body: [UInt8], headers: HeaderFields) -> S3ErrorResponse? {
        guard let document = try? XMLDocument.parse(body), document.root == "Error" else { return nil }
        return S3ErrorResponse(status: 200, headers: headers, body: body)
    }
}
