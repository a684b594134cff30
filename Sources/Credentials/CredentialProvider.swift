// What every place that may have credentials looks like to the chain.

internal import Base
internal import S3Protocol

/// One place that may have credentials. Thread-safe; the chain calls `load` once at a time.
protocol CredentialProvider: Sendable {
    /// Looks. Throws when the place has something that is not right: never to be passed over in silence.
    func load() async throws(CredentialError) -> CredentialFinding

    /// Whether `load` might give something else by now. Cheap, and asked often.
    var hasChanged: Bool { get }
}

enum CredentialFinding: Sendable, Equatable {
    case found(AWSCredentials)
    /// Why not: a clause for each place looked at, such as `AWS_ACCESS_KEY_ID is not set`.
    case absent([String])
}

extension AWSCredentials {
    /// Checks what a person has typed.
    /// - Parameters:
    ///   - expiry: when temporary ones end (ISO 8601), where something says so; what cannot be read is not known.
    ///   - place: where it stands, for the message.
    static func checked(
        accessKeyID: String, secretAccessKey: String, sessionToken: String?, expiry: String?, place: String
    ) throws(CredentialError) -> AWSCredentials {
        // Both go into header fields.
        for (name, value) in [("access key ID", accessKeyID), ("session token", sessionToken ?? "")]
        where !value.utf8.allSatisfy({ (0x21...0x7E).contains($0) }) {
            throw CredentialError(.malformed, message: "the \(name) of \(place) contains white space or controls")
        }
        return AWSCredentials(
            accessKeyID: accessKeyID, secretAccessKey: secretAccessKey, sessionToken: sessionToken,
            // What was set for other credentials, and forgotten, means nothing for a key that does not end.
            expiry: sessionToken == nil ? nil : expiry.flatMap { Timestamp(iso8601: $0) })
    }
}
