// From a plan to the store it names.

internal import Base
internal import Commands
internal import Credentials
internal import HTTPTransport
internal import ObjectStore
internal import S3Protocol

/// Builds the S3 store of a mount or an examination.
enum StoreOfPlan {
    /// Connections, each with one request at a time, unless `--connections` says otherwise. How many of them
    /// reading uses is tuned: doc/design/requests.md.
    static let connectionsMax = 48

    /// - Parameters:
    ///   - isExamination: conditions are sent as if the server honoured them, so that it shows what it does with them.
    ///   - onRequest: told of every request on the wire.
    static func make(
        _ plan: MountPlan, isExamination: Bool = false, onRequest: (@Sendable (S3RequestRecord) -> Void)? = nil
    ) -> (store: S3Store, transport: HTTPTransport) {
        let connections = plan.connectionsMax ?? connectionsMax
        let transport = HTTPTransport(
            configuration: HTTPConfiguration(
                loopCount: min(2, connections), connectionsMax: connections,
                caBundlePath: plan.caBundlePath, userAgent: "pail/\(Version.current)"))
        let endpoint = plan.endpoint?.endpoint ?? Endpoint.aws(region: plan.region ?? "us-east-1")
        var configuration = S3StoreConfiguration(
            bucket: plan.location.bucket, endpoint: endpoint, region: plan.region,
            addressing: AddressingStyle(rawValue: plan.addressing.rawValue) ?? .auto)
        if isExamination { configuration.trustsConditions = true }
        configuration.integrity = endpoint.isAWS ? .crc64NVME : .contentMD5
        configuration.options.storageClass = plan.storageClass
        configuration.options.acl = plan.acl
        configuration.options.isRequesterPaying = plan.isRequesterPays
        configuration.options.encryption = encryption(plan)
        let credentials: any CredentialSource =
            plan.isAnonymous ? FixedCredentials(nil) : CredentialChain(profile: plan.profile)
        let store = S3Store(
            configuration: configuration, transport: transport, credentials: credentials, onRequest: onRequest)
        return (store, transport)
    }

    static func encryption(_ plan: MountPlan) -> ServerSideEncryption? {
        if plan.customerKeyPath != nil {
            // Not without it: what is written must not be there for everybody to read.
            guard let key = plan.customerKey.flatMap({ CustomerKey($0.bytes) }) else {
                preconditionFailure("the key was read with the plan")
            }
            return .customerKey(key)
        }
        return switch plan.serverSideEncryption {
        case nil: plan.kmsKeyID.map { .kms(keyID: $0, usesBucketKey: false) }
        case "aws:kms": .kms(keyID: plan.kmsKeyID, usesBucketKey: false)
        case "aws:kms:dsse": .dualLayerKMS(keyID: plan.kmsKeyID)
        default: .s3
        }
    }
}
