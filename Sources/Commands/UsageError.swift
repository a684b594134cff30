// What is wrong with a command line.

/// A command that cannot be understood or honoured as given; exit code 2.
public struct UsageError: Error, Sendable, Equatable, CustomStringConvertible {
    /// One sentence without `pail:` in front, and without a full stop.
    public let message: String

    public init(_ message: String) {
        self.message = message
    }

    public var description: String { message }
}
