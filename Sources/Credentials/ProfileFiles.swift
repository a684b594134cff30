// Which profile of which files: what the environment and the command line say about it.

internal import S3Protocol

/// The two shared files, and the profile wanted of them. Thread-safe.
struct ProfileFiles: Sendable {
    /// Nil when no home directory is known and the environment names no file.
    let credentials: WatchedFile?
    let config: WatchedFile?
    let profile: String
    /// Whether somebody asked for this very profile; else it is `default`, and may be missing.
    let isProfileNamed: Bool

    struct Content {
        var credentials: ProfileFile?
        var config: ProfileFile?
    }

    /// - Parameter profile: of the command line; nil takes `AWS_PROFILE`, else `default`.
    init(environment: ProcessEnvironment, profile: String?) {
        func file(_ variable: String, _ name: String) -> WatchedFile? {
            let path = environment[variable].map(environment.expand)
            return (path ?? environment.homeDirectory.map { "\($0)/.aws/\(name)" }).map(WatchedFile.init)
        }
        credentials = file("AWS_SHARED_CREDENTIALS_FILE", "credentials")
        config = file("AWS_CONFIG_FILE", "config")
        let named = profile ?? environment["AWS_PROFILE"]
        self.profile = named ?? "default"
        isProfileNamed = named != nil
    }

    /// For a profile that was named and is in neither file.
    var missingProfile: CredentialError {
        let places = [credentials?.path, config?.path].compactMap { $0 }
        let message =
            places.isEmpty
            ? "there is no profile '\(profile)': no home directory is known"
            : "there is no profile '\(profile)' in \(places.joined(separator: " nor in "))"
        return CredentialError(.notFound, message: message)
    }

    var haveChanged: Bool { [credentials, config].contains { $0?.hasChanged ?? false } }

    /// Reads and parses both; one that does not exist is nil.
    func load() throws(CredentialError) -> Content {
        Content(credentials: try load(credentials, .credentials), config: try load(config, .config))
    }

    private func load(_ file: WatchedFile?, _ kind: ProfileFile.Kind) throws(CredentialError) -> ProfileFile? {
        guard let file, let text = try file.read() else { return nil }
        do {
            return try ProfileFile(parsing: text, kind: kind)
        } catch {
            throw CredentialError(.malformed, message: "\(file.path), line \(error.line): \(error.problem)")
        }
    }
}
