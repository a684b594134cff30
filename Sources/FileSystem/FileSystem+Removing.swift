// unlink(2), and what becomes of files that are open then.

internal import Base
internal import BlockCache
internal import Logging
internal import ObjectModel
internal import ObjectStore
internal import Staging

extension FileSystem {
    public func unlink(parent number: UInt64, name text: String) -> Answer<Void> {
        .later { () async throws(FileSystemError) in
            let name = try await self.name(text, in: number, orElse: .notFound)
            try await self.changing(.entry(parent: number, name: name)) { () async throws(FileSystemError) in
                try await self.unlink(parent: number, name: name)
            }
        }
    }

    private func unlink(parent number: UInt64, name: FileName) async throws(FileSystemError) {
        try refuseIfReadOnly()
        let startedAt = nowNanoseconds
        let node = try await resolve(parent: number, name: name, isReferenced: false)
        guard node.kind != .directory else { throw FileSystemError(.isDirectory) }
        try await keepParent(number, losing: name)
        let key = try await vacate(node, isRemoval: true)
        do throws(FileSystemError) {
            if let key {
                node.stagedFile?.note(.removal)
                try await remove(key, of: node, parent: number, startedAt: startedAt)
            }
        } catch {
            // Still there, as far as one can tell: what was pending must go on being uploaded.
            reoccupy(node)
            doubt(parent: number, name)
            throw error
        }
        markUnlinked(node)
        tree.withLock { tree in
            guard let dentry = tree[node.number] else { return }
            if let parent = dentry.parent { touch(parent) }
            dentry.parent?.noteRemoved(name)
            tree.detach(dentry)
            if let parent = tree[number] {
                parent.noteRemoved(name)
                noteGone(name, from: parent)
            }
        }
    }

    /// Prepares a node for losing its object: nothing of it is sent any more, and if it is open its bytes are kept for
    /// those who have it open. Returns the key to be deleted; nil when nothing can be under it. What follows is
    /// `markUnlinked`, or `reoccupy` when the object stays after all.
    /// - Parameter isRemoval: it is to make room, perhaps: a full disk keeps no bytes, and does not keep from removing.
    func vacate(_ node: Node, isRemoval: Bool = false) async throws(FileSystemError) -> ObjectKey? {
        beginChangingKey(node)
        do throws(FileSystemError) {
            return try await vacateHolding(node, isRemoval: isRemoval)
        } catch {
            reoccupy(node)
            throw error
        }
    }

    /// The object of a vacated node stays: what is pending goes on.
    func reoccupy(_ node: Node) {
        node.stagedFile?.note(nil)
        endChangingKey(node)
        if let file = node.stagedFile, node.state.withLock({ $0.writerCount == 0 }) { queue.submit(file) }
        becomeCleanIfPublished(node)
    }

    /// From now on the node stays staged if it is, and what begins to be staged is held.
    func beginChangingKey(_ node: Node) {
        node.state.withLock { state in
            state.keyChange = state.keyChange ?? OneShot()
            state.writerCount += 1
        }
    }

    func endChangingKey(_ node: Node) {
        let done = node.state.withLock { state in
            state.writerCount -= 1
            return state.takeKeyChange()
        }
        done?.set(())
        if let file = node.stagedFile { queue.resume(file) }
    }

    private func vacateHolding(_ node: Node, isRemoval: Bool) async throws(FileSystemError) -> ObjectKey? {
        func ifThereIsRoom(_ body: () async throws(FileSystemError) -> Void) async throws(FileSystemError) {
            do throws(FileSystemError) {
                try await body()
            } catch {
                guard isRemoval, error.isOfFullDisk else { throw error }
                log.notice("no room to keep a removed file for those who have it open: \(error)")
            }
        }
        if let version = node.state.withLock({ $0.objectVersion }) { try await secureCopies(of: version.key.bytes) }
        if let file = node.stagedFile {
            // Who has it open reads what is in parts of its upload from the object that they become.
            if file.hasBytesInTransit, node.state.withLock({ $0.openCount > 0 }) {
                try await ifThereIsRoom { () async throws(FileSystemError) in try await bringBack(node) }
            }
            // Held, not only settled: who has it open for writing may close it meanwhile.
            await queue.hold(file)
            if node.state.withLock({ $0.openCount > 0 }) {
                try await ifThereIsRoom { () async throws(FileSystemError) in try await keepBytes(of: node, in: file) }
            }
            return file.keyMayHoldObject ? file.key : nil
        }
        guard case .clean(let version) = node.state.withLock({ $0.content }) else { return nil }
        if node.kind == .file, node.state.withLock({ $0.openCount > 0 }),
            version.byteCount <= configuration.keepUnlinkedBytesMax
        {
            try await ifThereIsRoom { () async throws(FileSystemError) in
                // A staged copy that is never uploaded; its readers go on from it.
                let file = try stage(node)
                await queue.hold(file)
                try await keepBytes(of: node, in: file)
            }
        }
        return version.key
    }

    private func keepBytes(of node: Node, in file: StagedFile) async throws(FileSystemError) {
        guard let base = file.base, base.byteCount <= configuration.keepUnlinkedBytesMax else { return }
        do throws(StagingError) {
            try await file.materialise(ByteRange(0, file.byteCount)) { version, range throws(StoreError) in
                try await self.cache.read(version, range: range).array
            }
        } catch {
            // Another client was faster: its readers get ESTALE, which is true.
            if case .store(let cause) = error, cause.kind == .preconditionFailed || cause.kind == .notFound { return }
            throw FileSystemError(error)
        }
    }

    /// A vacated node has lost its name for good; staged bytes of it live on only for open handles.
    func markUnlinked(_ node: Node) {
        let now = time.now
        let done = node.state.withLock { state in
            state.isUnlinked = true
            state.attributes.changed = now
            state.writerCount -= 1
            return state.takeKeyChange()
        }
        done?.set(())
        if let file = node.stagedFile {
            _ = owners.withLock { $0.removeValue(forKey: ObjectIdentifier(file)) }
            file.abandon()
        }
    }

    func delete(_ key: ObjectKey) async throws(FileSystemError) {
        do throws(StoreError) {
            try await store.delete(key)
        } catch {
            // It may have been done, and the answer lost.
            do throws(StoreError) { _ = try await store.head(key) } catch let second {
                if second.kind == .notFound { return }
            }
            throw FileSystemError(error)
        }
    }

    /// After a change whose outcome is not known: what is believed of a name is asked for again.
    func doubt(parent number: UInt64, _ name: FileName) {
        tree.withLock { tree in
            guard let dentry = tree[number], dentry.directory != nil else { return }
            dentry.directory!.listing = nil
            dentry.directory!.partial = nil
            dentry.directory!.ahead.forget(name)
            dentry.directory!.absent[name] = nil
            dentry.directory!.known[name] = nil
            dentry.directory!.children[name]?.directory?.hasMarker = nil
            dentry.directory!.children[name]?.node.state.withLock { $0.validatedAt = 0 }
        }
    }
}
