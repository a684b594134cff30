// Where a store is: an endpoint URL, or AWS's own of a region.

internal import ObjectModel

/// A server that speaks S3.
public struct Endpoint: Sendable, Hashable, CustomStringConvertible {
    public enum Scheme: String, Sendable {
        case http
        case https

        var defaultPort: Int { self == .http ? 80 : 443 }
    }

    public let scheme: Scheme
    /// A name, an IPv4 address, or an IPv6 address in brackets; lower case.
    public let host: String
    /// Nil is the scheme's own.
    public let port: Int?
    /// Put before every path (a gateway below a path); empty or `/a/b`, percent-encoded, without a slash at the end.
    public let basePath: String
    /// Set on AWS's public hosts, which exist in every region under the same pattern.
    let aws: AWSHost?

    /// Parses `http[s]://host[:port][/path]`.
    public init(parsing text: String) throws(EndpointError) {
        let scheme: Scheme
        var rest: Substring
        if text.lowercased().hasPrefix("https://") {
            (scheme, rest) = (.https, text.dropFirst(8))
        } else if text.lowercased().hasPrefix("http://") {
            (scheme, rest) = (.http, text.dropFirst(7))
        } else {
            throw .noScheme(text)
        }
        if rest.contains(where: { $0 == "?" || $0 == "#" || $0 == "@" }) { throw .hasExtraParts(text) }
        var path = rest[(rest.firstIndex(of: "/") ?? rest.endIndex)...]
        rest = rest[..<path.startIndex]
        while path.hasSuffix("/") { path = path.dropLast() }
        guard path.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F }) else { throw .badPath(text) }

        var portText: Substring?
        if rest.hasPrefix("["), let end = rest.firstIndex(of: "]") {
            let after = rest[rest.index(after: end)...]
            guard after.isEmpty || after.hasPrefix(":") else { throw .badHost(text) }
            if after.hasPrefix(":") { portText = after.dropFirst() }
            rest = rest[...end]
        } else if let colon = rest.firstIndex(of: ":") {
            portText = rest[rest.index(after: colon)...]
            rest = rest[..<colon]
        }
        let host = rest.lowercased()
        guard Self.isHost(host) else { throw .badHost(text) }
        var port: Int?
        if let portText {
            guard portText.utf8.allSatisfy({ (0x30...0x39).contains($0) }), let value = Int(portText),
                (1...65_535).contains(value)
            else { throw .badPort(text) }
            port = value
        }
        self.init(scheme: scheme, host: host, port: port == scheme.defaultPort ? nil : port, basePath: String(path))
    }

    /// AWS's endpoint of a region.
    public static func aws(
        region: String, isDualStack: Bool = false, isFIPS: Bool = false, scheme: Scheme = .https
    ) -> Endpoint {
        let host = AWSHost(region: region, isDualStack: isDualStack, isFIPS: isFIPS)
        return Endpoint(scheme: scheme, host: host.name, port: nil, basePath: "")
    }

    private init(scheme: Scheme, host: String, port: Int?, basePath: String) {
        self.scheme = scheme
        self.host = host
        self.port = port
        self.basePath = basePath
        aws = basePath.isEmpty ? AWSHost(parsing: host) : nil
    }

    /// Whether AWS serves it, so that what AWS documents may be relied on.
    public var isAWS: Bool { host.hasSuffix(".amazonaws.com") || host.hasSuffix(".amazonaws.com.cn") }

    /// Whether it is this machine itself, by a name or number that nobody else can answer for.
    public var isLoopback: Bool {
        let numbers = host.split(separator: ".", omittingEmptySubsequences: false)
        return host == "localhost" || host == "[::1]"
            || numbers.count == 4 && numbers[0] == "127" && numbers.allSatisfy { UInt8($0) != nil }
    }

    /// The region that the host name says.
    public var region: String? { aws?.region }

    /// The same kind of endpoint of another region; itself where the host name has no region in it.
    public func inRegion(_ region: String) -> Endpoint {
        guard let aws else { return self }
        let moved = AWSHost(region: region, isDualStack: aws.isDualStack, isFIPS: aws.isFIPS)
        return Endpoint(scheme: scheme, host: moved.name, port: port, basePath: basePath)
    }

    public var description: String { "\(scheme.rawValue)://\(hostAndPort)\(basePath)" }

    private var hostAndPort: String { port.map { "\(host):\($0)" } ?? host }

    /// Puts host, path and query of a request together.
    public func target(of request: S3Request, style: AddressingStyle) -> RequestTarget {
        let keyPath = request.key.map { PercentEncoding.encodePath($0.string) } ?? ""
        if isVirtual(request.bucket, style) {
            return RequestTarget(
                scheme: scheme, host: "\(request.bucket).\(hostAndPort)", path: "\(basePath)/\(keyPath)",
                query: request.query)
        }
        let bucket = PercentEncoding.encodeQuery(request.bucket)
        let path = request.key == nil ? "\(basePath)/\(bucket)" : "\(basePath)/\(bucket)/\(keyPath)"
        return RequestTarget(scheme: scheme, host: hostAndPort, path: path, query: request.query)
    }

    /// Whether the bucket's name goes into the host's.
    func isVirtual(_ bucket: String, _ style: AddressingStyle) -> Bool {
        switch style {
        case .path: false
        case .virtual: true
        // A certificate for `*.s3.amazonaws.com` does not cover a bucket with a dot.
        case .auto: isAWS && BucketName.isDNSLabelSafe(bucket) && !(scheme == .https && bucket.contains("."))
        }
    }

    private static func isHost(_ host: String) -> Bool {
        if host.hasPrefix("[") {
            return host.hasSuffix("]") && host.utf8.count > 4
                && host.dropFirst().dropLast().utf8.allSatisfy {
                    (0x30...0x3A).contains($0) || (0x61...0x66).contains($0) || $0 == UInt8(ascii: ".")
                }
        }
        return !host.isEmpty && host.utf8.count <= 253
            && !host.split(separator: ".", omittingEmptySubsequences: false).dropLast().contains { $0.isEmpty }
            && host.utf8.allSatisfy {
                (0x30...0x39).contains($0) || (0x61...0x7A).contains($0) || $0 == UInt8(ascii: "-")
                    || $0 == UInt8(ascii: ".") || $0 == UInt8(ascii: "_")
            }
    }
}

/// How the bucket is named in a request.
public enum AddressingStyle: String, Sendable, CaseIterable {
    /// Virtual-host style on AWS where the bucket's name allows it, path style elsewhere.
    case auto
    /// `https://host/bucket/key`.
    case path
    /// `https://bucket.host/key`.
    case virtual
}

/// Why a text is no endpoint. The text comes along for the message.
public enum EndpointError: Error, Sendable, Equatable, CustomStringConvertible {
    case noScheme(String)
    case hasExtraParts(String)
    case badHost(String)
    case badPort(String)
    case badPath(String)

    public var description: String {
        switch self {
        case .noScheme(let text): "'\(text)' is no endpoint URL: it must begin with https:// or http://"
        case .hasExtraParts(let text): "'\(text)' is no endpoint URL: it may not contain '?', '#' or '@'"
        case .badHost(let text): "'\(text)' is no endpoint URL: its host name is not valid"
        case .badPort(let text): "'\(text)' is no endpoint URL: its port must be a number from 1 to 65535"
        case .badPath(let text): "'\(text)' is no endpoint URL: its path must be percent-encoded"
        }
    }
}
