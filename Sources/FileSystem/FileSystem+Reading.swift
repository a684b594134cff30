// Reading files.

internal import Base
public import BlockCache
internal import ObjectModel
internal import ObjectStore
public import Staging

/// What a read is answered from.
public enum ReadData: Sendable {
    /// At or behind the end of the file.
    case empty
    /// Blocks of the cache.
    case slices(ReadSlices)
    /// A range of a staged file's local data; the caller reads it into its own buffer.
    case local(LocalRead)
    case bytes([UInt8])

    public var byteCount: Int {
        switch self {
        case .empty: 0
        case .slices(let slices): slices.byteCount
        case .local(let read): read.byteCount
        case .bytes(let bytes): bytes.count
        }
    }
}

/// The immediate outcome of a read.
public enum ReadOutcome: Sendable {
    case ready(ReadData)
    case failed(FileSystemError)
    /// The completion comes later; `abandon` gives it up early.
    case parked(ReadTicket)
}

/// A read that waits for the store.
public struct ReadTicket: Sendable {
    let action: @Sendable () -> Void

    /// Ends the read soon, with its completion called.
    public func abandon() {
        action()
    }
}

extension FileSystem {
    /// Reads up to `count` bytes. A hit is answered at once; else `completion` is called exactly once, on any thread.
    public func read(
        _ handle: FileHandle, offset: Int, count: Int,
        completion: @escaping @Sendable (Result<ReadData, FileSystemError>) -> Void
    ) -> ReadOutcome {
        let node = handle.node
        let content = node.state.withLock { $0.content }
        switch content {
        case .none: return .failed(FileSystemError(.isDirectory))
        case .clean(let version):
            guard let range = ByteRange(offset: offset, count: count).intersection(ByteRange(0, version.byteCount))
            else {
                return .ready(.empty)
            }
            switch cache.read(
                handle.stream(of: version), range: range,
                completion: { self.finish(handle, version, offset: offset, count: count, $0, completion) })
            {
            case .hit(let slices):
                guard mayServe(handle, version) else {
                    return read(handle, offset: offset, count: count, completion: completion)
                }
                return .ready(.slices(slices))
            case .parked(let read): return .parked(ReadTicket { read.abandon() })
            }
        case .staged(let file):
            switch file.beginRead(ByteRange(offset: offset, count: count)) {
            case .empty: return .ready(.empty)
            case .local(let read): return .ready(.local(read))
            case .elsewhere: break
            }
            let task = Task {
                completion(
                    await Result.of { () async throws(FileSystemError) in
                        try await self.assemble(handle, file, ByteRange(offset: offset, count: count))
                    })
            }
            return .parked(ReadTicket { task.cancel() })
        }
    }

    /// As above, for callers that can wait.
    public func read(_ handle: FileHandle, offset: Int, count: Int) async throws(FileSystemError) -> [UInt8] {
        let done = OneShot<Result<ReadData, FileSystemError>>()
        let data: ReadData
        switch read(handle, offset: offset, count: count, completion: { done.set($0) }) {
        case .ready(let now): data = now
        case .failed(let error): throw error
        case .parked: data = try await done.wait().get()
        }
        switch data {
        case .empty: return []
        case .bytes(let bytes): return bytes
        case .slices(let slices): return slices.array
        case .local(let read):
            do throws(StagingError) {
                return try read.bytes()
            } catch {
                throw FileSystemError(error)
            }
        }
    }

    /// Whether what is open is of a format whose programs read it in pieces, as far as is known without asking.
    public func isReadInPieces(_ handle: FileHandle) -> Bool {
        guard case .clean(let version) = handle.node.state.withLock({ $0.content }) else { return false }
        return cache.isReadInPieces(version)
    }

    /// Whether bytes of `version` may be returned; if so, the node stays that version from now on. False when another
    /// read has found a new version meanwhile, of which it may have returned bytes: then the read must be made again.
    private func mayServe(_ handle: FileHandle, _ version: ObjectVersion) -> Bool {
        if handle.state.withLock({ $0.hasReturnedBytes && $0.stream?.version == version }) { return true }
        let isCurrent = handle.node.state.withLock { state in
            if case .clean(let current) = state.content, current != version { return false }
            state.hasServedBytes = true
            return true
        }
        if isCurrent { handle.state.withLock { $0.hasReturnedBytes = true } }
        return isCurrent
    }

    private func finish(
        _ handle: FileHandle, _ version: ObjectVersion, offset: Int, count: Int,
        _ result: Result<ReadSlices, StoreError>,
        _ completion: @escaping @Sendable (Result<ReadData, FileSystemError>) -> Void
    ) {
        switch result {
        case .success(let slices):
            guard mayServe(handle, version) else {
                return readAgain(handle, offset: offset, count: count, completion)
            }
            completion(.success(.slices(slices)))
        case .failure(let error):
            guard error.kind == .preconditionFailed || error.kind == .notFound || error.kind == .invalidRange else {
                completion(.failure(FileSystemError(error)))
                return
            }
            // The object is another now. That is off the fast path: a task may wait.
            Task {
                do throws(FileSystemError) {
                    try await adoptNewVersion(handle.node, instead: version)
                } catch {
                    completion(.failure(error))
                    return
                }
                readAgain(handle, offset: offset, count: count, completion)
            }
        }
    }

