// A file or symlink that gets another key.

internal import Base
internal import Logging
internal import ObjectModel
internal import ObjectStore
internal import Staging

extension FileSystem {
    /// Throws when the file has its old name still. Returns the error when it has the new one, and the old object could not
    /// be removed.
    func moveFile(
        _ node: Node, _ storageClass: String?, to newKey: ObjectKey, replacing target: Node?, mustBeNew: Bool,
        at time: Timestamp
    ) async throws(FileSystemError) -> FileSystemError? {
        if mustBeNew { try await refuseIfPresent(newKey) }
        if let file = node.stagedFile {
            await queue.hold(file)
            // A file that has no object yet only gets another key: its data goes there in the first place.
            if file.base == nil, !file.hasBytesInTransit {
                try await rekey(node, file, to: newKey, replacing: target, at: time)
                return nil
            }
            // Otherwise the object is brought up to date first, and then moved like any other. What is written to the
            // open file meanwhile waits until it has its new key.
            for _ in 0..<4 {
                queue.resume(file)
                try storeAttributes(of: node, in: file)
                try await bring(file)
                await queue.hold(file)
                // The hold may have cut off an upload of what was written since.
                if !file.publicationIsUncertain { break }
            }
        }
        guard let version = node.state.withLock({ $0.objectVersion }) else { throw FileSystemError(.stale) }
        try await secureCopies(of: version.key.bytes)
        if let target {
            _ = try await vacate(target)
            let metadata = node.state.withLock { $0.properties?.metadata } ?? [:]
            // Other metadata may be that of many objects.
            let mark = PublicationMark(
                byteCount: version.byteCount, metadata: AttributeCodec.isPosix(metadata) ? metadata : [:])
            target.stagedFile?.note(.replacement(mark, version.etag))
        }
        let moved: ObjectVersion
        do throws(StoreError) {
            let etag = try await store.copy(
                CopyRequest(source: version, destination: newKey, storageClass: storageClass))
            moved = ObjectVersion(key: newKey, etag: etag, byteCount: version.byteCount)
        } catch {
            switch await findCopy(of: node, version, at: newKey, replacing: target, after: error) {
            case .own(let found): moved = found
            case let other:
                if let target { reoccupy(target) }
                // The name does not lead to the target any more; who has that open goes on with it.
                if other == .unknown, let target, target.stagedFile?.needsUpload != true { dropName(of: target) }
                throw FileSystemError(error)
            }
        }
        if let target { loseName(target) }
        // The file has its new place before nothing has the old one any more: who reads it goes on, and what is pending too.
        // Lookups of the old name wait.
        do throws(FileSystemError) {
            try adopt(moved, in: node)
        } catch {
            // What was written meanwhile cannot be journalled for the new key. A replaced object is gone: its copy stays.
            if target == nil { await removeIfUnchanged(moved) }
            throw error
        }
        do throws(FileSystemError) {
            try await delete(version.key)
        } catch {
            let refusal = error
            // Without room to journal the way back, the file has the new name.
            do throws(FileSystemError) { try adopt(version, in: node) } catch { return refusal }
            // The store has said that the object stays: then the copy goes, unless what it replaced is gone. After any other
            // failure it may be all that is left.
            if target == nil, refusal.kind == .accessDenied { await removeIfUnchanged(moved) }
            throw refusal
        }
        return nil
    }

    /// Takes back a copy of ours, unless another client has changed it since. S3 has no condition for a removal.
    private func removeIfUnchanged(_ version: ObjectVersion) async {
        do throws(FileSystemError) {
            guard try await head(version.key)?.version == version else { return }
            try await delete(version.key)
        } catch {
            log.error(
                "the copy of a rename that failed could not be removed: \(error)", metadata: ["key": "\(version.key)"])
        }
    }

    private enum CopyFound: Equatable {
        case own(ObjectVersion)
        /// What stood there before, or nothing: as far as one can tell it was not made.
        case none
        /// Something else than before, and nobody can tell whose.
        case unknown
    }

    /// Whether a copy whose answer was lost was made: what stands there has the length and the metadata of the source, and
    /// is not what stood there before. Without metadata nobody can tell.
    private func findCopy(
        of node: Node, _ version: ObjectVersion, at key: ObjectKey, replacing target: Node?, after error: StoreError
    ) async -> CopyFound {
        guard error.isOutcomeOpen else { return .none }
        do throws(FileSystemError) {
            let before = target?.state.withLock { $0.objectVersion }
            guard let found = try await head(key), found.version != before else { return .none }
            guard found.version.byteCount == version.byteCount, let source = try await head(version.key),
                source.version == version, AttributeCodec.isPosix(source.properties.metadata),
                source.properties.metadata == found.properties.metadata
            else { return before == nil ? .none : .unknown }
            return .own(found.version)
        } catch {
            return .none
        }
    }

