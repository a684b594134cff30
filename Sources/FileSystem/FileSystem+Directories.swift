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

    /// Makes anything but a file: an object with metadata, empty but for long symlinks, in the store when this returns.
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
        if kind == .directory { properties.contentType = "application/x-directory" }
        let etag: ETag
        do throws(StoreError) {
            etag = try await store.put(PutRequest(key: key, body: body, properties: properties, condition: .ifAbsent))
        } catch {
            doubt(parent: number, name)
            throw error.kind == .preconditionFailed
                ? FileSystemError(.alreadyExists, cause: error.description) : FileSystemError(error)
        }
        let version = ObjectVersion(key: key, etag: etag, byteCount: body?.byteCount ?? 0)
        return try tree.withLock { tree throws(FileSystemError) in
            guard let parent = tree[number], parent.directory != nil else { throw FileSystemError(.stale) }
            var state = Node.State(
                content: kind == .directory ? .none : .clean(version), attributes: attributes, properties: properties,
                validatedAt: nowNanoseconds)
            state.changedAt = nowNanoseconds
            if kind == .directory { state.noteMarkerWritten(at: time.now, nowNanoseconds) }
            state.symlinkTarget = target
            if let old = parent.directory!.children[name] { supersede(old, &tree) }
            let dentry = tree.add(kind, state, inode: InodeNumber.new(), parent: parent, name: name)
            if kind == .directory {
                // A directory that was just made has no entries that this mount does not know of.
                dentry.directory!.hasMarker = true
                dentry.directory!.listing = Listing(startedAt: nowNanoseconds, entries: [:])
            }
            parent.noteCreated(
                name, kind == .directory ? .directory : .file(ListedObject(version: version, lastModified: time.now)))
            touch(parent)
            noteWritten(dentry)
            dentry.lookupCount += 1
            return dentry.node.status
        }
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
        do throws(StoreError) {
            let folder = folderMarker(of: node)
            let failures = try await store.delete([ObjectKey(prefix), folder].compactMap { $0 })
            // Where there is a marker of the usual form the other one hardly ever is: nobody needs leave to remove that.
            let hasMarker = tree.withLock { $0[node.number]?.directory?.hasMarker } == true
            if let failure = failures.first(where: { !hasMarker || $0.key != folder }) { throw failure.error }
        } catch {
            doubt(parent: number, name)
            throw FileSystemError(error)
        }
        let changes: [KernelInvalidation] = tree.withLock { tree in
            guard let dentry = tree[node.number] else { return [] }
            let parent = dentry.parent
            node.state.withLock { $0.isUnlinked = true }
            tree.detach(dentry)
            guard let parent else { return [] }
            parent.noteRemoved(name)
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

    // MARK: What keeps a directory in being

    /// Writes the marker of a directory that exists only through the entry it is about to lose.
    func keepParent(_ number: UInt64, losing name: FileName) async throws(FileSystemError) {
        enum Need { case nothing, marker(ObjectKey, Node), unknown(ByteString) }
        let startedAt = nowNanoseconds
        func need() -> Need {
            tree.withLock { tree in
                guard let dentry = tree[number], number != Tree.rootNumber, dentry.directory!.hasMarker != true,
                    let prefix = dentry.prefix(root: configuration.prefix), let marker = ObjectKey(prefix)
                else { return .nothing }
                // With a TTL of nothing no listing is fresh; one that began within this call will do.
                guard let listing = dentry.directory!.listing,
                    isFresh(listing.startedAt) || listing.startedAt >= startedAt
                else { return .unknown(prefix) }
                return listing.entries.keys.contains { $0 != name } ? .nothing : .marker(marker, dentry.node)
            }
        }
        // A listing may be dropped again at once, where too many names are held.
        for _ in 0..<3 {
            guard case .unknown = need() else { break }
            try await fillListing(number)
        }
        guard case .marker(let key, let node) = need() else { return }
        let (attributes, old) = node.state.withLock { ($0.attributes, $0.properties) }
        try await putMarker(key, node: node, attributes: attributes, properties: old ?? ObjectProperties())
    }

    func putMarker(
        _ key: ObjectKey, node: Node, attributes: FileAttributes, properties: ObjectProperties
    ) async throws(FileSystemError) {
        var properties = properties
        AttributeCodec.encode(attributes, kind: .directory, into: &properties)
        properties.contentType = properties.contentType ?? "application/x-directory"
        do throws(StoreError) {
            _ = try await store.put(PutRequest(key: key, body: nil, properties: properties))
        } catch {
            throw FileSystemError(error)
        }
        let written = properties
        node.state.withLock {
            $0.properties = written
            $0.changedAt = nowNanoseconds
            $0.noteMarkerWritten(at: time.now, nowNanoseconds)
        }
        tree.withLock { tree in
            guard let dentry = tree[node.number] else { return }
            dentry.directory?.hasMarker = true
            noteWritten(dentry)
            // What a HEAD told before is no longer so.
            if let parent = dentry.parent, let name = dentry.name { parent.directory?.known[name] = nil }
        }
    }

    /// Makes sure that what is changed in a marker's metadata was the store's within the TTL: a PUT replaces all of it, with
    /// what another mount changed too.
    func learnMarker(_ key: ObjectKey, of node: Node) async throws(FileSystemError) {
        if isFresh(node.state.withLock { $0.markerKnownAt }) { return }
        try await askForMarker(key, of: node)
    }

    func askForMarker(_ key: ObjectKey, of node: Node) async throws(FileSystemError) {
        let startedAt = nowNanoseconds
        let info = try await head(key)
        // Of a key that a rename has taken away the answer says nothing.
        guard moving.end(of: key.bytes) == nil, markerKey(of: node) == key else { return }
        let isNews = node.state.withLock { state in
            guard state.changedAt < startedAt else { return false }
            if let info { state.take(directoryState(info, validatedAt: startedAt)) }
            state.markerKnownAt = startedAt
            state.validatedAt = max(state.validatedAt, startedAt)
            return true
        }
        if isNews { tree.withLock { $0[node.number]?.directory?.hasMarker = info != nil } }
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
