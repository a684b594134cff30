// Where credentials are found, what is said when not, and how they are kept up to date.

import Base
import S3Protocol
import Testing

@testable import Credentials

/// Key pairs by a one-letter name.
private func pair(_ name: String) -> String {
    "aws_access_key_id = AKIA\(name)\naws_secret_access_key = SECRET\(name)\n"
}

private func expected(_ name: String, token: String? = nil, expiry: Timestamp? = nil) -> AWSCredentials {
    AWSCredentials(accessKeyID: "AKIA\(name)", secretAccessKey: "SECRET\(name)", sessionToken: token, expiry: expiry)
}

/// 2026-11-29T17:00:00Z
private let end = Timestamp(seconds: 1_795_971_600)

private let environmentPair = ["AWS_ACCESS_KEY_ID": "AKIAe", "AWS_SECRET_ACCESS_KEY": "SECRETe"]

@Suite(.timeLimit(.minutes(3)))
struct CredentialSearchTests {
    struct Case: Sendable {
        var name: String
        var variables: [String: String] = [:]
        var credentials: String?
        var config: String?
        var profile: String?
        var expected: AWSCredentials
    }

    static let both = "[default]\n\(pair("d"))[x]\n\(pair("x"))aws_session_token = tok\n"

    @Test(arguments: [
        Case(name: "environment", variables: environmentPair, credentials: both, expected: expected("e")),
        Case(
            name: "environment with token",
            variables: environmentPair.merging(["AWS_SESSION_TOKEN": "t"]) { $1 }, expected: expected("e", token: "t")),
        Case(
            name: "temporary ones of the environment",
            variables: environmentPair.merging([
                "AWS_SESSION_TOKEN": "t", "AWS_CREDENTIAL_EXPIRATION": "2026-11-29T18:00:00+01:00",
            ]) { $1 }, expected: expected("e", token: "t", expiry: end)),
        Case(
            name: "an end that was left over",
            variables: environmentPair.merging(["AWS_CREDENTIAL_EXPIRATION": "2026-11-29T17:00:00Z"]) { $1 },
            expected: expected("e")),
        Case(
            name: "an end that cannot be read",
            variables: environmentPair.merging([
                "AWS_SESSION_TOKEN": "t", "AWS_CREDENTIAL_EXPIRATION": "soon",
            ]) { $1 }, expected: expected("e", token: "t")),
        Case(
            name: "temporary ones of a profile",
            credentials:
                "[default]\n\(pair("d"))aws_session_token = t\nx_security_token_expires = 2026-11-29T17:00:00Z\n",
            expected: expected("d", token: "t", expiry: end)),
        Case(
            name: "environment before AWS_PROFILE",
            variables: environmentPair.merging(["AWS_PROFILE": "x"]) { $1 }, credentials: both, expected: expected("e")),
        Case(
            name: "--profile before environment", variables: environmentPair, credentials: both, profile: "x",
            expected: expected("x", token: "tok")),
        Case(name: "default profile", credentials: both, expected: expected("d")),
        Case(
            name: "AWS_PROFILE", variables: ["AWS_PROFILE": "x"], credentials: both,
            expected: expected("x", token: "tok")),
        Case(
            name: "--profile before AWS_PROFILE", variables: ["AWS_PROFILE": "x"], credentials: both,
            profile: "default",
            expected: expected("d")),
        Case(name: "config", config: "[default]\n\(pair("c"))", expected: expected("c")),
        Case(name: "config profile", config: "[profile y]\n\(pair("y"))", profile: "y", expected: expected("y")),
        Case(
            name: "credentials file first", credentials: "[default]\n\(pair("d"))",
            config: "[default]\n\(pair("c"))", expected: expected("d")),
        Case(
            name: "credentials file without keys", credentials: "[default]\n", config: "[default]\n\(pair("c"))",
            expected: expected("c")),
        Case(
            name: "empty variables are unset", variables: ["AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""],
            credentials: both, expected: expected("d")),
    ])
    func finds(test: Case) async throws {
        let home = TemporaryHome(credentials: test.credentials, config: test.config)
        let chain = CredentialChain(environment: home.environment(test.variables), profile: test.profile)
        #expect(try await chain.credentials() == test.expected, "\(test.name)")
    }

    @Test func filesOfTheEnvironment() async throws {
        let home = TemporaryHome()
        home.write("[default]\n\(pair("o"))", to: "other")
        for variable in ["AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"] {
            for path in ["~/.aws/other", "\(home.path)/.aws/other"] {
                let chain = CredentialChain(environment: home.environment([variable: path]))
                #expect(try await chain.credentials() == expected("o"))
            }
        }
    }

    struct Refusal: Sendable {
        var variables: [String: String] = [:]
        var credentials: String?
        var config: String?
        var profile: String?
        var kind: CredentialError.Kind
        /// The message contains these; `~` is the home directory.
        var says: [String]
    }

    @Test(arguments: [
        Refusal(
            kind: .notFound,
            says: [
                "AWS_ACCESS_KEY_ID is not set", "~/.aws/credentials does not exist", "~/.aws/config does not exist",
                "--profile", "--no-sign-request",
            ]),
        Refusal(
            credentials: "[x]\n\(pair("x"))", config: "[default]\nregion = a\nsso_session = s\n", kind: .notFound,
            says: ["~/.aws/credentials has no profile 'default'", "no key pair (it has sso_session, which is not"]),
        Refusal(
            credentials: "[x]\n\(pair("x"))", profile: "y", kind: .notFound,
            says: ["no profile 'y' in ~/.aws/credentials nor in ~/.aws/config"]),
        Refusal(
            variables: ["AWS_PROFILE": "y"], credentials: "[x]\n\(pair("x"))", kind: .notFound, says: ["profile 'y'"]),
        Refusal(
            config: "[profile r]\nrole_arn = arn:aws:iam::1:role/z\n\(pair("r"))", profile: "r", kind: .notFound,
            says: ["the role arn:aws:iam::1:role/z, which is not supported"]),
        Refusal(
            variables: ["AWS_ACCESS_KEY_ID": "a"], credentials: both, kind: .malformed,
            says: ["AWS_ACCESS_KEY_ID is set, but AWS_SECRET_ACCESS_KEY is not"]),
        Refusal(
            variables: ["AWS_SECRET_ACCESS_KEY": "SECRET"], credentials: both, kind: .malformed,
            says: ["AWS_SECRET_ACCESS_KEY is set, but AWS_ACCESS_KEY_ID is not"]),
        Refusal(
            variables: ["AWS_ACCESS_KEY_ID": "a b", "AWS_SECRET_ACCESS_KEY": "SECRET"], kind: .malformed,
            says: ["access key ID of the environment"]),
        Refusal(
            credentials: "\n[default]\naws_access_key_id = a\n", config: "[default]\n\(pair("c"))", kind: .malformed,
            says: ["~/.aws/credentials, line 3", "aws_access_key_id, but no aws_secret_access_key"]),
        Refusal(
            config: "[default]\naws_secret_access_key = SECRET\n", kind: .malformed,
            says: ["~/.aws/config, line 2", "aws_secret_access_key, but no aws_access_key_id"]),
        Refusal(
            credentials: both, config: "[default]\nregion = a\nSECRET\n", kind: .malformed,
            says: ["~/.aws/config, line 3"]),
        Refusal(
            credentials: "SECRET=x\n" + both, kind: .malformed, says: ["~/.aws/credentials, line 1"]),
    ])
    func refuses(test: Refusal) async throws {
        let home = TemporaryHome(credentials: test.credentials, config: test.config)
        let chain = CredentialChain(environment: home.environment(test.variables), profile: test.profile)
        let error = await #expect(throws: CredentialError.self) { try await chain.credentials() }
        #expect(error?.kind == test.kind)
        let message = error?.message.replacing(home.path, with: "~") ?? ""
        for text in test.says { #expect(message.contains(text)) }
        #expect(!message.contains("\n"))
        #expect(!message.replacing("AWS_SECRET", with: "").contains("SECRET"))
    }

    @Test(arguments: ["credentials", "config"])
    func unreadableFileIsAnError(name: String) async throws {
        let home = TemporaryHome(credentials: Self.both)
        let other = TemporaryHome(credentials: Self.both)
        other.remove(name)
        other.makeDirectory(name)
        let variable = name == "config" ? "AWS_CONFIG_FILE" : "AWS_SHARED_CREDENTIALS_FILE"
        let path = "\(other.path)/.aws/\(name)"
        let chain = CredentialChain(environment: home.environment([variable: path]))
        let error = await #expect(throws: CredentialError.self) { try await chain.credentials() }
        #expect(error?.kind == .unreadable)
        #expect(error?.message.contains(path) == true)
    }

    @Test func binaryFileIsAnError() async throws {
        let home = TemporaryHome()
        home.write("[default]\na = \u{1}", to: "credentials")
        let path = "/proc/self/exe"
        let chain = CredentialChain(environment: home.environment(["AWS_CONFIG_FILE": path]))
        let error = await #expect(throws: CredentialError.self) { try await chain.credentials() }
        #expect(error?.kind == .malformed)
    }

    @Test func noHome() async throws {
        let chain = CredentialChain(environment: ProcessEnvironment(variables: [:], homeDirectory: nil))
        let error = await #expect(throws: CredentialError.self) { try await chain.credentials() }
        #expect(error?.message.contains("no home directory") == true)
    }
}

@Suite(.timeLimit(.minutes(3)))
struct CredentialRefreshTests {
    private let time = SimulatedTime()
    private let home = TemporaryHome(credentials: "[default]\n\(pair("a"))")

    private func chain() -> CredentialChain { CredentialChain(environment: home.environment(), time: time) }

    private func laterCheck() { time.advance(nanoseconds: 1_000_000_000) }

    @Test func rotatedFileIsPickedUp() async throws {
        let chain = chain()
        #expect(try await chain.credentials() == expected("a"))
        home.write("[default]\n\(pair("b"))", to: "credentials")
        laterCheck()
        #expect(try await chain.credentials() == expected("b"))
        // Also one that appears in the other file when this one goes.
        home.remove("credentials")
        home.write("[default]\n\(pair("c"))", to: "config")
        laterCheck()
        #expect(try await chain.credentials() == expected("c"))
    }

    @Test func rejectionLooksAtOnce() async throws {
        let chain = chain()
        #expect(try await chain.credentials() == expected("a"))
        home.write("[default]\n\(pair("b"))", to: "credentials")
        await chain.reject(expected("a"))
        #expect(try await chain.credentials() == expected("b"))
        // The refusal of the old ones comes late, from another request: not of these.
        home.write("broken", to: "credentials")
        await chain.reject(expected("a"))
        #expect(try await chain.credentials() == expected("b"))
    }

    @Test func rejectedAndUnchangedAreGivenAgain() async throws {
        let chain = chain()
        #expect(try await chain.credentials() == expected("a"))
        await chain.reject(expected("a"))
        #expect(try await chain.credentials() == expected("a"))
    }

    @Test func halfWrittenFileDoesNotInterrupt() async throws {
        let chain = chain()
        #expect(try await chain.credentials() == expected("a"))
        home.write("[default]\naws_access_key_id = AKIAb\n", to: "credentials")
        laterCheck()
        #expect(try await chain.credentials() == expected("a"))
        // Until the server has enough of the old ones.
        await chain.reject(expected("a"))
        let error = await #expect(throws: CredentialError.self) { try await chain.credentials() }
        #expect(error?.kind == .malformed)
        home.write("[default]\n\(pair("b"))", to: "credentials")
        #expect(try await chain.credentials() == expected("b"))
    }

    @Test func foundAfterAFailure() async throws {
        home.remove("credentials")
        let chain = chain()
        await #expect(throws: CredentialError.self) { try await chain.credentials() }
        home.write("[default]\n\(pair("b"))", to: "credentials")
        #expect(try await chain.credentials() == expected("b"))
    }

    @Test func unchangedFileIsReadOnce() async throws {
        let provider = CountingProvider([.success(expected("a"))])
        let chain = CredentialChain(providers: [provider], time: time)
        for _ in 0..<100 {
            laterCheck()
            _ = try await chain.credentials()
        }
        #expect(provider.loads == 1)
    }

    @Test func oneLookAtATime() async throws {
        let provider = CountingProvider([.success(expected("a"))], isGated: true)
        let chain = CredentialChain(providers: [provider], time: time)
        let results = try await withThrowingTaskGroup(of: AWSCredentials?.self) { group in
            for _ in 0..<50 { group.addTask { try await chain.credentials() } }
            await provider.started()
            // The cancellation of one does not spoil it for the others.
            let cancelled = Task { try await chain.credentials() }
            cancelled.cancel()
            provider.open()
            _ = await cancelled.result
            return try await group.reduce(into: [AWSCredentials?]()) { $0.append($1) }
        }
        #expect(results.count == 50)
        #expect(results.allSatisfy { $0 == expected("a") })
        #expect(provider.loads == 1)
    }

    @Test func expiringOnesAreRenewed() async throws {
        let soon = Timestamp(seconds: time.now.seconds + 1000)
        let first = AWSCredentials(accessKeyID: "A", secretAccessKey: "S", sessionToken: "T", expiry: soon)
        let failure = CredentialError(.unreachable, message: "no answer")
        let provider = CountingProvider([
            .success(first), .failure(failure), .failure(failure), .success(expected("b")),
        ])
        let chain = CredentialChain(providers: [provider], time: time)
        #expect(try await chain.credentials() == first)
        time.advance(nanoseconds: 600_000_000_000)
        #expect(try await chain.credentials() == first)
        #expect(provider.loads == 1)
        // Within the margin: renewal is tried, and its failure does not matter yet.
        time.advance(nanoseconds: 200_000_000_000)
        #expect(try await chain.credentials() == first)
        #expect(provider.loads == 2)
        // Expired: it matters.
        time.advance(nanoseconds: 200_000_000_000)
        let error = await #expect(throws: CredentialError.self) { try await chain.credentials() }
        #expect(error == failure)
        #expect(try await chain.credentials() == expected("b"))
    }
}

/// Gives what it is told, and counts.
private final class CountingProvider: CredentialProvider {
    private struct State {
        var answers: [Result<AWSCredentials, CredentialError>]
        var loads = 0
    }

    private let state: Lock<State>
    private let gate = OneShot<Void>()
    private let start = OneShot<Void>()

    init(_ answers: [Result<AWSCredentials, CredentialError>], isGated: Bool = false) {
        state = Lock(State(answers: answers))
        if !isGated { gate.set(()) }
    }

    var loads: Int { state.withLock { $0.loads } }
    var hasChanged: Bool { false }

    func open() { gate.set(()) }
    func started() async { await start.wait() }

    func load() async throws(CredentialError) -> CredentialFinding {
        start.set(())
        await gate.wait()
        let answer = state.withLock { state in
            state.loads += 1
            return state.answers.removeFirst()
        }
        return .found(try answer.get())
    }
}
