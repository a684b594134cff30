// Listing, making and removing directories.

internal import Base
internal import BlockCache
internal import Logging
internal import ObjectModel
internal import ObjectStore
internal import Staging

extension FileSystem {
    // MARK: Reading

    public func openDirectory(_ number: UInt64) -> Answer<DirectoryHandle> {
        guard let node = node(number) else { return .fail(.stale) }
        guard node.kind == .directory else { return .fail(.notDirectory) }
        return .ready(DirectoryHandle(node: node))
    }

    /// The entries of a directory from position `position` on, `.` and `..` first. Positions stay valid for the life of
    /// the handle; position 0 takes a new snapshot.
    public func entries(_ handle: DirectoryHandle, from position: Int) -> Answer<ArraySlice<DirectoryEntry>> {
        if position > 0, let names = handle.names.withLock({ $0 }) {
            return .ready(names[min(position, names.count)...])
        }
        if let names = snapshot(handle.node.number) {
            handle.names.withLock { $0 = names }
            return .ready(names[min(position, names.count)...])
        }
        return .later { () async throws(FileSystemError) in
            let names = try await self.asking { () async throws(FileSystemError) in
                // A listing may be overtaken by an expiry or a removal; then it is asked for once more.
                for _ in 0..<3 {
                    try await self.fillListing(handle.node.number)
                    if let names = self.snapshot(handle.node.number) { return names }
                }
                throw FileSystemError(.stale)
            } known: {
                self.snapshot(handle.node.number, acceptsStale: true)
            }
            handle.names.withLock { $0 = names }
            return names[min(position, names.count)...]
        }
    }

    private func snapshot(_ number: UInt64, acceptsStale: Bool = false) -> [DirectoryEntry]? {
        tree.withLock { tree in
            guard let dentry = tree[number], var listing = dentry.directory?.listing,
                isUsable(listing.startedAt, acceptsStale: acceptsStale)
            else { return nil }
            let listed = listing.names()
            dentry.directory!.listing = listing
            let children = dentry.directory!.children
            let parentNumber = dentry.parent?.node.number ?? number
            var result = [
                DirectoryEntry(name: ".", kind: .directory, number: number, fileName: nil),
                DirectoryEntry(name: "..", kind: .directory, number: parentNumber, fileName: nil),
            ]
            result.reserveCapacity(listed.count + 2)
            for name in listed {
                let child = children[name]
                let kind = child?.node.kind ?? (listing.entries[name] == .directory ? .directory : .file)
                result.append(
                    DirectoryEntry(name: name.string, kind: kind, number: child?.node.number, fileName: name))
            }
            return result
        }
    }

    /// The status of an entry for readdirplus, with a reference for the kernel; nil where asking would cost a request.
    public func statusForListing(_ entry: DirectoryEntry, in handle: DirectoryHandle) -> FileStatus? {
        guard let name = entry.fileName,
            case .node(let node) = find(parent: handle.node.number, name: name, isReferenced: true)
        else { return nil }
        return node.status
    }

    /// Lists a directory completely and merges that with what this mount knows better. Concurrent callers share one.
    /// - Parameter pageCountMax: gives up behind so many pages, leaving everything as it was.
    func fillListing(_ number: UInt64, pageCountMax: Int = .max) async throws(FileSystemError) {
        enum Role { case done, wait(OneShot<FileSystemError?>), list(ByteString, OneShot<FileSystemError?>) }
        let role: Role = try tree.withLock { tree throws(FileSystemError) in
            guard let dentry = tree[number], dentry.directory != nil,
                let prefix = dentry.prefix(root: configuration.prefix)
            else { throw FileSystemError(.notFound) }
            if let listing = dentry.directory!.listing, isFresh(listing.startedAt) { return .done }
            if let other = dentry.directory!.listingInFlight { return .wait(other) }
            let done = OneShot<FileSystemError?>()
            dentry.directory!.listingInFlight = done
            dentry.directory!.changedDuringListing = [:]
            return .list(prefix, done)
        }
        switch role {
        case .done: return
        case .wait(let other): if let error = await other.wait() { throw error }
        case .list(let prefix, let done):
            let listingStart = nowNanoseconds
            var failure: FileSystemError?
            var builder = ListingBuilder(prefix: prefix)
            var pageCount = 0
            var isComplete = false
            do throws(StoreError) {
                var request = ListRequest(prefix: prefix, delimited: true)
                repeat {
                    let page = try await store.list(request)
                    builder.add(objects: page.objects, commonPrefixes: page.commonPrefixes)
                    request.continuation = page.continuation
                    pageCount += 1
                } while request.continuation != nil && pageCount < pageCountMax
                isComplete = request.continuation == nil
            } catch {
                failure = FileSystemError(error)
            }
            let entries = builder.finish()
            for key in builder.unnameable.prefix(3) {
                log.warning("an object has a name of more than 255 bytes and is not shown", metadata: ["key": "\(key)"])
            }
            tree.withLock { tree in
                guard let dentry = tree[number] else { return }
                if isComplete {
                    dentry.directory!.askCount = 0
                    merge(entries, hasMarker: builder.hasMarker, startedAt: listingStart, into: dentry, &tree)
                }
                if !isComplete, failure == nil { dentry.directory!.isTooLargeToListEarly = true }
                dentry.directory!.listingInFlight = nil
                dentry.directory!.changedDuringListing = [:]
                tree.prune(dentry)
            }
            done.set(failure)
            if let failure { throw failure }
        }
    }

