// The line a user sees when a mount fails.

import ObjectStore
import S3Protocol
import Testing

@testable import Commands

@Suite(.timeLimit(.minutes(3)))
struct MountFailureTests {
    @Test(
        arguments: [
            (
                StoreError.Kind.bucketNotFound, "NoSuchBucket", 404, "", "",
                "no such bucket (NoSuchBucket); check the name, or create it"
            ),
            (
                .badCredentials, "InvalidAccessKeyId", 403, "", "",
                "the server does not know this access key (InvalidAccessKeyId); "
                    + "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or choose a --profile"
            ),
            (
                .badCredentials, "SignatureDoesNotMatch", 403, "", "profile=work",
                "the secret key does not match the access key (SignatureDoesNotMatch); "
                    + "check the keys of profile 'work' in ~/.aws/credentials"
            ),
            (
                .expiredCredentials, "ExpiredToken", 400, "", "",
                "the credentials have expired (ExpiredToken); renew them"
            ),
            (
                .accessDenied, "AccessDenied", 403, "", "",
                "access denied to these credentials (AccessDenied); "
                    + "grant them s3:ListBucket and s3:GetObject on the bucket, or use others with --profile"
            ),
            (
                .accessDenied, "AccessDenied", 403, "", "no-sign-request",
                "access denied without signature (AccessDenied); the bucket is not public: leave out --no-sign-request"
            ),
            (
                .invalidRequest, "AuthorizationHeaderMalformed", 400, "", "region=us-east-1",
                "the bucket is not in region us-east-1 (AuthorizationHeaderMalformed); "
                    + "name the bucket's region with --region, or its server with --endpoint"
            ),
            (
                .badCredentials, "RequestTimeTooSkewed", 403, "", "",
                "this machine's clock differs too much from the server's (RequestTimeTooSkewed); set the clock (timedatectl)"
            ),
            (
                .unreachable, nil, nil, "Could not resolve host: h", "endpoint=http://h:9",
                "cannot reach http://h:9: Could not resolve host: h; check --endpoint, --region, and the network"
            ),
            (
                .timedOut, nil, nil, "", "endpoint=http://h:9",
                "no answer in time from http://h:9; check --endpoint, the network, and proxies"
            ),
            (
                .serverFault, nil, 500, "", "",
                "the server failed (HTTP 500); try again later, or look at the server's log"
            ),
            (
                .malformedResponse, nil, 200, "not XML", "endpoint=http://h:9",
                "the answer of http://h:9 is not S3's: not XML (HTTP 200); check --endpoint, and proxies"
            ),
            (
                .badCredentials, nil, nil, "no credentials: AWS_ACCESS_KEY_ID is not set; set it", "",
                "no credentials: AWS_ACCESS_KEY_ID is not set; set it"
            ),
            (
                .unreachable, nil, nil, "certificate problem", "endpoint=https://h",
                "cannot reach https://h: certificate problem; check --endpoint, --region, and the network; "
                    + "a private certificate authority is named with --ca-bundle"
            ),
        ] as [(StoreError.Kind, String?, Int?, String, String, String)])
    func storeErrorsBecomeOneLine(
        kind: StoreError.Kind, code: String?, status: Int?, message: String, list: String, line: String
    ) throws {
        let error = StoreError(kind, operation: "ListObjectsV2", code: code, httpStatus: status, message: message)
        let failure = MountFailure(error, plan: try MountPlanTests.plan(list))
        #expect(failure.description == line)
    }

    @Test(arguments: [
        StoreError.Kind.notFound, .bucketNotFound, .preconditionFailed, .invalidRange, .accessDenied, .badCredentials,
        .expiredCredentials, .archived, .tooLarge, .quotaExceeded, .throttled, .serverFault, .timedOut, .unreachable,
        .unsupported, .invalidRequest, .malformedResponse, .sourceFailed, .cancelled,
    ])
    func everyKindHasAnAnswer(kind: StoreError.Kind) throws {
        let error = StoreError(kind, operation: "HeadBucket", code: "SomeCode")
        let line = MountFailure(error, plan: try MountPlanTests.plan()).line(cannotMount: "s3://b/p/")
        #expect(line.hasPrefix("pail: cannot mount s3://b/p/: "))
        #expect(line.contains("(SomeCode); "))
        #expect(!line.contains("\n"))
    }

    @Test(arguments: [
        (CredentialError.Kind.notFound, "no credentials: a; b; set x", "no credentials: a; b", "set x"),
        (.unreadable, "cannot read /c: Permission denied", "cannot read /c: Permission denied", "make it readable"),
        (.malformed, "/c, line 3: no key", "/c, line 3: no key", "put that right"),
        (.expired, "expired", "expired", "renew"),
    ])
    func credentialErrors(kind: CredentialError.Kind, message: String, what: String, remedy: String) {
        let failure = MountFailure(CredentialError(kind, message: message))
        #expect(failure.what == what)
        #expect(failure.remedy?.hasPrefix(remedy) == true)
    }

    /// One line before anything is asked of AWS; on other servers the name is like any other.
    @Test(
        arguments: [
            ("data--usw2-az1--x-s3", "", true),
            ("data--usw2-az1--x-s3", "endpoint=https://s3.us-west-2.amazonaws.com", true),
            ("data--usw2-az1--x-s3", "endpoint=https://s3express-usw2-az1.us-west-2.amazonaws.com", true),
            ("data--usw2-az1--x-s3", "endpoint=http://127.0.0.1:9000", false), ("data-x-s3", "", false),
        ])
    func directoryBucketsAreRefused(bucket: String, list: String, isRefused: Bool) throws {
        var plan = try MountPlanTests.plan(list)
        plan.location = try BucketLocation.parse("s3://\(bucket)/p")
        let refused = Result { try plan.refuseDirectoryBucket() }
        if case .failure(let error) = refused { #expect("\(error)".contains("directory bucket")) }
        #expect(((try? refused.get()) == nil) == isRefused)
    }

    @Test func theServersWordsCannotBreakTheLine() throws {
        let error = StoreError(.serverFault, operation: "HeadBucket", message: "a\nb\u{1b}[2J")
        let line = MountFailure(error, plan: try MountPlanTests.plan()).line(cannotMount: "s3://b")
        #expect(
            line
                == "pail: cannot mount s3://b: the server failed: a\\nb\\u{1b}[2J; try again later, or look at the server's log"
        )
    }
}
