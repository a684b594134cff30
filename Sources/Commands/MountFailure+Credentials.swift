// Missing and broken credentials as a user must see them.

public import S3Protocol

extension MountFailure {
    /// The error's own words, which say where was looked; the remedy is the last clause where there is one.
    public init(_ error: CredentialError) {
        switch error.kind {
        case .notFound:
            guard let semicolon = error.message.utf8.lastIndex(of: UInt8(ascii: ";")) else {
                self.init(error.message, remedy: "check --profile, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
                return
            }
            let rest = error.message[error.message.index(after: semicolon)...]
            self.init(String(error.message[..<semicolon]), remedy: String(rest.drop { $0 == " " }))
        case .unreadable: self.init(error.message, remedy: "make it readable for the user who mounts")
        case .malformed: self.init(error.message, remedy: "put that right")
        case .expired: self.init(error.message, remedy: "renew the credentials")
        case .unreachable: self.init(error.message, remedy: "check the network")
        case .cancelled: self.init("interrupted", remedy: "start again")
        }
    }
}
