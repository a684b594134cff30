// What a starting daemon tells the command that waits for it.

/// One line on the ready pipe. Any number of `stage` and `notice`, then one `ready` or `failed`.
public enum ReadyMessage: Sendable, Equatable, Codable {
    /// What the daemon is doing now: said when it takes too long. `asking http://…`.
    case stage(String)
    /// Something the user should know about a mount that works.
    case notice(String)
    /// The mount answers.
    case ready
    case failed(MountFailure)
}

/// Takes the bytes of the ready pipe apart. Pure.
public struct ReadyMessageReader: Sendable {
    /// A line beyond it is not the daemon's.
    static let lineBytesMax = 64 << 10

    private var pending: [UInt8] = []

    public init() {}

    /// The messages that became complete. Lines that are none are dropped.
    public mutating func take(_ bytes: some Sequence<UInt8>) -> [ReadyMessage] {
        var messages: [ReadyMessage] = []
        for byte in bytes {
            if byte == UInt8(ascii: "\n") {
                if let message = JSONText.decode(ReadyMessage.self, from: pending) { messages.append(message) }
                pending = []
            } else if pending.count < Self.lineBytesMax {
                pending.append(byte)
            }
        }
        return messages
    }
}
