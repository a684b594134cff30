// Making and removing directories.

internal import Base
internal import BlockCache
internal import Logging
internal import ObjectModel
internal import ObjectStore
internal import Staging

extension FileSystem {
    // MARK: Making

    public func makeDirectory(
        parent number: UInt64, name text: String, permissions: UInt32, uid: UInt32, gid: UInt32
    ) -> Answer<FileStatus> {
        .later { () async throws(FileSystemError) in
            let name = try await self.name(text, in: number, orElse: .invalidArgument)
            return try await self.changing(.entry(parent: number, name: name)) { () async throws(FileSystemError) in
                try await self.makeEntry(
                    .directory, parent: number, name: name, permissions: permissions, uid: uid, gid: gid)
            }
        }
    }

    public func makeSymlink(
        parent number: UInt64, name text: String, target: String, uid: UInt32, gid: UInt32
    ) -> Answer<FileStatus> {
        .later { () async throws(FileSystemError) in
            let name = try await self.name(text, in: number, orElse: .invalidArgument)
            return try await self.changing(.entry(parent: number, name: name)) { () async throws(FileSystemError) in
                try await self.makeEntry(
                    .symlink, parent: number, name: name, permissions: 0o777, uid: uid, gid: gid, target: target)
            }
        }
    }

    /// Makes a FIFO, a socket's name, or a device node.
    /// - Parameter device: of device nodes, as `st_rdev` has it.
    public func makeNode(
        _ kind: FileKind, parent number: UInt64, name text: String, permissions: UInt32, uid: UInt32, gid: UInt32,
        device: UInt32
    ) -> Answer<FileStatus> {
        .later { () async throws(FileSystemError) in
            let name = try await self.name(text, in: number, orElse: .invalidArgument)
            return try await self.changing(.entry(parent: number, name: name)) { () async throws(FileSystemError) in
                try await self.makeEntry(
                    kind, parent: number, name: name, permissions: permissions, uid: uid, gid: gid, device: device)
            }
        }
    }

    /// Makes anything but a file: an object with metadata, empty but for long symlinks. It is in the store when this returns,
    /// but for directories of a tree that was just made (see `makeEarly`).
    private func makeEntry(
        _ kind: FileKind, parent number: UInt64, name: FileName, permissions: UInt32, uid: UInt32, gid: UInt32,
        target: String? = nil, device: UInt32 = 0
    ) async throws(FileSystemError) -> FileStatus {
        try refuseIfReadOnly()
        try Self.refuseIfNotCreatable(name)
        if try await exists(parent: number, name: name) { throw FileSystemError(.alreadyExists) }
        let key = try tree.withLock { tree throws(FileSystemError) in
            guard let parent = tree[number] else { throw FileSystemError(.stale) }
            let key = try self.key(parent: parent, name: name)
            return kind == .directory ? try markerKey(of: key) : key
        }
        var attributes = FileAttributes(permissions: permissions & 0o7777, uid: uid, gid: gid, time: time.now)
        attributes.device = device
        inheritGroup(of: number, kind, &attributes)
        var properties = ObjectProperties()
        AttributeCodec.encode(attributes, kind: kind, into: &properties)
        var body: SymlinkBody?
        if let target {
            var withTarget = properties
            AttributeCodec.encode(symlinkTarget: target, into: &withTarget)
            // What metadata cannot hold goes where s3fs has all targets.
            if withTarget.metadataByteCount <= ObjectProperties.metadataByteCountMax {
                properties = withTarget
            } else {
                body = SymlinkBody(KernelName.bytes(of: target))
            }
        }
        if kind == .directory { properties.contentType = Self.markerContentType }
        var state = Node.State(content: .none, attributes: attributes, properties: properties, validatedAt: 0)
        state.symlinkTarget = target
        if kind == .directory, let status = try makeEarly(parent: number, name: name, key, state) { return status }
        let request = PutRequest(key: key, body: body, properties: properties, condition: .ifAbsent)
        let etag: ETag
        do throws(StoreError) {
            etag = kind == .directory ? try await putNewMarker(request) : try await store.put(request)
        } catch {
            doubt(parent: number, name)
            throw error.kind == .preconditionFailed
                ? FileSystemError(.alreadyExists, cause: error.description) : FileSystemError(error)
        }
        if kind != .directory {
            state.content = .clean(ObjectVersion(key: key, etag: etag, byteCount: body?.byteCount ?? 0))
        }
        return try tree.withLock { tree throws(FileSystemError) in
            guard let parent = tree[number], parent.directory != nil else { throw FileSystemError(.stale) }
            let dentry = addMade(kind, state, to: parent, name: name, &tree)
            noteWritten(dentry)
            return dentry.node.status
        }
    }