    /// Makes a read again whose completion is owed.
    private func readAgain(
        _ handle: FileHandle, offset: Int, count: Int,
        _ completion: @escaping @Sendable (Result<ReadData, FileSystemError>) -> Void
    ) {
        switch read(handle, offset: offset, count: count, completion: completion) {
        case .ready(let data): completion(.success(data))
        case .failed(let error): completion(.failure(error))
        case .parked: break
        }
    }

    /// The store has another version than the one a read was for. Nobody has seen a byte of the old one: the node becomes
    /// the new version. Else `.stale`: what is open stays what it was, and the next open sees the new file.
    private func adoptNewVersion(_ node: Node, instead old: ObjectVersion) async throws(FileSystemError) {
        // What stands under the key now is another file.
        if node.state.withLock({ $0.isUnlinked }) { throw Self.notKept(old.key) }
        let info = try await head(old.key)
        let now = nowNanoseconds
        let isAdopted = node.state.withLock { state in
            // Our own upload, or another reader, has been faster.
            guard case .clean(let version) = state.content, version == old else { return true }
            guard let info, info.version != old, !state.hasServedBytes else { return false }
            let fresh = fileState(info, validatedAt: now)
            guard AttributeCodec.kind(of: info.properties.metadata) == .file else { return false }
            state.content = fresh.content
            state.attributes = fresh.attributes
            state.properties = fresh.properties
            state.validatedAt = now
            return true
        }
        cache.forget(old)
        if isAdopted {
            invalidateKernel(node)
        } else {
            dropName(of: node)
            throw FileSystemError(.stale, cause: "'\(old.key)' was changed by another client while it was open")
        }
    }

    /// Puts a read together that is partly local and partly in the base object.
    private func assemble(
        _ handle: FileHandle, _ file: StagedFile, _ range: ByteRange
    ) async throws(FileSystemError) -> ReadData {
        // An upload of our own replaces the base while it is being read: then the bytes are in the new one.
        for _ in 0..<8 {
            if file.isInTransit(range) { try await bringBack(handle.node) }
            let pieces = file.pieces(range)
            do throws(StoreError) {
                return try await assemble(handle, file, pieces)
            } catch {
                guard error.kind == .preconditionFailed || error.kind == .notFound || error.kind == .invalidRange
                else { throw FileSystemError(error) }
                let hasMoved = pieces != file.pieces(range)
                if !hasMoved, handle.node.state.withLock({ $0.isUnlinked }) { throw Self.notKept(file.key) }
                guard hasMoved || file.isBeingSent || file.publicationIsUncertain || file.isInTransit(range) else {
                    // "No such file" would be taken for an answer about a name.
                    throw error.kind == .notFound
                        ? FileSystemError(.stale, cause: error.description) : FileSystemError(error)
                }
                if file.isBeingSent {
                    await file.waitForAttempt()
                } else if file.publicationIsUncertain {
                    // The object may be ours, its answer lost: the next try finds out.
                    try await bring(file)
                }
            }
        }
        throw FileSystemError(.inputOutput, cause: "'\(file.key)' changes faster than it can be read")
    }

    private func assemble(
        _ handle: FileHandle, _ file: StagedFile, _ pieces: [StagedFile.Piece]
    ) async throws(StoreError) -> ReadData {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(pieces.reduce(0) { $0 + $1.range.count })
        for piece in pieces {
            switch piece {
            case .local(let range):
                guard case .local(let read) = file.beginRead(range) else { throw Self.moved(file) }
                do throws(StagingError) {
                    let part = try read.bytes()
                    guard part.count == range.count else { throw StagingError.inTransit }
                    bytes += part
                } catch {
                    if error == .inTransit { throw Self.moved(file) }
                    throw StoreError(.sourceFailed, operation: "read", key: file.key, message: error.description)
                }
            case .inTransit: throw Self.moved(file)
            case .base(let version, let range):
                bytes += try await cache.read(handle.stream(of: version), range: range).array
            }
        }
        return .bytes(bytes)
    }

    /// Bytes of an open file that were nowhere any more once its name was removed.
    static func notKept(_ key: ObjectKey) -> FileSystemError {
        FileSystemError(.stale, cause: "'\(key)' was removed while it was open, and these bytes could not be kept")
    }

    /// The bytes are to be had elsewhere by now.
    private static func moved(_ file: StagedFile) -> StoreError {
        StoreError(.invalidRange, operation: "read", key: file.key, message: "the bytes have moved")
    }
}
