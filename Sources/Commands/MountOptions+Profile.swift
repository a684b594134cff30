// What the profile says where neither the options nor the environment do.

public import Credentials

extension MountOptions {
    /// Fills server, region, CA bundle and addressing from the settings of the profile, where nothing else was said.
    public mutating func complete(from settings: ServiceSettings) throws(UsageError) {
        func origin(_ key: String) -> String { "\(key) of the environment or the profile" }
        if endpoint == nil, let url = settings.endpointURL { try set(.endpoint, url, origin: origin("endpoint_url")) }
        if region == nil, let name = settings.region { try set(.region, name, origin: origin("region")) }
        if caBundlePath == nil, let path = settings.caBundlePath {
            try set(.caBundle, path, origin: origin("ca_bundle"))
        }
        if addressing == nil, let style = settings.addressingStyle {
            try set(.addressing, style, origin: origin("addressing_style"))
        }
    }
}
