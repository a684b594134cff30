// The part of `pail doctor` that asks the server.

internal import Base
internal import Commands
internal import Credentials
internal import Glibc
internal import HTTPTransport
internal import ObjectStore
internal import S3Protocol

/// Credentials, endpoint, clock and bucket; then what the store can do.
struct ServerExamination {
    /// S3 refuses requests that are further off (RequestTimeTooSkewed).
    private static let skewSecondsMax: Int64 = 900

    let plan: MountPlan

    /// Stops at what makes the rest pointless.
    func run(_ report: @escaping @Sendable (DoctorFinding) -> Void) async {
        guard examineKind(report), await examineCredentials(report) else { return }
        let (store, transport) = StoreOfPlan.make(plan, isExamination: true)
        defer { transport.shutdown() }
        guard await examineEndpoint(store, transport, report) else { return }
        guard await examineBucket(store, report) else { return }
        let token = (0..<10).map { _ in "abcdefghijkmnpqrstuvwxyz23456789".randomElement()! }
        await StoreExamination(store: store, prefix: plan.location.prefix, token: String(token)).run(report)
    }

    private func examineKind(_ report: (DoctorFinding) -> Void) -> Bool {
        do throws(MountFailure) {
            try plan.refuseDirectoryBucket()
            return true
        } catch {
            report(DoctorFinding(.fail, "bucket", error.what, remedy: error.remedy))
            return false
        }
    }

    private func examineCredentials(_ report: (DoctorFinding) -> Void) async -> Bool {
        if plan.isAnonymous {
            report(DoctorFinding(.ok, "credentials", "none: requests are not signed"))
            return true
        }
        do throws(CredentialError) {
            guard let found = try await CredentialChain(profile: plan.profile).credentials() else { return true }
            let origin = credentialsOrigin
            let finding = CredentialReport.finding(
                found, origin: origin.text, isFile: origin.isFile, now: SystemTime().now)
            report(finding)
            return finding.grade != .fail
        } catch {
            let failure = MountFailure(error)
            report(DoctorFinding(.fail, "credentials", failure.what, remedy: failure.remedy))
            return false
        }
    }

    /// The chain's order: a named profile, the environment, the profile of the environment.
    private var credentialsOrigin: (text: String, isFile: Bool) {
        func variable(_ name: String) -> String? {
            getenv(name).map { String(cString: $0) }.flatMap { $0.isEmpty ? nil : $0 }
        }
        if let profile = plan.profile { return ("profile '\(profile)'", true) }
        if variable("AWS_ACCESS_KEY_ID") != nil { return ("the environment", false) }
        return ("profile '\(variable("AWS_PROFILE") ?? "default")'", true)
    }

    /// Any answer to an unsigned request will do: it shows that the server is there, how far, and what time it has.
    private func examineEndpoint(
        _ store: S3Store, _ transport: HTTPTransport, _ report: (DoctorFinding) -> Void
    ) async -> Bool {
        let url = "\(store.endpoint)"
        let timeouts = HTTPTimeouts(connectMilliseconds: 5_000, stallMilliseconds: 5_000, totalMilliseconds: 8_000)
        do throws(HTTPError) {
            // Not HEAD: Ceph's gateway sends a body after some of its refusals, which the next answer would begin with.
            let request = HTTPRequest(method: .get, url: "\(url)/", timeouts: timeouts)
            let first = try await transport.send(request)
            // The second one has its connection already.
            let second = try await transport.send(request)
            let nanoseconds = min(first.metrics.totalNanoseconds, second.metrics.totalNanoseconds)
            let latency = Interval.latency(seconds: Double(nanoseconds) / 1e9)
            report(DoctorFinding(.ok, "endpoint", "\(url) answers in \(latency)"))
            examineClock(second, report)
            return true
        } catch {
            let failure = MountFailure(StoreError(error, operation: .headBucket, key: nil), plan: plan)
            report(DoctorFinding(.fail, "endpoint", failure.what, remedy: failure.remedy))
            return false
        }
    }

    private func examineClock(_ response: HTTPResponse, _ report: (DoctorFinding) -> Void) {
        guard let server = response.head["Date"].flatMap({ Timestamp(httpDate: $0) }) else { return }
        let offSeconds = SystemTime().now.seconds - server.seconds
        let text = "\(offSeconds.magnitude) s \(offSeconds < 0 ? "behind" : "ahead of") the server's"
        switch offSeconds.magnitude {
        case 0...2: report(DoctorFinding(.ok, "clock", "in step with the server's"))
        case 0...60: report(DoctorFinding(.ok, "clock", text))
        default:
            let limit = "S3 refuses \(Self.skewSecondsMax) s; pail corrects its signatures, but file times are off"
            report(DoctorFinding(.warn, "clock", text, remedy: "set the clock (timedatectl); \(limit)"))
        }
    }

    private func examineBucket(_ store: S3Store, _ report: (DoctorFinding) -> Void) async -> Bool {
        do throws(StoreError) {
            try await store.check(prefix: ByteString(plan.location.prefix))
            report(DoctorFinding(.ok, "bucket", "\(plan.location) in region \(store.region)"))
            return true
        } catch {
            let failure = MountFailure(error, plan: plan)
            let code = failure.code.map { " (\($0))" } ?? ""
            report(DoctorFinding(.fail, "bucket", failure.what + code, remedy: failure.remedy))
            return false
        }
    }
}
