// A key pair, kept out of every log.

public import Base

/// An access key with its secret, for signing. Printing it in any way shows the access key ID alone.
public struct AWSCredentials: Sendable, Hashable {
    public let accessKeyID: String
    public let secretAccessKey: String
    /// Belongs to temporary credentials; sent as `x-amz-security-token`.
    public let sessionToken: String?
    /// From when on the server refuses them; nil when they do not expire.
    public let expiry: Timestamp?

    public init(accessKeyID: String, secretAccessKey: String, sessionToken: String? = nil, expiry: Timestamp? = nil) {
        self.accessKeyID = accessKeyID
        self.secretAccessKey = secretAccessKey
        self.sessionToken = sessionToken
        self.expiry = expiry
    }
}

extension AWSCredentials: CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
    public var description: String { "AWSCredentials(\(accessKeyID))" }
    public var debugDescription: String { description }
    /// Without the secret: `dump` and failed test expectations use it.
    public var customMirror: Mirror { Mirror(self, children: ["accessKeyID": accessKeyID]) }
}
