// What a mount offers through its control socket.

internal import Base

/// The mount behind a control socket. Called from tasks, possibly several at once.
///
/// Each call runs in a task that is cancelled when the client goes away, when the client's timeout is over, and when
/// the server stops; a call may ignore that, nobody waits for it then.
public protocol ControlDelegate: Sendable {
    /// The state of the mount now. Should answer in well under a second, whatever the store does.
    func status() async -> MountStatus

    /// Uploads a file, or everything below a directory, and returns when it is in the bucket.
    /// - Parameters:
    ///   - path: relative to the mountpoint, without `.`, `..` and doubled slashes; empty for the whole mount.
    ///   - progress: to be called now and then with the figures of this flush; never blocks.
    func flush(path: String, progress: @escaping @Sendable (UploadProgress) -> Void) async throws(ControlError)

    /// Uploads everything that is dirty, as an unmount needs it. Returns when nothing is left or when what is left keeps
    /// failing; the result tells which.
    func drain(progress: @escaping @Sendable (UploadProgress) -> Void) async throws(ControlError) -> DrainResult

    /// Forgets what is cached of the names and attributes at and below a path (as in `flush`).
    func refresh(path: String) async throws(ControlError)

    /// Hands the mount over to another program, once this call was answered. Throws when it cannot be, and goes on.
    /// - Parameter program: an absolute path.
    func upgrade(program: String) async throws(ControlError)
}

/// How far a flush or a drain is.
public struct UploadProgress: Sendable, Codable, Equatable {
    public var filesLeft: Int
    public var bytesLeft: Int
    /// Bytes per second, lately.
    public var bytesPerSecond: Int
    /// The last failure since the flush or drain began.
    public var lastError: String?

    public init(filesLeft: Int, bytesLeft: Int, bytesPerSecond: Int = 0, lastError: String? = nil) {
        self.filesLeft = filesLeft
        self.bytesLeft = bytesLeft
        self.bytesPerSecond = bytesPerSecond
        self.lastError = lastError
    }

    enum CodingKeys: String, CodingKey {
        case filesLeft = "files_left"
        case bytesLeft = "bytes_left"
        case bytesPerSecond = "bytes_per_second"
        case lastError = "last_error"
    }
}

/// What a drain left behind. All zero and empty: everything is in the bucket.
public struct DrainResult: Sendable, Codable, Equatable {
    /// Files still staged, and their dirty bytes.
    public var filesLeft: Int
    public var bytesLeft: Int
    /// Some of the files still staged, relative to the mountpoint, with the error of their last upload.
    public var failures: [Failure]

    public struct Failure: Sendable, Codable, Equatable {
        public var path: String
        public var error: String

        public init(path: String, error: String) {
            self.path = path
            self.error = error
        }
    }

    public init(filesLeft: Int = 0, bytesLeft: Int = 0, failures: [Failure] = []) {
        self.filesLeft = filesLeft
        self.bytesLeft = bytesLeft
        self.failures = failures
    }

    /// Whether everything is in the bucket.
    public var isComplete: Bool { filesLeft == 0 }

    enum CodingKeys: String, CodingKey {
        case failures
        case filesLeft = "files_left"
        case bytesLeft = "bytes_left"
    }
}
