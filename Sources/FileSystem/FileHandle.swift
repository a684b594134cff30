// Open files and directories.

internal import Base
internal import BlockCache
internal import ObjectModel

/// One open(2) of a file.
public final class FileHandle: Sendable {
    public let node: Node
    public let mayWrite: Bool

    struct State {
        /// The stream of the version that was read last.
        var stream: ReadStream?
        /// Whether this handle has returned bytes of a version in the store.
        var hasReturnedBytes = false
        /// Whether this handle changed the file since its last flush.
        var hasWritten = false
        /// Whether this handle made the file, and nothing of it was sent yet.
        var isNew = false
    }

    let state: Lock<State>

    init(node: Node, mayWrite: Bool, isNew: Bool = false) {
        self.node = node
        self.mayWrite = mayWrite
        state = Lock(State(isNew: isNew))
    }

    /// The read stream on `version`; a new one when the version is another than before.
    func stream(of version: ObjectVersion) -> ReadStream {
        // The end of a stream cancels its requests: it dies outside of the lock.
        let (stream, replaced): (ReadStream, ReadStream?) = state.withLock { state in
            if let stream = state.stream, stream.version == version { return (stream, nil) }
            let stream = ReadStream(version: version)
            defer { state.stream = stream }
            return (stream, state.stream)
        }
        withExtendedLifetime(replaced) {}
        return stream
    }
}

/// One opendir(3): the names in an order that stays, so that positions are what they were while the directory changes.
public final class DirectoryHandle: Sendable {
    public let node: Node

    enum Source: Sendable {
        case names([ListingFlight.Name])
        /// A listing that is, or was, under way.
        case flight(ListingFlight)
    }

    private let state = Lock<Source?>(nil)

    init(node: Node) {
        self.node = node
    }

    deinit {
        source = nil
    }

    /// What is read. A listing that comes here must count the handle as its reader.
    var source: Source? {
        get { state.withLock { $0 } }
        set {
            let old = state.withLock { state in
                defer { state = newValue }
                return state
            }
            if case .flight(let flight) = old { flight.removeReader() }
        }
    }
}

/// An entry as readdir(3) shows it.
public struct DirectoryEntry: Sendable, Equatable {
    public let name: String
    /// Nil where only asking for its attributes would tell.
    public let kind: FileKind?
    public let inode: UInt64
    let fileName: FileName?
    /// Where to go on behind it.
    public let nextPosition: Int
}
