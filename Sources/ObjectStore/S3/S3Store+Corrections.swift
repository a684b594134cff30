// What a server may say is wrong with us rather than with the request: the clock, the region, the keys.

internal import Base
internal import S3Protocol

/// What an attempt was signed with.
struct SigningContext: Sendable {
    let endpoint: Endpoint
    let region: String
    let clockSkewSeconds: Int64
    let date: Timestamp
    /// Nil sends unsigned requests.
    let credentials: AWSCredentials?
}

/// How often a call was corrected: each correction is tried once or twice, so that no server leads us in circles.
struct Corrections {
    var clockCount = 0
    var regionCount = 0
    var credentialsCount = 0
}

extension S3Store {
    func signingContext() async throws(CredentialError) -> SigningContext {
        let credentials = try await credentialSource.credentials()
        let now = time.now
        return state.withLock { state in
            let date = Timestamp(seconds: now.seconds + state.clockSkewSeconds, nanoseconds: now.nanoseconds)
            return SigningContext(
                endpoint: state.endpoint, region: state.region, clockSkewSeconds: state.clockSkewSeconds, date: date,
                credentials: credentials)
        }
    }

    /// Takes over what a refusal says about clock, region or keys. True: ask again at once.
    func correct(_ corrections: inout Corrections, by refusal: S3ErrorResponse, _ context: SigningContext) async -> Bool
    {
        if corrections.clockCount < 1, correctClock(by: refusal, context) {
            corrections.clockCount += 1
            return true
        }
        if corrections.regionCount < 2, correctRegion(by: refusal, context) {
            corrections.regionCount += 1
            return true
        }
        if corrections.credentialsCount < 1, await renewCredentials(by: refusal, context) {
            corrections.credentialsCount += 1
            return true
        }
        return false
    }

    /// S3 allows 15 minutes between its clock and the signature's.
    private func correctClock(by refusal: S3ErrorResponse, _ context: SigningContext) -> Bool {
        guard let serverTime = refusal.serverTime else { return false }
        let offSeconds = serverTime.seconds - context.date.seconds
        switch refusal.code {
        case "RequestTimeTooSkewed": guard offSeconds.magnitude > 1 else { return false }
        // HEAD has no body to name the reason; `RequestExpired` and the like may also mean the clock.
        case nil where refusal.status == 403, "RequestExpired": guard offSeconds.magnitude > 300 else { return false }
        default: return false
        }
        let skew = context.clockSkewSeconds + offSeconds
        state.withLock { $0.clockSkewSeconds = skew }
        return true
    }

    /// A bucket lives in one region; signatures for another are refused, and on AWS so are requests to its host.
    private func correctRegion(by refusal: S3ErrorResponse, _ context: SigningContext) -> Bool {
        switch refusal.code {
        case nil, "AuthorizationHeaderMalformed", "PermanentRedirect", "TemporaryRedirect", "Redirect", "InvalidRegion",
            "IllegalLocationConstraintException", "IncorrectEndpoint", "InvalidRequest":
            break
        default: return false
        }
        guard (300..<308).contains(refusal.status) || refusal.status == 400 || refusal.status == 403 else {
            return false
        }
        guard let region = refusal.region ?? regionOfRedirect(refusal), region != context.region,
            Self.isRegionName(region)
        else { return false }
        state.withLock { state in
            state.region = region
            state.endpoint = state.endpoint.inRegion(region)
        }
        return true
    }

    /// The region in the host name that AWS redirects to; hosts of others are not followed.
    private func regionOfRedirect(_ refusal: S3ErrorResponse) -> String? {
        guard var host = refusal.endpoint.map({ $0[...] }) else { return nil }
        let bucketPrefix = "\(configuration.bucket)."
        if host.hasPrefix(bucketPrefix) { host = host.dropFirst(bucketPrefix.count) }
        return (try? Endpoint(parsing: "https://\(host)"))?.region
    }

    /// It goes into host names and signatures.
    private static func isRegionName(_ text: String) -> Bool {
        (1...64).contains(text.utf8.count)
            && text.utf8.allSatisfy { byte in
                (0x61...0x7A).contains(byte) || (0x30...0x39).contains(byte) || (0x41...0x5A).contains(byte)
                    || byte == UInt8(ascii: "-") || byte == UInt8(ascii: "_")
            }
    }

    private func renewCredentials(by refusal: S3ErrorResponse, _ context: SigningContext) async -> Bool {
        guard let used = context.credentials else { return false }
        switch refusal.code {
        case "ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "RequestExpired", "InvalidToken",
            "InvalidAccessKeyId":
            break
        // HEAD with a temporary key: its reason may be that the key has expired.
        case nil where (refusal.status == 400 || refusal.status == 403) && used.sessionToken != nil: break
        default: return false
        }
        await credentialSource.reject(used)
        guard let fresh = try? await credentialSource.credentials() else { return false }
        return fresh != used
    }
}
