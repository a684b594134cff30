// Several places in order, and what was found there, kept up to date.

public import Base
public import S3Protocol

/// The first credentials that one of several places has, refreshed when the place changes, when they are about to
/// expire, and when the server refuses them. Thread-safe; one look around is in flight at a time.
///
/// Credentials that worked stay in use while a refresh fails, for a file may be caught half written: the failure is
/// thrown only once the server has refused them, or they have expired.
public final class CredentialChain: CredentialSource {
    private typealias Outcome = Result<AWSCredentials, CredentialError>

    private struct State {
        var current: AWSCredentials?
        /// The server refused `current`.
        var isRejected = false
        /// When the places were last asked for changes.
        var checkedNanoseconds: UInt64 = 0
        var loading: OneShot<Outcome>?
    }

    private let providers: [any CredentialProvider]
    private let time: any TimeSource
    private let state = Lock(State())

    /// A file is looked at for changes at most this often.
    private static let checkNanoseconds: UInt64 = 1_000_000_000
    /// Temporary credentials are renewed this long before their end, so that no request is signed with dead ones.
    private static let expiryMarginSeconds: Int64 = 300

    init(providers: [any CredentialProvider], time: any TimeSource) {
        self.providers = providers
        self.time = time
    }

    /// The standard order: the environment, then the profile. A profile named on the command line goes before the
    /// environment, which is then not looked at.
    /// - Parameter profile: of `--profile`; nil takes `AWS_PROFILE`, else `default`.
    public convenience init(
        environment: ProcessEnvironment = .current, profile: String? = nil, time: any TimeSource = SystemTime()
    ) {
        var providers: [any CredentialProvider] = []
        if profile == nil { providers.append(EnvironmentProvider(environment: environment)) }
        providers.append(ProfileProvider(files: ProfileFiles(environment: environment, profile: profile)))
        self.init(providers: providers, time: time)
    }

    /// Never nil: requests go out unsigned only when the user asks for it (`FixedCredentials(nil)`).
    public func credentials() async throws(CredentialError) -> AWSCredentials? {
        let (known, isUsable) = check()
        if let known, isUsable { return known }
        switch await load() {
        case .success(let credentials): return credentials
        case .failure(let error):
            guard let known, !isRefused(known) else { throw error }
            return known
        }
    }

    public func reject(_ credentials: AWSCredentials) async {
        // The refusal of older ones says nothing about those we have.
        state.withLock { state in
            if state.current == credentials { state.isRejected = true }
        }
    }

    /// What we have, and whether it will do without another look.
    private func check() -> (known: AWSCredentials?, isUsable: Bool) {
        let now = time.monotonicNanoseconds
        let (known, isRejected, isCheckDue) = state.withLock { state in
            let isCheckDue = now &- state.checkedNanoseconds >= Self.checkNanoseconds
            if isCheckDue { state.checkedNanoseconds = now }
            return (state.current, state.isRejected, isCheckDue)
        }
        guard let known else { return (nil, false) }
        let isExpiring = known.expiry.map { $0.seconds - time.now.seconds < Self.expiryMarginSeconds } ?? false
        let hasChanged = isCheckDue && providers.contains { $0.hasChanged }
        return (known, !isRejected && !isExpiring && !hasChanged)
    }

    /// Whether there is no point in using these.
    private func isRefused(_ credentials: AWSCredentials) -> Bool {
        if let expiry = credentials.expiry, expiry <= time.now { return true }
        return state.withLock { $0.current == credentials && $0.isRejected }
    }

    /// Looks around, or joins a look under way.
    private func load() async -> Outcome {
        let (loading, isOurs) = state.withLock { state in
            if let loading = state.loading { return (loading, false) }
            let loading = OneShot<Outcome>()
            state.loading = loading
            return (loading, true)
        }
        if isOurs {
            // A task of its own: others wait for it too, so our cancellation must not reach it.
            Task {
                let outcome = await self.lookAround()
                self.state.withLock { state in
                    state.loading = nil
                    guard case .success(let credentials) = outcome else { return }
                    state.current = credentials
                    state.isRejected = false
                }
                loading.set(outcome)
            }
        }
        return await loading.wait()
    }

    private func lookAround() async -> Outcome {
        var reasons: [String] = []
        for provider in providers {
            do {
                switch try await provider.load() {
                case .found(let credentials): return .success(credentials)
                case .absent(let why): reasons += why
                }
            } catch {
                return .failure(error)
            }
        }
        let remedy =
            "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, name a profile with --profile, or use --no-sign-request "
            + "for a public bucket"
        let message = "no credentials: \(reasons.joined(separator: "; ")); \(remedy)"
        return .failure(CredentialError(.notFound, message: message))
    }
}
