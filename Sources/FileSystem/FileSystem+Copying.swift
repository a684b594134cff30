// copy_file_range(2) as a copy that the server makes.

internal import Base
internal import ObjectModel
internal import ObjectStore
internal import Staging

extension FileSystem {
    /// Copies a range of one open file into another without its bytes coming here: the target stands on the source's object
    /// from now on, and its upload is a server-side copy. That is so for a file that is copied from its beginning, at
    /// once or in pieces that follow each other, into one that is empty. Everything else, and what is small, is
    /// `.unsupported`: then the kernel reads and writes it, which is right as well.
    /// - Parameter endsPrivileges: as of `write`.
    /// - Returns: how many bytes were copied; 0 at the end of the source.
    public func copyRange(
        from source: FileHandle, offset: Int, to target: FileHandle, offset targetOffset: Int, count: Int,
        endsPrivileges: Bool = false
    ) -> Answer<Int> {
        guard offset >= 0, count > 0, source.node !== target.node, offset == targetOffset,
            store.capabilities.partCopy,
            case .clean(let version) = source.node.state.withLock({ $0.content })
        else { return .fail(.unsupported) }
        let copied = min(count, version.byteCount - offset)
        guard copied > 0 else { return .ready(0) }
        // The end of a large file may be short: its beginning is on the server already.
        guard offset > 0 || copied > UploadPlan.singlePutBytes else { return .fail(.unsupported) }
        return .later { () async throws(FileSystemError) in
            let places = (ChangePlace.node(source.node.number), ChangePlace.node(target.node.number))
            return try await self.changing(places.0, places.1) { () async throws(FileSystemError) in
                // Moved elsewhere while this waited.
                guard case .clean(version) = source.node.state.withLock({ $0.content }) else {
                    throw FileSystemError(.unsupported)
                }
                let node = target.node
                let file = try self.stage(node)
                let isCopied: Bool
                do throws(StagingError) {
                    isCopied = try file.stand(on: version, from: offset, upTo: offset + copied)
                } catch {
                    throw FileSystemError(error)
                }
                guard isCopied else { throw FileSystemError(.unsupported) }
                target.state.withLock { $0.hasWritten = true }
                let now = self.time.now
                node.state.withLock { state in
                    state.attributes.modified = now
                    state.attributes.changed = now
                    if endsPrivileges { state.attributes.endPrivileges() }
                    state.changedAt = self.nowNanoseconds
                    state.hasServedBytes = true
                }
                return copied
            }
        }
    }

    /// Before this mount replaces or removes an object: files that stand on it, and are not uploaded yet, are.
    func secureCopies(of key: ByteString) async throws(FileSystemError) {
        for file in area.files(standingOn: key) { try await bring(file) }
    }
}