    /// Gives data that was never published another key.
    private func rekey(
        _ node: Node, _ file: StagedFile, to newKey: ObjectKey, replacing target: Node?, at time: Timestamp
    ) async throws(FileSystemError) {
        let oldKey = file.key
        if let target {
            _ = try await vacate(target)
            target.stagedFile?.note(.replacementByStaged(file.place))
        }
        do throws(FileSystemError) {
            // A lost answer, or a file that ours took the name of, may have left an object under the old key.
            if file.keyMayHoldObject { try await delete(file.key) }
            do throws(StagingError) {
                try file.rekey(newKey, condition: conditionForReplacing(target, key: newKey))
            } catch {
                throw FileSystemError(error)
            }
        } catch {
            if let target { reoccupy(target) }
            throw error
        }
        if let target { loseName(target) }
        // Who writes beside a file, and renames over it, means the type of the last name.
        try? nameContentType(of: node, file, oldKey)
        // With the time of this change, or that would be a copy of the object later.
        node.state.withLock { $0.attributes.changed = time }
        try? storeAttributes(of: node, in: file)
        queue.resume(file)
        // Nobody but this rename: no close() will follow.
        if node.state.withLock({ $0.writerCount == 1 }) { queue.submit(file) }
    }

    /// Gives a file that has another key the content type of its name, unless somebody has set one.
    private func nameContentType(of node: Node, _ file: StagedFile, _ oldKey: ObjectKey) throws(StagingError) {
        guard node.kind == .file else { return }
        func usual(_ key: ObjectKey) -> String? { ContentType.of(path: key.string) }
        var properties = file.properties
        guard properties.contentType == nil || properties.contentType == usual(oldKey),
            properties.contentType != usual(file.key)
        else { return }
        properties.contentType = usual(file.key)
        try file.setProperties(properties)
        let changed = properties.contentType
        node.state.withLock { $0.properties?.contentType = changed }
    }

    /// A replaced file: it lives on only for who has it open.
    private func loseName(_ target: Node) {
        markUnlinked(target)
        tree.withLock { tree in
            guard let dentry = tree[target.number] else { return }
            if let parent = dentry.parent, let name = dentry.name { parent.directory!.known[name] = nil }
            tree.detach(dentry)
        }
    }

    /// For RENAME_NOREPLACE: what is remembered as absent may have been made by another client since, as a file or a directory.
    private func refuseIfPresent(_ key: ObjectKey) async throws(FileSystemError) {
        async let object = Result.of { () async throws(FileSystemError) in try await self.head(key) }
        let isFree = try await isNothing(below: markerKey(of: key).bytes)
        guard isFree, try await object.get() == nil else { throw FileSystemError(.alreadyExists) }
    }

    /// What an upload must find under the key of a vacated file that it is to replace.
    private func conditionForReplacing(_ target: Node?, key: ObjectKey) -> WriteCondition {
        guard let target else { return .ifAbsent }
        if let file = target.stagedFile {
            if let base = file.base, base.key == key, !file.publicationIsUncertain { return .ifMatch(base.etag) }
            return file.publicationIsUncertain ? .none : file.condition
        }
        guard case .clean(let version) = target.state.withLock({ $0.content }), version.key == key else { return .none }
        return .ifMatch(version.etag)
    }

    /// The node's object stands under another key now.
    func adopt(_ version: ObjectVersion, in node: Node) throws(FileSystemError) {
        let file: StagedFile? = node.state.withLock { state in
            switch state.content {
            case .none: return nil
            case .clean:
                state.content = .clean(version)
                state.validatedAt = nowNanoseconds
                return nil
            case .staged(let file): return file
            }
        }
        guard let file else { return }
        do throws(StagingError) { try file.moveBase(to: version) } catch { throw FileSystemError(error) }
        becomeCleanIfPublished(node)
    }
}

extension Node.State {
    /// The version in the store that this node stands on.
    var objectVersion: ObjectVersion? {
        switch content {
        case .none: nil
        case .clean(let version): version
        case .staged(let file): file.base
        }
    }
}