    /// Gives a name to what this mount has just made.
    func addMade(
        _ kind: FileKind, _ made: Node.State, to parent: Dentry, name: FileName, _ tree: inout Tree
    ) -> Dentry {
        var state = made
        let now = nowNanoseconds
        (state.validatedAt, state.changedAt) = (now, now)
        if kind == .directory { state.noteMarkerWritten(at: time.now, now) }
        let content = state.content
        if let old = parent.directory!.children[name] { supersede(old, &tree) }
        let dentry = tree.add(kind, state, inode: InodeNumber.new(), parent: parent, name: name)
        if kind == .directory {
            // A directory that was just made has no entries that this mount does not know of.
            dentry.directory!.hasMarker = true
            dentry.directory!.listing = Listing(startedAt: now, entries: [:])
            dentry.directory!.noteMade(now)
        }
        if case .clean(let version) = content {
            parent.noteCreated(name, .file(ListedObject(version: version, lastModified: time.now)))
        } else {
            parent.noteCreated(name, .directory)
        }
        touch(parent)
        dentry.lookupCount += 1
        return dentry
    }

    public func readSymlink(_ number: UInt64) -> Answer<String> {
        guard let node = node(number) else { return .fail(.stale) }
        guard node.kind == .symlink else { return .fail(.invalidArgument) }
        let (target, content) = node.state.withLock { ($0.symlinkTarget, $0.content) }
        if let target, !target.isEmpty { return .ready(target) }
        guard case .clean(let version) = content, version.byteCount > 0, version.byteCount <= SymlinkBody.byteCountMax
        else {
            return .ready(target ?? "")
        }
        // s3fs keeps the target in the body, and so do we where it is long.
        return .later { () async throws(FileSystemError) in
            do throws(StoreError) {
                let bytes = try await self.cache.read(version, range: ByteRange(0, version.byteCount)).array
                let text = KernelName.text(of: bytes)
                node.state.withLock { $0.symlinkTarget = text }
                return text
            } catch {
                throw FileSystemError(error)
            }
        }
    }

    // MARK: Removing

    public func removeDirectory(parent number: UInt64, name text: String) -> Answer<Void> {
        .later { () async throws(FileSystemError) in
            let name = try await self.name(text, in: number, orElse: .notFound)
            try await self.changing(.removal(parent: number, name: name)) { () async throws(FileSystemError) in
                try await self.removeDirectory(parent: number, name: name)
            }
        }
    }

    func removeDirectory(parent number: UInt64, name: FileName) async throws(FileSystemError) {
        try refuseIfReadOnly()
        let node = try await resolve(parent: number, name: name, isReferenced: false)
        guard node.kind == .directory else { throw FileSystemError(.notDirectory) }
        let prefix = try await prefixIfEmpty(node)
        try await keepParent(number, losing: name)
        do throws(FileSystemError) {
            try await removeMarkers(of: node, prefix)
        } catch {
            doubt(parent: number, name)
            throw error
        }
        let changes: [KernelInvalidation] = tree.withLock { tree in
            guard let dentry = tree[node.number] else { return [] }
            let parent = dentry.parent
            node.state.withLock { $0.isUnlinked = true }
            tree.detach(dentry)
            guard let parent else { return [] }
            parent.noteRemoved(name)
            parent.directory!.noteDirectoryGone()
            noteGone(name, from: parent, isDirectory: true)
            touch(parent)
            return reclaimName(name, in: parent, &tree)
        }
        invalidateKernel(changes)
    }

