// The address of an S3 server, from the command line to the daemon.

public import S3Protocol

/// A validated endpoint in a form that passes between processes.
public struct ServerURL: Sendable, Hashable, Codable, CustomStringConvertible {
    /// `https://host:port`, without a slash at the end.
    public let url: String
    public var description: String { url }

    /// Ready for requests.
    public var endpoint: Endpoint {
        // It was parsed before, and is what `Endpoint` prints of itself.
        guard let endpoint = try? Endpoint(parsing: url) else { preconditionFailure("\(url) is no endpoint") }
        return endpoint
    }

    /// Parses what a user wrote.
    /// - Parameter origin: the option or variable it came from, for the message.
    public static func parse(_ text: String, origin: String) throws(UsageError) -> ServerURL {
        let example = "such as https://s3.example.com:9000"
        do throws(EndpointError) {
            return ServerURL(url: try Endpoint(parsing: text).description)
        } catch {
            switch error {
            // These do not show the text: it could hold a password.
            case .noScheme: throw UsageError("\(origin) must begin with http:// or https://, \(example)")
            case .hasExtraParts:
                throw UsageError(
                    "\(origin) must be an address without user, password or '?', \(example); "
                        + "keys come from the environment or a profile")
            case .badHost: throw UsageError("\(origin) has no valid host name: '\(text)', \(example)")
            case .badPort: throw UsageError("\(origin) has no valid port: '\(text)', \(example)")
            case .badPath: throw UsageError("\(origin) has no valid path: '\(text)', \(example)")
            }
        }
    }
}
