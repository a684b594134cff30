// The seam between those who sign and those who know where keys come from.

/// Gives credentials whenever a request is signed. Thread-safe.
public protocol CredentialSource: Sendable {
    /// The credentials to sign with now; nil means that requests go out unsigned (anonymous). Called for each request,
    /// so an implementation keeps what it has until shortly before its expiry.
    func credentials() async throws(CredentialError) -> AWSCredentials?

    /// The server refused these as expired or unknown: the next `credentials()` should look for newer ones.
    func reject(_ credentials: AWSCredentials) async
}

extension CredentialSource {
    public func reject(_ credentials: AWSCredentials) async {}
}

/// Why there are no credentials.
public struct CredentialError: Error, Sendable, Equatable, CustomStringConvertible {
    public enum Kind: Sendable, Equatable {
        /// No place that was looked at has any.
        case notFound
        /// A file or program that should give them cannot be read or run.
        case unreadable
        /// A place has something that is not credentials.
        case malformed
        /// What was found has expired and cannot be renewed.
        case expired
        /// A server that gives them does not answer.
        case unreachable
        /// The task was cancelled.
        case cancelled
    }

    public var kind: Kind
    /// For people: says where was looked and what to do; never contains a secret.
    public var message: String

    public init(_ kind: Kind, message: String) {
        self.kind = kind
        self.message = message
    }

    public var description: String { message }
}

/// Always the same credentials, or none at all.
public struct FixedCredentials: CredentialSource {
    private let value: AWSCredentials?

    /// - Parameter value: nil for anonymous requests.
    public init(_ value: AWSCredentials?) {
        self.value = value
    }

    public func credentials() async throws(CredentialError) -> AWSCredentials? { value }
}
