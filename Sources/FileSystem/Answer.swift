// How every operation answers: at once where nothing needs the network, else later.

/// The answer of an operation. `ready` came without waiting, so the caller replies on its own thread; `later` holds the
/// work that needs the network, to be run as a task.
public enum Answer<Value: Sendable>: Sendable {
    case ready(Value)
    case failed(FileSystemError)
    case later(@Sendable () async throws(FileSystemError) -> Value)

    /// The value, however long it takes.
    public func get() async throws(FileSystemError) -> Value {
        switch self {
        case .ready(let value): return value
        case .failed(let error): throw error
        case .later(let work): return try await work()
        }
    }

    static func fail(_ kind: FileSystemError.Kind) -> Answer { .failed(FileSystemError(kind)) }
}
