// Why a mount did not come about, as one line for a person.

/// One line: what failed, the store's own code, and what to do about it.
public struct MountFailure: Error, Sendable, Equatable, Codable, CustomStringConvertible {
    /// What went wrong, without a full stop.
    public var what: String
    /// S3's error code, or the system's; nil where there is none.
    public var code: String?
    /// What the user can do; nil when `what` says it all.
    public var remedy: String?

    public init(_ what: String, code: String? = nil, remedy: String? = nil) {
        self.what = what
        self.code = code
        self.remedy = remedy
    }

    /// `WHAT (CODE); REMEDY`.
    public var description: String { what + (code.map { " (\($0))" } ?? "") + (remedy.map { "; \($0)" } ?? "") }

    /// The line for standard error, without a line break: `pail: cannot mount s3://nope: no such bucket (…); …`.
    public func line(cannotMount subject: some CustomStringConvertible) -> String {
        Message.line("cannot mount \(subject): \(self)")
    }
}
