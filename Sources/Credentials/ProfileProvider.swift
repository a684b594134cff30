// Credentials in a profile of the shared files.

internal import S3Protocol

/// The key pair of a profile: of `~/.aws/credentials`, else of `~/.aws/config`.
struct ProfileProvider: CredentialProvider {
    let files: ProfileFiles

    var hasChanged: Bool { files.haveChanged }

    func load() throws(CredentialError) -> CredentialFinding {
        let content = try files.load()
        let inCredentials = content.credentials?.profiles[files.profile]
        let inConfig = content.config?.profiles[files.profile]
        if files.isProfileNamed, inCredentials == nil, inConfig == nil { throw files.missingProfile }
        // Its own keys would be those of another identity than the profile asks for.
        if let role = inConfig?["role_arn"] ?? inCredentials?["role_arn"] {
            return .absent(["profile '\(files.profile)' asks for the role \(role.value), which is not supported"])
        }
        var reasons: [String] = []
        for (file, isThere, section) in [
            (files.credentials, content.credentials != nil, inCredentials),
            (files.config, content.config != nil, inConfig),
        ] {
            guard let file else {
                reasons.append("no home directory is known")
                continue
            }
            guard isThere, let section else {
                reasons.append("\(file.path) \(isThere ? "has no profile '\(files.profile)'" : "does not exist")")
                continue
            }
            if let credentials = try keyPair(of: section, in: file.path) { return .found(credentials) }
            let others = Self.otherMeans.filter { section[$0] != nil }.joined(separator: ", ")
            let hint = others.isEmpty ? "" : " (it has \(others), which is not supported)"
            reasons.append("profile '\(files.profile)' of \(file.path) has no key pair\(hint)")
        }
        return .absent(reasons)
    }

    /// Named in the message, for who wonders why the AWS CLI finds credentials there.
    private static let otherMeans = [
        "credential_process", "credential_source", "login_session", "source_profile", "sso_session", "sso_start_url",
        "web_identity_token_file",
    ]

    /// What programs that fetch temporary credentials write beside them.
    private static let expiryKeys = ["x_security_token_expires", "aws_expiration", "expiration"]

    private func keyPair(of section: ProfileFile.Section, in path: String) throws(CredentialError) -> AWSCredentials? {
        let (id, secret) = ("aws_access_key_id", "aws_secret_access_key")
        switch (section[id], section[secret]) {
        case (nil, nil): return nil
        case (let half?, nil): throw lonely(id, half.line, without: secret, in: path)
        case (nil, let half?): throw lonely(secret, half.line, without: id, in: path)
        case (let accessKeyID?, let secretAccessKey?):
            return try .checked(
                accessKeyID: accessKeyID.value, secretAccessKey: secretAccessKey.value,
                sessionToken: (section["aws_session_token"] ?? section["aws_security_token"])?.value,
                expiry: Self.expiryKeys.lazy.compactMap { section[$0]?.value }.first,
                place: "profile '\(files.profile)' (\(path), line \(accessKeyID.line))")
        }
    }

    private func lonely(_ key: String, _ line: Int, without other: String, in path: String) -> CredentialError {
        let message = "\(path), line \(line): profile '\(files.profile)' has \(key), but no \(other)"
        return CredentialError(.malformed, message: message)
    }
}
