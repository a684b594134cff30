// What can go wrong between a client and a mount, on the wire and in the program.

/// A failed request: a code to decide by, and a sentence for the user.
public struct ControlError: Error, Sendable, Codable, Hashable, CustomStringConvertible {
    /// Why. `other` stands for codes of a newer version.
    public enum Code: String, Sendable, Codable, CaseIterable {
        // Found by the client:
        /// Nothing listens: the mount is gone.
        case notRunning = "not_running"
        /// The mount did not answer in time.
        case unresponsive
        /// The mount closed the connection in the middle of an answer.
        case connectionLost = "connection_lost"
        /// The other side is another user, or a directory or socket is not ours alone.
        case notPermitted = "not_permitted"
        /// The runtime directory or the socket could not be used for another reason.
        case unusableDirectory = "unusable_directory"
        /// Another process serves this mountpoint's socket.
        case alreadyServed = "already_served"

        // Answered by the mount:
        case malformed
        case unsupportedVersion = "unsupported_version"
        case tooManyClients = "too_many_clients"
        /// The time the client gave is over; the work goes on.
        case timedOut = "timed_out"
        /// The mount is going away.
        case stopping
        case notFound = "not_found"
        case outsideMount = "outside_mount"
        /// Data could not be uploaded; it stays staged.
        case uploadFailed = "upload_failed"
        case other
    }

    public var code: Code
    /// One line.
    public var message: String

    public init(_ code: Code, _ message: String) {
        self.code = code
        self.message = message
    }

    public init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        code = Code(rawValue: try container.decode(String.self, forKey: .code)) ?? .other
        message = try container.decode(String.self, forKey: .message)
    }

    enum CodingKeys: String, CodingKey {
        case code, message
    }

    public var description: String { message }
}
