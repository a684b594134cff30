// Region, endpoint and the rest: which place wins.

import Credentials
import S3Protocol
import Testing

@Suite(.timeLimit(.minutes(3)))
struct ServiceSettingsTests {
    static let config = """
        [default]
        region = eu-west-1
        endpoint_url = http://default
        ca_bundle = /ca.pem
        s3 =
          addressing_style = path

        [profile local]
        services = mine
        endpoint_url = http://plain

        [services mine]
        s3 =
          endpoint_url = http://services
        """

    @Test(
        arguments: [
            ([:], nil, "eu-west-1", "http://default"),
            (["AWS_REGION": "r", "AWS_DEFAULT_REGION": "d"], nil, "r", "http://default"),
            (["AWS_DEFAULT_REGION": "d"], nil, "d", "http://default"),
            (["AWS_ENDPOINT_URL": "http://e"], nil, "eu-west-1", "http://e"),
            (["AWS_ENDPOINT_URL": "http://e", "AWS_ENDPOINT_URL_S3": "http://s"], nil, "eu-west-1", "http://s"),
            ([:], "local", nil, "http://services"),
            (["AWS_PROFILE": "local"], nil, nil, "http://services"),
            (["AWS_PROFILE": "local"], "default", "eu-west-1", "http://default"),
        ] as [([String: String], String?, String?, String?)])
    func wins(variables: [String: String], profile: String?, region: String?, endpoint: String?) throws {
        let home = TemporaryHome(config: Self.config)
        let settings = try ServiceSettings(environment: home.environment(variables), profile: profile)
        #expect(settings.region == region)
        #expect(settings.endpointURL == endpoint)
    }

    @Test func theRest() throws {
        let home = TemporaryHome(config: Self.config)
        let settings = try ServiceSettings(environment: home.environment())
        #expect(settings.caBundlePath == "/ca.pem")
        #expect(settings.addressingStyle == "path")
        let other = try ServiceSettings(environment: home.environment(["AWS_CA_BUNDLE": "/other"]))
        #expect(other.caBundlePath == "/other")
    }

    @Test func nothingIsFineUnlessAsked() throws {
        let home = TemporaryHome()
        let settings = try ServiceSettings(environment: home.environment())
        #expect(settings.region == nil)
        #expect(settings.endpointURL == nil)
        let error = #expect(throws: CredentialError.self) {
            try ServiceSettings(environment: home.environment(), profile: "x")
        }
        #expect(error?.kind == .notFound)
        home.write("[default\n", to: "config")
        #expect(throws: CredentialError.self) { try ServiceSettings(environment: home.environment()) }
    }
}
