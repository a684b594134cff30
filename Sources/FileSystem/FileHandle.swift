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

/// One opendir(3): a snapshot of the names, so that positions stay what they are while the directory changes.
public final class DirectoryHandle: Sendable {
    public let node: Node
    let names = Lock<[DirectoryEntry]?>(nil)

    init(node: Node) {
        self.node = node
    }
}

/// An entry as readdir(3) shows it.
public struct DirectoryEntry: Sendable, Equatable {
    public let name: String
    public let kind: FileKind
    /// The inode number, where the entry has a node already.
    public let number: UInt64?
    let fileName: FileName?
}
