// Reading and changing attributes.

internal import Base
internal import BlockCache
internal import ObjectModel
internal import ObjectStore
internal import Staging

extension FileSystem {
    public func status(_ number: UInt64) -> Answer<FileStatus> {
        guard let node = node(number) else { return .fail(.stale) }
        if node.kind == .directory { return directoryStatus(node) }
        let mustAsk = node.state.withLock { state in
            guard case .clean = state.content, !state.isUnlinked, !state.isSuperseded else { return false }
            // An open file is what it was when it was opened.
            return !isFresh(state.validatedAt) && state.openCount == 0
        }
        guard mustAsk else { return .ready(node.status) }
        return .later { () async throws(FileSystemError) in
            try await self.validate(node)
            return node.status
        }
    }

    /// Whether a user may change a node's mode, as far as user numbers tell: as its owner, or as root.
    public func isOwner(_ uid: UInt32, of number: UInt64) -> Bool {
        uid == 0 || node(number)?.state.withLock { $0.attributes.uid } == uid
    }

    private func directoryStatus(_ node: Node) -> Answer<FileStatus> {
        let mustAsk = node.state.withLock {
            $0.validatedAt == 0 && !$0.isUnlinked && !$0.isSuperseded && !$0.hasPendingMarker
        }
        guard mustAsk, let marker = markerKey(of: node) else { return .ready(node.status) }
        return .later { () async throws(FileSystemError) in
            try await self.asking { () async throws(FileSystemError) in
                try await self.askForMarker(marker, of: node)
            } known: {
                ()
            }
            return node.status
        }
    }

    /// As `revalidate`; while the store does not answer, what was validated once will do.
    func validate(_ node: Node, bringsBytes: Bool = false) async throws(FileSystemError) {
        try await asking { () async throws(FileSystemError) in
            try await revalidate(node, bringsBytes: bringsBytes)
        } known: {
            node.state.withLock { $0.validatedAt > 0 && !$0.isSuperseded ? () : nil }
        }
    }

    /// Asks the store whether a clean file is still what we know; `.stale` when it is another now.
    /// - Parameter bringsBytes: whether the first block comes with the answer, if it is not cached.
    func revalidate(_ node: Node, bringsBytes: Bool = false) async throws(FileSystemError) {
        let startedAt = nowNanoseconds
        guard case .clean(let version) = node.state.withLock({ $0.content }) else { return }
        let brought = bringsBytes ? await beginning(of: version) : nil
        let info = if let brought { brought } else { try await head(version.key) }
        let isSame = node.state.withLock { state in
            // Changed or moved by ourselves meanwhile.
            guard case .clean(let now) = state.content, now == version, state.changedAt < startedAt else { return true }
            guard let info, info.version == version else { return false }
            let fresh = fileState(info, validatedAt: startedAt)
            state.validatedAt = startedAt
            state.properties = fresh.properties
            state.storeTime = fresh.storeTime
            if state.writerCount == 0 { state.attributes = fresh.attributes }
            return true
        }
        if !isSame {
            dropName(of: node)
            throw FileSystemError(.stale)
        }
    }

    /// What a GET of the first block tells of a version; nil when there is none, or it does not tell.
    private func beginning(of version: ObjectVersion) async -> ObjectInfo? {
        let done = OneShot<Result<ObjectInfo?, StoreError>>()
        let outcome = cache.prefetch(version, byteCount: cache.beginningBytes(of: version), isUrgent: true) {
            done.set($0)
        }
        guard outcome == .started, case .success(let info) = await done.wait() else { return nil }
        return info
    }

    /// The name of a superseded node leads elsewhere from now on.
    func dropName(of node: Node) {
        tree.withLock { tree in
            guard let dentry = tree[node.number] else { return }
            if let parent = dentry.parent, let name = dentry.name {
                parent.directory?.listing?.remove(name)
                parent.directory?.listing = nil
                parent.directory?.known[name] = nil
            }
            supersede(dentry, &tree)
        }
        tellInvalidations()
        invalidateKernel(node)
    }