    /// What tools of the Hadoop family leave beside a directory, from its key with or without the slash.
    static func folderMarker(ofDirectory key: ByteString) -> ObjectKey? {
        ObjectKey((key.hasSuffix("/") ? key.dropLast(1) : key) + ListingBuilder.folderSuffix)
    }

    /// The other form of a directory's marker, which goes with it: else the directory would come back. Nil where there is an
    /// object with content of that name.
    func folderMarker(of node: Node) -> ObjectKey? {
        tree.withLock { tree in
            guard let dentry = tree[node.number], let parent = dentry.parent, let name = dentry.name,
                let prefix = dentry.prefix(root: configuration.prefix)
            else { return nil }
            let segment = NameCodec.segment(for: name) + ListingBuilder.folderSuffix
            if let beside = NameCodec.name(forSegment: segment),
                parent.directory!.children[beside] != nil || parent.directory!.listed(beside) != nil
            {
                return nil
            }
            return Self.folderMarker(ofDirectory: prefix)
        }
    }

    /// The directory is gone for which an object of the same name had another one: the object has its own name again.
    func reclaimName(_ name: FileName, in parent: Dentry, _ tree: inout Tree) -> [KernelInvalidation] {
        guard let beside = NameCodec.nameBesideDirectory(NameCodec.segment(for: name)),
            parent.directory!.children[name] == nil
        else { return [] }
        let entry = parent.directory!.listed(beside)
        let child = parent.directory!.children[beside]
        guard entry != nil || child != nil else { return [] }
        let learned = parent.directory!.known[beside]
        parent.noteRemoved(beside)
        noteGone(beside, from: parent)
        if let child { tree.move(child, to: parent, name: name) }
        parent.noteCreated(name, entry ?? child.flatMap { listingEntry(of: $0.node) })
        parent.directory!.known[name] = learned
        return [beside, name].map { .entry(parent: parent.node.number, name: $0.shown) }
    }

    /// The key prefix of a directory that has no entries; `.notEmpty` when it has.
    func prefixIfEmpty(_ node: Node) async throws(FileSystemError) -> ByteString {
        let prefix = try tree.withLock { tree throws(FileSystemError) in
            guard let dentry = tree[node.number], let prefix = dentry.prefix(root: configuration.prefix) else {
                throw FileSystemError(.stale)
            }
            guard !dentry.directory!.children.values.contains(where: { $0.node.isPending || hasPendingBelow($0) })
            else {
                throw FileSystemError(.notEmpty)
            }
            return prefix
        }
        // What the store has now counts, not what was listed a while ago.
        let page: ListPage
        do throws(StoreError) {
            page = try await store.list(ListRequest(prefix: prefix, delimited: false, entryCountMax: 2))
        } catch {
            throw FileSystemError(error)
        }
        guard page.objects.allSatisfy({ $0.key.bytes == prefix }), page.continuation == nil else {
            // Not empty because something that was removed could not be: that is the reason to tell.
            if let refusal = removals?.takeRefusal(below: prefix) { throw FileSystemError(refusal) }
            throw FileSystemError(.notEmpty)
        }
        return prefix
    }

    // MARK: Small things

    func refuseIfReadOnly() throws(FileSystemError) {
        if configuration.isReadOnly { throw FileSystemError(.readOnly) }
    }

    func exists(parent number: UInt64, name: FileName) async throws(FileSystemError) -> Bool {
        do throws(FileSystemError) {
            _ = try await resolve(parent: number, name: name, isReferenced: false)
            return true
        } catch {
            if error.kind == .notFound { return false }
            throw error
        }
    }

    /// A directory whose entries changed has new times, in memory only: objects have none for that.
    func touch(_ dentry: Dentry) {
        let now = time.now
        dentry.node.state.withLock {
            $0.attributes.modified = now
            $0.attributes.changed = now
        }
    }
}
