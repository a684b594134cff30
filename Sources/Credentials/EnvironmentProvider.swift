// Credentials in environment variables.

internal import S3Protocol

/// `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, and `AWS_SESSION_TOKEN` with temporary ones; `AWS_CREDENTIAL_EXPIRATION`, as
/// `aws configure export-credentials` prints it, says when these end.
struct EnvironmentProvider: CredentialProvider {
    let environment: ProcessEnvironment

    /// A process keeps the environment it was started with.
    var hasChanged: Bool { false }

    func load() throws(CredentialError) -> CredentialFinding {
        let (id, secret) = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
        switch (environment[id], environment[secret]) {
        case (nil, nil): return .absent(["\(id) is not set"])
        case (nil, _): throw CredentialError(.malformed, message: "\(secret) is set, but \(id) is not")
        case (_, nil): throw CredentialError(.malformed, message: "\(id) is set, but \(secret) is not")
        case (let accessKeyID?, let secretAccessKey?):
            return .found(
                try .checked(
                    accessKeyID: accessKeyID, secretAccessKey: secretAccessKey,
                    sessionToken: environment["AWS_SESSION_TOKEN"], expiry: environment["AWS_CREDENTIAL_EXPIRATION"],
                    place: "the environment"))
        }
    }
}
