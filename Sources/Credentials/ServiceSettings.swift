// What the environment and a profile say besides credentials: where the service is and how to reach it.

public import S3Protocol

/// Settings of the environment and the profile. All may be missing.
public struct ServiceSettings: Sendable, Equatable {
    /// `AWS_REGION`, `AWS_DEFAULT_REGION`, else `region`.
    public var region: String?
    /// `AWS_ENDPOINT_URL_S3`, `AWS_ENDPOINT_URL`, else `endpoint_url` of the profile's `services` section for S3, else
    /// `endpoint_url` of the profile (https://docs.aws.amazon.com/sdkref/latest/guide/feature-ss-endpoints.html).
    public var endpointURL: String?
    /// `AWS_CA_BUNDLE`, else `ca_bundle`: the path of a PEM file.
    public var caBundlePath: String?
    /// `addressing_style` below `s3`: `path`, `virtual` or `auto`.
    public var addressingStyle: String?

    /// Reads the profile's files. They may be missing; unreadable or malformed they are an error, and so is a profile
    /// that was named and is not there.
    /// - Parameter profile: of `--profile`; nil takes `AWS_PROFILE`, else `default`.
    public init(environment: ProcessEnvironment = .current, profile: String? = nil) throws(CredentialError) {
        let files = ProfileFiles(environment: environment, profile: profile)
        let content = try files.load()
        let sections = [content.config?.profiles[files.profile], content.credentials?.profiles[files.profile]]
        if files.isProfileNamed, sections.allSatisfy({ $0 == nil }) { throw files.missingProfile }

        func setting(_ key: String) -> String? { sections.lazy.compactMap { $0?[key]?.value }.first }
        let services = setting("services").flatMap { content.config?.others["services \($0)"] }
        region = environment["AWS_REGION"] ?? environment["AWS_DEFAULT_REGION"] ?? setting("region")
        endpointURL =
            environment["AWS_ENDPOINT_URL_S3"] ?? environment["AWS_ENDPOINT_URL"]
            ?? services?["s3.endpoint_url"]?.value ?? setting("endpoint_url")
        caBundlePath = environment["AWS_CA_BUNDLE"] ?? setting("ca_bundle")
        addressingStyle = setting("s3.addressing_style")
    }
}
