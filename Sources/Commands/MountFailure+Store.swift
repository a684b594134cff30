// The store's errors as a user must see them.

internal import Base
public import ObjectStore
internal import S3Protocol

extension MountFailure {
    /// What a failed check of the store means for the plan.
    public init(_ error: StoreError, plan: MountPlan) {
        self = Self.wellKnown(error, plan: plan) ?? Self.general(error, plan: plan)
        if code == nil { code = error.code ?? error.httpStatus.map { "HTTP \($0)" } }
    }

    /// Codes that say more than their kind
    /// (<https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html>).
    private static func wellKnown(_ error: StoreError, plan: MountPlan) -> MountFailure? {
        let keys = plan.keysRemedy
        switch error.code {
        case "InvalidAccessKeyId":
            return MountFailure("the server does not know this access key", remedy: keys)
        case "SignatureDoesNotMatch":
            return MountFailure("the secret key does not match the access key", remedy: keys)
        case "InvalidToken":
            return MountFailure("the session token is not valid", remedy: "renew it (AWS_SESSION_TOKEN), or \(keys)")
        case "RequestTimeTooSkewed":
            return MountFailure(
                "this machine's clock differs too much from the server's", remedy: "set the clock (timedatectl)")
        case "AuthorizationHeaderMalformed", "PermanentRedirect", "TemporaryRedirect",
            "IllegalLocationConstraintException",
            "IncorrectEndpoint":
            let region = plan.region.map { "the bucket is not in region \($0)" } ?? "the bucket is in another region"
            return MountFailure(region, remedy: "name the bucket's region with --region, or its server with --endpoint")
        case "InvalidBucketName":
            return MountFailure(
                "'\(plan.location.bucket)' is not a bucket name that the server takes", remedy: "check the name")
        case "AllAccessDisabled", "AccountProblem":
            return MountFailure("the server has disabled this account or bucket", remedy: "ask the bucket's owner")
        default:
            return nil
        }
    }

    private static func general(_ error: StoreError, plan: MountPlan) -> MountFailure {
        let server = plan.endpoint?.url ?? "AWS"
        let said = error.message.isEmpty ? "" : ": \(error.message)"
        switch error.kind {
        case .bucketNotFound:
            return MountFailure("no such bucket", remedy: "check the name, or create it")
        case .notFound:
            return MountFailure("nothing is there under this name", remedy: "check the prefix and --endpoint")
        case .accessDenied where plan.isAnonymous:
            return MountFailure(
                "access denied without signature", remedy: "the bucket is not public: leave out --no-sign-request")
        case .accessDenied:
            return MountFailure(
                "access denied to these credentials",
                remedy: "grant them s3:ListBucket and s3:GetObject on the bucket, or use others with --profile")
        // Nothing was sent: the message is the credential chain's.
        case .badCredentials where error.httpStatus == nil && error.code == nil:
            return MountFailure(CredentialError(.notFound, message: error.message))
        case .badCredentials:
            return MountFailure("the server refused the credentials\(said)", remedy: plan.keysRemedy)
        case .expiredCredentials:
            return MountFailure("the credentials have expired", remedy: "renew them")
        case .unreachable:
            let isEncrypted = plan.endpoint.map { $0.endpoint.scheme == .https } ?? true
            let authority = isEncrypted ? "; a private certificate authority is named with --ca-bundle" : ""
            return MountFailure(
                "cannot reach \(server)\(said)", remedy: "check --endpoint, --region, and the network\(authority)")
        case .timedOut:
            return MountFailure(
                "no answer in time from \(server)", remedy: "check --endpoint, the network, and proxies")
        case .throttled:
            return MountFailure("the server asks to slow down", remedy: "try again later")
        case .serverFault:
            return MountFailure("the server failed\(said)", remedy: "try again later, or look at the server's log")
        case .unsupported:
            return MountFailure(
                "the server does not know \(error.operation)", remedy: "check that --endpoint is an S3 server")
        case .malformedResponse:
            return MountFailure("the answer of \(server) is not S3's\(said)", remedy: "check --endpoint, and proxies")
        case .invalidRequest:
            return MountFailure(
                "the server refused the request\(said)", remedy: "check --endpoint, --region and --addressing")
        case .quotaExceeded:
            return MountFailure("the store is full, or its quota is used up", remedy: "make room, or raise the quota")
        case .preconditionFailed, .invalidRange, .archived, .tooLarge, .sourceFailed:
            return MountFailure(
                "\(error.operation) failed (\(error.kind))\(said)", remedy: "run `pail doctor` for more")
        case .cancelled:
            return MountFailure("interrupted", remedy: "start again")
        }
    }
}

extension MountPlan {
    /// Where to look when the keys are wrong.
    var keysRemedy: String {
        if let profile { return "check the keys of profile '\(profile)' in ~/.aws/credentials" }
        return "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or choose a --profile"
    }
}