    private func merge(
        _ listed: [FileName: Listing.Entry], hasMarker: Bool, startedAt: UInt64, into dentry: Dentry, _ tree: inout Tree
    ) {
        var listing = Listing(startedAt: startedAt, entries: listed)
        for (name, entry) in dentry.directory!.changedDuringListing where dentry.directory!.children[name] == nil {
            if let entry { listing.set(name, entry) } else { listing.remove(name) }
        }
        for (name, child) in dentry.directory!.children {
            let node = child.node
            let (content, changedAt) = node.state.withLock { ($0.content, $0.changedAt) }
            let localIsNewer = changedAt >= startedAt
            switch (content, listing.entries[name]) {
            case (.staged(let file), _):
                // Staged data is better known here, also when it is published: the listing may be older than that.
                if let entry = entry(for: file) { listing.set(name, entry) }
            case (.none, .directory):
                // 0: its attributes were never asked for (recovery made it), or are to be asked for again.
                node.state.withLock { if $0.validatedAt != 0 { $0.validatedAt = startedAt } }
            case (.clean(let version), .file(let object)) where version == object.version:
                node.state.withLock { $0.validatedAt = startedAt }
            case (.clean(let version), _) where localIsNewer:
                listing.set(name, .file(ListedObject(version: version, lastModified: time.now)))
            case (.none, _) where localIsNewer || hasPendingBelow(child): listing.set(name, .directory)
            default: supersede(child, &tree)
            }
        }
        dentry.directory!.listing = listing
        dentry.directory!.hasMarker = hasMarker
        dentry.directory!.absent = [:]
        // What was learned of objects that are still the same stays.
        dentry.directory!.known = dentry.directory!.known.filter { name, known in
            switch (known, listing.entries[name]) {
            case (.object(let info), .file(let object)): info.version == object.version
            case (_, .directory): true
            default: false
            }
        }
    }

    func hasPendingBelow(_ dentry: Dentry) -> Bool {
        dentry.node.isPending || (dentry.directory?.children.values.contains { hasPendingBelow($0) } ?? false)
    }

    // MARK: Making

    public func makeDirectory(
        parent number: UInt64, name text: String, permissions: UInt32, uid: UInt32, gid: UInt32
    ) -> Answer<FileStatus> {
        .later { () async throws(FileSystemError) in
            let name = try Self.name(text)
            return try await self.changes.shared { () async throws(FileSystemError) in
                try await self.makeEntry(
                    .directory, parent: number, name: name, permissions: permissions, uid: uid, gid: gid)
            }
        }
    }

    public func makeSymlink(
        parent number: UInt64, name text: String, target: String, uid: UInt32, gid: UInt32
    ) -> Answer<FileStatus> {
        .later { () async throws(FileSystemError) in
            let name = try Self.name(text)
            return try await self.changes.shared { () async throws(FileSystemError) in
                try await self.makeEntry(
                    .symlink, parent: number, name: name, permissions: 0o777, uid: uid, gid: gid, target: target)
            }
        }
    }