    /// Changes size, permissions, owner or times.
    public func setAttributes(_ number: UInt64, handle: FileHandle?, _ changes: AttributeChanges) -> Answer<FileStatus>
    {
        guard !configuration.isReadOnly else { return .fail(.readOnly) }
        guard let node = node(number) else { return .fail(.stale) }
        if node.kind == .directory {
            return .later { () async throws(FileSystemError) in
                try await self.changing(.node(number)) { () async throws(FileSystemError) in
                    try await self.setDirectoryAttributes(node, changes)
                }
            }
        }
        if let byteCount = changes.byteCount {
            if node.kind == .symlink { return .fail(.invalidArgument) }
            guard byteCount <= Self.fileBytesMax else { return .fail(.fileTooLarge) }
            // A cut is a change of the bytes: the close() that follows tells of its upload.
            handle?.state.withLock { $0.hasWritten = true }
        }
        // A file that is staged, or being written, needs nobody's leave.
        let mustBringBack = changes.byteCount.map { node.isCutInTransit(at: $0) } ?? false
        let needsNobody = node.stagedFile != nil || node.state.withLock { $0.isUnlinked }
        if needsNobody, !mustBringBack, let ticket = tryChange(.node(number)) {
            defer { self.changes.leave(ticket) }
            if node.stagedFile != nil || node.state.withLock({ $0.isUnlinked }) {
                do throws(FileSystemError) { return .ready(try apply(changes, to: node)) } catch {
                    return .failed(error)
                }
            }
        }
        return .later { () async throws(FileSystemError) in
            try await self.changing(.node(number)) { () async throws(FileSystemError) in
                try await self.learnProperties(node)
                if let byteCount = changes.byteCount, node.isCutInTransit(at: byteCount) {
                    try await self.bringBack(node)
                }
                return try self.apply(changes, to: node)
            }
        }
    }

    /// Makes sure that the whole of an object's metadata is known, before it is replaced.
    func learnProperties(_ node: Node) async throws(FileSystemError) {
        // The answer is of no use where the object was moved meanwhile.
        for _ in 0..<8 {
            guard case .clean = node.state.withLock({ $0.content }), node.state.withLock({ $0.properties }) == nil
            else {
                return
            }
            try await revalidate(node)
        }
        throw FileSystemError(.stale, cause: "the object changes faster than its metadata can be asked for")
    }

    private func apply(_ changes: AttributeChanges, to node: Node) throws(FileSystemError) -> FileStatus {
        let now = time.now
        try withWritePin(node) { () throws(FileSystemError) in
            if let byteCount = changes.byteCount {
                let file = try stage(node)
                do throws(StagingError) { try file.truncate(to: byteCount) } catch { throw FileSystemError(error) }
            }
            let before = node.state.withLock { $0.attributes }
            node.state.withLock { state in
                changes.apply(to: &state.attributes, kind: node.kind, now: now)
                if changes.byteCount != nil, changes.modified == nil { state.attributes.modified = now }
                state.changedAt = nowNanoseconds
            }
            if node.state.withLock({ $0.isUnlinked }) { return }
            do throws(FileSystemError) {
                let file = try stage(node)
                try storeAttributes(of: node, in: file)
            } catch {
                node.state.withLock { $0.attributes = before }
                throw error
            }
        }
        // No close() will follow where nobody has the file open for writing.
        if let file = node.stagedFile, node.state.withLock({ $0.writerCount == 0 && !$0.isUnlinked }) {
            queue.submit(file)
        }
        return node.status
    }

    /// Puts the node's present attributes into the properties of its next upload.
    func storeAttributes(of node: Node, in file: StagedFile) throws(FileSystemError) {
        let attributes = node.state.withLock { $0.attributes }
        var properties = file.properties
        AttributeCodec.encode(attributes, kind: node.kind, into: &properties)
        do throws(StagingError) { try file.setProperties(properties) } catch { throw FileSystemError(error) }
        let stored = properties
        node.state.withLock { $0.properties = stored }
    }

    /// In a set-group-ID directory what is new belongs to the directory's group, and a new directory has the bit too
    /// (inode(7)). The kernel leaves that to the filesystem.
    func inheritGroup(of parent: UInt64, _ kind: FileKind, _ attributes: inout FileAttributes) {
        guard let above = node(parent)?.state.withLock({ $0.attributes }), above.permissions & 0o2000 != 0 else {
            return
        }
        attributes.gid = above.gid
        if kind == .directory { attributes.permissions |= 0o2000 }
    }

    private func setDirectoryAttributes(_ node: Node, _ changes: AttributeChanges) async throws(FileSystemError)
        -> FileStatus
    {
        guard changes.byteCount == nil else { throw FileSystemError(.isDirectory) }
        // The root of a bucket has no key; its attributes live as long as the mount.
        let marker = markerKey(of: node)
        if let marker { try await learnMarker(marker, of: node) }
        // The marker says the same already (tar and cp set modes and owners that are so): what is left is the time of change,
        // which directories have in memory only.
        let isSame = node.state.withLock { state in
            let isStored = state.properties.map { AttributeCodec.isPosix($0.metadata) } ?? false
            return isStored && changes.changesNothing(of: state.attributes)
        }
        let now = time.now
        if let marker, !isSame {
            try await changeMarker(marker, of: node) { attributes, _ in
                changes.apply(to: &attributes, kind: .directory, now: now)
            }
        } else {
            node.state.withLock { changes.apply(to: &$0.attributes, kind: .directory, now: now) }
        }
        return node.status
    }
}
