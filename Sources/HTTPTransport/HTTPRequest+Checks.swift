// What a request may contain, and how it may be shown.

extension HTTPRequest: CustomStringConvertible {
    /// What makes it impossible to send, or nil: a header field that would break out of its line (RFC 9110, 5).
    var problem: String? {
        if url.utf8.contains(where: { $0 <= 0x20 || $0 == 0x7F }) { return "the URL contains white space or controls" }
        for (name, value) in headers {
            guard !name.isEmpty, name.utf8.allSatisfy(Self.isTokenByte) else {
                return "a header field has the invalid name '\(name)'"
            }
            if value.utf8.contains(where: { $0 == 0x0D || $0 == 0x0A || $0 == 0 }) {
                return "the header field \(name) contains a line end"
            }
        }
        return nil
    }

    /// Method and URL: no header field, so that no secret slips into a log by way of string interpolation.
    public var description: String { "\(method.rawValue) \(url)" }

    private static func isTokenByte(_ byte: UInt8) -> Bool {
        switch byte {
        case 0x30...0x39, 0x41...0x5A, 0x61...0x7A: true
        default: "!#$%&'*+-.^_`|~".utf8.contains(byte)
        }
    }
}

extension HTTPConfiguration {
    /// A request for a trace log: method, URL and header fields, the values of the secret ones replaced.
    public func describe(_ request: HTTPRequest) -> String {
        let fields = request.headers.map { name, value in
            "\(name): \(secretHeaders.contains(name.lowercased()) ? "***" : value)"
        }
        return ([request.description] + fields).joined(separator: "; ")
    }
}