    /// Makes a directory or symlink: an empty object with metadata, in the store when this returns.
    private func makeEntry(
        _ kind: FileKind, parent number: UInt64, name: FileName, permissions: UInt32, uid: UInt32, gid: UInt32,
        target: String? = nil
    ) async throws(FileSystemError) -> FileStatus {
        try refuseIfReadOnly()
        if try await exists(parent: number, name: name) { throw FileSystemError(.alreadyExists) }
        let key = try tree.withLock { tree throws(FileSystemError) in
            guard let parent = tree[number] else { throw FileSystemError(.stale) }
            let key = try self.key(parent: parent, name: name)
            return kind == .directory ? try markerKey(of: key) : key
        }
        var attributes = FileAttributes(permissions: permissions & 0o7777, uid: uid, gid: gid, time: time.now)
        attributes.permissions = permissions & 0o7777
        var properties = ObjectProperties()
        AttributeCodec.encode(attributes, kind: kind, into: &properties)
        if let target { AttributeCodec.encode(symlinkTarget: target, into: &properties) }
        if kind == .directory { properties.contentType = "application/x-directory" }
        let etag: ETag
        do throws(StoreError) {
            etag = try await store.put(PutRequest(key: key, body: nil, properties: properties, condition: .ifAbsent))
        } catch {
            doubt(parent: number, name)
            throw error.kind == .preconditionFailed
                ? FileSystemError(.alreadyExists, cause: error.description) : FileSystemError(error)
        }
        let version = ObjectVersion(key: key, etag: etag, byteCount: 0)
        return try tree.withLock { tree throws(FileSystemError) in
            guard let parent = tree[number], parent.directory != nil else { throw FileSystemError(.stale) }
            var state = Node.State(
                content: kind == .directory ? .none : .clean(version), attributes: attributes, properties: properties,
                validatedAt: nowNanoseconds)
            state.changedAt = nowNanoseconds
            state.symlinkTarget = target
            if let old = parent.directory!.children[name] { supersede(old, &tree) }
            let dentry = tree.add(kind, state, parent: parent, name: name)
            if kind == .directory {
                // A directory that was just made has no entries that this mount does not know of.
                dentry.directory!.hasMarker = true
                dentry.directory!.listing = Listing(startedAt: nowNanoseconds, entries: [:])
            }
            parent.directory!.noteCreated(
                name, kind == .directory ? .directory : .file(ListedObject(version: version, lastModified: time.now)))
            touch(parent)
            dentry.lookupCount += 1
            return dentry.node.status
        }
    }

    public func readSymlink(_ number: UInt64) -> Answer<String> {
        guard let node = node(number) else { return .fail(.stale) }
        guard node.kind == .symlink else { return .fail(.invalidArgument) }
        let (target, content) = node.state.withLock { ($0.symlinkTarget, $0.content) }
        if let target, !target.isEmpty { return .ready(target) }
        guard case .clean(let version) = content, version.byteCount > 0, version.byteCount <= 4096 else {
            return .ready(target ?? "")
        }
        // s3fs keeps the target in the body.
        return .later { () async throws(FileSystemError) in
            do throws(StoreError) {
                let bytes = try await self.cache.read(version, range: ByteRange(0, version.byteCount)).array
                let text = String(decoding: bytes, as: UTF8.self)
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
            let name = try Self.name(text)
            try await self.changes.shared { () async throws(FileSystemError) in
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
            if let marker = ObjectKey(prefix) { try await store.delete(marker) }
            if let folder = ObjectKey(ByteString(String(prefix.string.dropLast()) + "_$folder$")),
                tree.withLock({ $0[node.number]?.directory?.hasMarker }) != true
            {
                try await store.delete(folder)
            }
        } catch {
            doubt(parent: number, name)
            throw FileSystemError(error)
        }
        tree.withLock { tree in
            guard let dentry = tree[node.number] else { return }
            let parent = dentry.parent
            node.state.withLock { $0.isUnlinked = true }
            tree.detach(dentry)
            parent?.directory?.noteRemoved(name)
            if let parent { touch(parent) }
        }
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
            throw FileSystemError(.notEmpty)
        }
        return prefix
    }

    // MARK: What keeps a directory in being

    /// Writes the marker of a directory that exists only through the entry it is about to lose.
    func keepParent(_ number: UInt64, losing name: FileName) async throws(FileSystemError) {
        enum Need { case nothing, marker(ObjectKey, Node), unknown(ByteString) }
        func need() -> Need {
            tree.withLock { tree in
                guard let dentry = tree[number], number != Tree.rootNumber, dentry.directory!.hasMarker != true,
                    let prefix = dentry.prefix(root: configuration.prefix), let marker = ObjectKey(prefix)
                else { return .nothing }
                guard let listing = dentry.directory!.listing, isFresh(listing.startedAt) else {
                    return .unknown(prefix)
                }
                return listing.entries.keys.contains { $0 != name } ? .nothing : .marker(marker, dentry.node)
            }
        }
        if case .unknown = need() { try await fillListing(number) }
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
        }
        tree.withLock { tree in
            guard let dentry = tree[node.number] else { return }
            dentry.directory?.hasMarker = true
            // What a HEAD told before is no longer so.
            if let parent = dentry.parent, let name = dentry.name { parent.directory?.known[name] = nil }
        }
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
