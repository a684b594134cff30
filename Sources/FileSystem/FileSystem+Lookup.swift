// From names to nodes.

internal import Base
internal import BlockCache
internal import ObjectModel
internal import ObjectStore

extension FileSystem {
    /// Finds a name in a directory. The kernel then holds one more reference to the node, to be given back by `forget`.
    public func lookup(parent number: UInt64, name text: String) -> Answer<FileStatus> {
        let name: FileName
        do throws(FileSystemError) {
            guard let known = try knownName(text, in: number) else {
                return .later { () async throws(FileSystemError) in
                    defer { self.tellInvalidations() }
                    let name = try await self.name(text, in: number, orElse: .notFound)
                    return try await self.resolve(parent: number, name: name, isReferenced: true).status
                }
            }
            name = known
        } catch {
            // A name that cannot exist is absent; one that is too long says so.
            return .failed(error.kind == .nameTooLong ? error : FileSystemError(.notFound))
        }
        switch find(parent: number, name: name, isReferenced: true) {
        case .node(let node):
            tellInvalidations()
            return .ready(node.status)
        case .absent:
            noteToldAbsent(number, name)
            return .fail(.notFound)
        case .failed(let error): return .failed(error)
        case .unknown:
            return .later { () async throws(FileSystemError) in
                defer { self.tellInvalidations() }
                return try await self.resolve(parent: number, name: name, isReferenced: true).status
            }
        }
    }

    /// The name that the kernel's name stands for, by what is known of the directory; nil where that has to be listed.
    func knownName(_ text: String, in number: UInt64) throws(FileSystemError) -> FileName? {
        guard LongName.isShortened(text) else { return try Self.name(text) }
        return tree.withLock { $0[number]?.directory?.longName(shown: text) }
    }

    /// The name that the kernel's name stands for.
    /// - Parameter missing: what is thrown when it has the form of one that stands for a longer name, and no entry of the
    ///   directory is shown so.
    func name(
        _ text: String, in number: UInt64, orElse missing: FileSystemError.Kind
    ) async throws(FileSystemError) -> FileName {
        if let name = try knownName(text, in: number) { return name }
        return try await asking(below: number) { () async throws(FileSystemError) in
            try await fillListing(number)
            guard let name = try knownName(text, in: number) else { throw FileSystemError(missing) }
            return name
        } known: {
            try? knownName(text, in: number)
        }
    }

    enum Found {
        case node(Node)
        case absent
        case unknown
        case failed(FileSystemError)
    }

    /// What is known of a name without asking the store.
    /// - Parameters:
    ///   - isReferenced: whether the kernel gets a reference to what is found.
    ///   - acceptsStale: whether what was known before its TTL was over will do. Absence never outlives it.
    func find(parent number: UInt64, name: FileName, isReferenced: Bool, acceptsStale: Bool = false) -> Found {
        tree.withLock { tree in
            guard let parent = tree[number] else { return .failed(FileSystemError(.stale)) }
            guard parent.directory != nil else { return .failed(FileSystemError(.notDirectory)) }
            let now = nowNanoseconds
            func reference(_ dentry: Dentry) -> Found {
                if isReferenced { dentry.lookupCount += 1 }
                return .node(dentry.node)
            }
            if let child = parent.directory!.children[name] {
                if child.node.isPending
                    || child.node.state.withLock({ isUsable($0.validatedAt, acceptsStale: acceptsStale) })
                {
                    return reference(child)
                }
                return .unknown
            }
            if let (entry, startedAt) = parent.directory!.listed(
                name, isUsable: { isUsable($0, acceptsStale: acceptsStale) })
            {
                guard let (kind, state) = state(of: entry, name: name, in: parent, startedAt: startedAt)
                else { return .unknown }
                return reference(add(kind, state, entry, name: name, in: parent, &tree))
            }
            if let listing = parent.directory!.listing, isFresh(listing) { return .absent }
            if let until = parent.directory!.absent[name] {
                if now < until { return .absent }
                parent.directory!.absent[name] = nil
            }
            return .unknown
        }
    }

    /// Makes the node of a listed entry.
    private func add(
        _ kind: FileKind, _ state: Node.State, _ entry: Listing.Entry, name: FileName, in parent: Dentry,
        _ tree: inout Tree
    ) -> Dentry {
        let inode = inode(of: entry, name: name, in: parent)
        let dentry = tree.add(kind, state, inode: inode, parent: parent, name: name)
        if kind == .directory { adoptAhead(dentry, &tree) }
        return dentry
    }

    /// The inode number of a listed entry.
    func inode(of entry: Listing.Entry, name: FileName, in parent: Dentry, prefix: ByteString? = nil) -> UInt64 {
        if let known = parent.directory!.inodes[name] { return known }
        switch entry {
        case .file(let object): return InodeNumber.of(object.version)
        case .directory:
            guard let prefix = prefix ?? parent.prefix(root: configuration.prefix) else { return InodeNumber.new() }
            return InodeNumber.of(directory: prefix + NameCodec.segment(for: name) + "/")
        }
    }

    /// The state of a listed entry that has no node yet; nil when the policy wants its attributes asked for first.
    private func state(
        of entry: Listing.Entry, name: FileName, in parent: Dentry, startedAt: UInt64
    ) -> (FileKind, Node.State)? {
        switch (entry, parent.directory!.known[name]) {
        case (.directory, .object(let info)): return (.directory, directoryState(info, validatedAt: startedAt))
        case (.directory, .nothing): return (.directory, directoryState(nil, validatedAt: startedAt))
        case (.file(let object), .object(let info)) where info.version == object.version:
            let state = fileState(info, validatedAt: startedAt)
            return (AttributeCodec.kind(of: info.properties.metadata), state)
        case (.directory, .remembered(let known)):
            return (.directory, state(of: known, content: .none, validatedAt: startedAt))
        case (.file(let object), .remembered(let known)) where known.version == object.version:
            return (known.kind, state(of: known, content: .clean(object.version), validatedAt: startedAt))
        default: break
        }
        guard !wantsAttributes(of: entry, in: parent) else { return nil }
        switch entry {
        case .directory: return (.directory, directoryState(nil, validatedAt: startedAt))
        case .file(let object):
            var state = Node.State(
                content: .clean(object.version), attributes: codec.defaults(for: .file, time: object.lastModified),
                validatedAt: startedAt)
            state.storeTime = object.lastModified
            return (.file, state)
        }
    }

    private func state(
        of known: RememberedAttributes, content: Node.Content, validatedAt: UInt64
    ) -> Node.State {
        var state = Node.State(content: content, attributes: known.attributes, validatedAt: validatedAt)
        state.symlinkTarget = known.symlinkTarget
        state.storeTime = known.storeTime
        return state
    }

    /// Whether entries of a directory need more than its listing tells.
    func wantsAttributes(of entry: Listing.Entry, in parent: Dentry) -> Bool {
        switch configuration.attributePolicy {
        case .listing: false
        case .exact: true
        case .adaptive: !parent.directory!.sample(of: entry).isForeign
        }
    }

    func fileState(_ info: ObjectInfo, validatedAt: UInt64) -> Node.State {
        let metadata = info.properties.metadata
        let kind = AttributeCodec.kind(of: metadata)
        var state = Node.State(
            content: .clean(info.version),
            attributes: codec.attributes(of: metadata, kind: kind, lastModified: info.lastModified),
            properties: info.properties, validatedAt: validatedAt)
        if kind == .symlink {
            state.symlinkTarget = AttributeCodec.symlinkTarget(of: metadata) ?? ""
            if info.version.byteCount > 0 { hasSymlinkBodies.withLock { $0 = true } }
        }
        state.storeTime = info.lastModified
        return state
    }

    /// - Parameter info: the directory's marker, where it has one.
    func directoryState(_ info: ObjectInfo?, validatedAt: UInt64) -> Node.State {
        guard let info else {
            return Node.State(
                content: .none, attributes: codec.defaults(for: .directory, time: startedAt), validatedAt: validatedAt)
        }
        var state = Node.State(
            content: .none,
            attributes: codec.attributes(
                of: info.properties.metadata, kind: .directory, lastModified: info.lastModified),
            properties: info.properties, validatedAt: validatedAt)
        state.storeTime = info.lastModified
        return state
    }

    /// Finds a name, asking the store where needed.
    func resolve(parent number: UInt64, name: FileName, isReferenced: Bool) async throws(FileSystemError) -> Node {
        switch find(parent: number, name: name, isReferenced: isReferenced) {
        case .node(let node): return node
        case .absent: throw FileSystemError(.notFound)
        case .failed(let error): throw error
        case .unknown: break
        }
        return try await asking(below: number) { () async throws(FileSystemError) in
            try await resolveByAsking(parent: number, name: name, isReferenced: isReferenced)
        } known: {
            if case .node(let node) = find(
                parent: number, name: name, isReferenced: isReferenced, acceptsStale: true)
            {
                node
            } else {
                nil
            }
        }
    }

    private func resolveByAsking(
        parent number: UInt64, name: FileName, isReferenced: Bool
    ) async throws(FileSystemError) -> Node {
        // No key is its name with nothing behind it: only a listing tells of it.
        let isEmpty = NameCodec.segment(for: name).isEmpty
        if isEmpty { try await fillListing(number) }
        let wasListed = await listEarly(number)
        var mayKnow = wasListed || isEmpty
        while true {
            if mayKnow {
                switch find(parent: number, name: name, isReferenced: isReferenced) {
                case .node(let node): return node
                case .absent: throw FileSystemError(.notFound)
                case .failed(let error): throw error
                case .unknown: break
                }
            }
            let learning = try await learnListed(parent: number, name: name)
            if learning == .nothing { break }
            mayKnow = true
        }
        if isEmpty { return try await askAgain(parent: number, name: name, isReferenced: isReferenced) }
        return try await ask(parent: number, name: name, isReferenced: isReferenced)
    }

    /// A directory that only the listing of its parent tells of, and whose attributes are to be asked for again.
    private func askAgain(
        parent number: UInt64, name: FileName, isReferenced: Bool
    ) async throws(FileSystemError) -> Node {
        let node = tree.withLock { tree -> Node? in
            guard let parent = tree[number], parent.directory?.listed(name, isUsable: isFresh)?.entry == .directory
            else { return nil }
            return parent.directory!.children[name]?.node
        }
        guard let node, let marker = markerKey(of: node) else { throw FileSystemError(.notFound) }
        try await askForMarker(marker, of: node)
        return try tree.withLock { tree throws(FileSystemError) in
            guard let dentry = tree[number]?.directory?.children[name], dentry.node === node else {
                throw FileSystemError(.notFound)
            }
            if isReferenced { dentry.lookupCount += 1 }
            return node
        }
    }

    /// Lists a directory in which names are looked up one after another. Returns whether it is listed now; not if it is
    /// large, or the listing fails: then names go on being asked for one by one.
    private func listEarly(_ number: UInt64) async -> Bool {
        let isDue = tree.withLock { tree in
            guard let dentry = tree[number], dentry.directory != nil else { return false }
            if let listing = dentry.directory!.listing, isFresh(listing) { return false }
            dentry.directory!.askCount += 1
            return dentry.directory!.askCount > DirectoryState.askCountMax && !dentry.directory!.isTooLargeToListEarly
        }
        guard isDue else { return false }
        do throws(FileSystemError) {
            try await fillListing(number, pageCount: DirectoryState.earlyPageCountMax)
            return true
        } catch {
            return false
        }
    }

    /// Lists a directory in which a file was just made: who makes one makes more, often, and each of their names would be
    /// asked for. Nobody waits for it but the next name that is looked up; if it fails, that is asked for. Unless somebody
    /// does, it tells what is absent while files are made only: another client's answer to a file must not be missed for the TTL.
    func listForNewFiles(_ number: UInt64) {
        let isDue = tree.withLock { tree in
            guard let dentry = tree[number], dentry.directory != nil else { return false }
            if let listing = dentry.directory!.listing, isFresh(listing) {
                if listing.aheadUntil != nil { dentry.directory!.listing!.aheadUntil = believedAheadUntil }
                return false
            }
            guard dentry.directory!.flight == nil, !dentry.directory!.isTooLargeToListEarly else { return false }
            dentry.directory!.askCount = max(dentry.directory!.askCount, DirectoryState.askCountMax)
            return true
        }
        if isDue { _ = try? beginListing(number, pageCount: DirectoryState.earlyPageCountMax, isAhead: true) }
    }

    /// As long as a program may take from one file to the next.
    var believedAheadUntil: UInt64 { nowNanoseconds &+ 250_000_000 }

    // MARK: Asking the store for one name

    private enum Remote: Sendable {
        case file(ObjectInfo)
        case directory(ObjectInfo?, hasMarker: Bool)

        var info: ObjectInfo? {
            switch self {
            case .file(let info): info
            case .directory(let info, _): info
            }
        }

        /// Whether nothing is left to be asked: a marker's attributes may not have been.
        var isWhole: Bool {
            switch self {
            case .file: true
            case .directory(let info, let hasMarker): !hasMarker || info != nil
            }
        }
    }

    /// One HEAD and one LIST, side by side, tell whether a name is a file, a directory, or absent. Where its key was being moved
    /// meanwhile it is asked once more.
    private func ask(parent number: UInt64, name: FileName, isReferenced: Bool) async throws(FileSystemError) -> Node {
        while true {
            switch try await askOnce(parent: number, name: name, isReferenced: isReferenced) {
            case .known(let node, _), .changed(let node): return node
            case .moving(let end): await end?.wait()
            }
        }
    }

    private enum Asked: Sendable {
        case known(Node, ObjectInfo?)
        /// This mount has changed it since the question: the answer is not worth remembering.
        case changed(Node)
        /// The answer says nothing; ask again once this is set, or now.
        case moving(OneShot<Void>?)
    }

    private func askOnce(
        parent number: UInt64, name: FileName, isReferenced: Bool
    ) async throws(FileSystemError) -> Asked {
        let startedAt = nowNanoseconds
        let (key, known) = try tree.withLock { tree throws(FileSystemError) in
            guard let parent = tree[number], parent.directory != nil else { throw FileSystemError(.stale) }
            let key = try self.key(parent: parent, name: name)
            let known: ObjectVersion? = parent.directory!.children[name]?.node.state.withLock {
                if case .clean(let version) = $0.content { version } else { nil }
            }
            return (key, known)
        }
        if let end = moving.end(of: key.bytes) { return .moving(end) }
        let prefix = tree.withLock { $0[number]?.prefix(root: configuration.prefix) }
        let isCached = known.map { cache.holdsBeginning(of: $0) } ?? false
        let bringsBytes = !isCached && tree.withLock { $0[number]?.directory?.lookups.asks() ?? false }
        let isEscapedFile = NameCodec.isBesideDirectory(name.string)
        let remote: Remote?
        do throws(FileSystemError) {
            remote =
                isEscapedFile
                ? try await look(key, bringsBytes: bringsBytes).map { .file($0) }
                : try await askRemote(key, bringsBytes: bringsBytes)
            if bringsBytes { noteAnswered(number, remote) }
        } catch {
            if bringsBytes { noteAnswered(number, nil) }
            throw error
        }
        let remembered =
            prefix == nil || remote == nil
            ? nil : await attributes?.entries(prefix!, names: [name.bytes])[name.bytes]
        defer { tellInvalidations() }
        let asked = try tree.withLock { tree throws(FileSystemError) -> Asked in
            guard let parent = tree[number], parent.directory != nil else { throw FileSystemError(.stale) }
            if let end = moving.end(of: key.bytes) { return .moving(end) }
            if try self.key(parent: parent, name: name) != key { return .moving(nil) }
            if let child = parent.directory!.children[name] {
                // A directory that the store does not have yet is there while something below it waits for its upload.
                let isPending = hasPendingBelow(child)
                // What this mount has changed since the question the answer does not know.
                let isChanged = child.node.state.withLock { $0.isChanged(since: startedAt) }
                if isChanged || update(child, with: remote, validatedAt: startedAt) || isPending {
                    if !isChanged, !isPending, case .directory(let info?, _) = remote {
                        parent.directory!.known[name] = .object(info)
                    }
                    if isReferenced { child.lookupCount += 1 }
                    return isChanged ? .changed(child.node) : .known(child.node, remote?.info)
                }
                if let end = child.node.state.withLock({ $0.keyChange }) { return .moving(end) }
                supersede(child, &tree, isGone: remote == nil)
            }
            switch remote {
            case nil:
                parent.directory!.noteAbsent(name, until: startedAt &+ configuration.ttlNanoseconds)
                parent.directory!.listing?.remove(name)
                noteGone(name, from: parent)
                throw FileSystemError(.notFound)
            case .file(let info):
                let state = fileState(info, validatedAt: startedAt)
                let object = ListedObject(version: info.version, lastModified: info.lastModified)
                parent.directory!.inodes[name] = remembered.flatMap { $0.isOf(object) ? $0.inode : nil }
                let kind = AttributeCodec.kind(of: info.properties.metadata)
                let dentry = add(kind, state, .file(object), name: name, in: parent, &tree)
                parent.directory!.listing?.set(name, .file(object))
                if isReferenced { dentry.lookupCount += 1 }
                return .known(dentry.node, info)
            case .directory(let info, let hasMarker):
                var state = directoryState(info, validatedAt: startedAt)
                state.markerKnownAt = startedAt
                parent.directory!.inodes[name] = remembered.flatMap { $0.content == .directory ? $0.inode : nil }
                let dentry = add(.directory, state, .directory, name: name, in: parent, &tree)
                dentry.directory!.hasMarker = hasMarker
                parent.directory!.listing?.set(name, .directory)
                if isReferenced { dentry.lookupCount += 1 }
                return .known(dentry.node, info)
            }
        }
        if case .known(let node, let info) = asked, let prefix, remote?.isWhole == true {
            noteAsked(prefix, name, info, kind: node.kind, inode: node.inode)
        }
        return asked
    }

    /// HEAD; nil when the store said that the key is not there.
    func head(_ key: ObjectKey) async throws(FileSystemError) -> ObjectInfo? {
        do throws(StoreError) {
            return try await store.head(key)
        } catch {
            if error.kind == .notFound { return nil }
            throw FileSystemError(error)
        }
    }

    /// Tells the pattern of a directory's lookups what its question gave.
    private func noteAnswered(_ number: UInt64, _ remote: Remote?) {
        let isFile = if case .file = remote { true } else { false }
        tree.withLock { $0[number]?.directory?.lookups.answered(isFile: isFile) }
    }

    /// HEAD, or a GET of the first block, which tells the same; nil when the store said that the key is not there.
    private func look(_ key: ObjectKey, bringsBytes: Bool) async throws(FileSystemError) -> ObjectInfo? {
        guard bringsBytes else { return try await head(key) }
        do throws(StoreError) {
            if let info = try await cache.beginning(of: key) { return info }
        } catch {
            switch error.kind {
            case .notFound: return nil
            // An empty object has no range; an archived or encrypted one may tell its attributes all the same.
            case .invalidRange, .archived, .accessDenied, .invalidRequest, .unsupported, .malformedResponse: break
            default: throw FileSystemError(error)
            }
        }
        return try await head(key)
    }

    private func askRemote(_ key: ObjectKey, bringsBytes: Bool) async throws(FileSystemError) -> Remote? {
        let marker = try? markerKey(of: key)
        async let file: Result<ObjectInfo?, FileSystemError> = Result.of { () async throws(FileSystemError) in
            try await self.look(key, bringsBytes: bringsBytes)
        }
        async let isFolder: Result<Bool, FileSystemError> = Result.of { () async throws(FileSystemError) in
            guard self.hasFolderMarkers.withLock({ $0 }), let folder = Self.folderMarker(ofDirectory: key.bytes) else {
                return false
            }
            return try await self.head(folder)?.version.byteCount == 0
        }
        if let marker {
            let below: ListPage
            do throws(StoreError) {
                below = try await store.list(ListRequest(prefix: marker.bytes, delimited: false, entryCountMax: 1))
            } catch {
                throw FileSystemError(error)
            }
            if let first = below.objects.first {
                let hasMarker = first.key == marker
                let wantsAttributes = hasMarker && configuration.attributePolicy != .listing
                return .directory(wantsAttributes ? try await head(marker) : nil, hasMarker: hasMarker)
            }
        }
        if let info = try await file.get() { return .file(info) }
        return try await isFolder.get() ? .directory(nil, hasMarker: false) : nil
    }

    /// Takes over what the store says of a node that exists; false when it is another file now.
    private func update(_ dentry: Dentry, with remote: Remote?, validatedAt: UInt64) -> Bool {
        switch remote {
        case nil: return false
        case .directory(let info, let hasMarker):
            guard dentry.node.kind == .directory else { return false }
            dentry.directory!.hasMarker = hasMarker
            dentry.node.state.withLock { state in
                state.validatedAt = validatedAt
                if let info {
                    state.take(directoryState(info, validatedAt: validatedAt))
                    state.markerKnownAt = validatedAt
                }
            }
            return true
        case .file(let info):
            let fresh = fileState(info, validatedAt: validatedAt)
            guard dentry.node.kind == AttributeCodec.kind(of: info.properties.metadata) else { return false }
            return dentry.node.state.withLock { state in
                guard case .clean(let version) = state.content, version == info.version else { return false }
                state.validatedAt = validatedAt
                state.attributes = fresh.attributes
                state.properties = fresh.properties
                state.symlinkTarget = fresh.symlinkTarget
                state.storeTime = fresh.storeTime
                return true
            }
        }
    }

    /// Another client replaced or removed what this node was. The kernel is to hear of it.
    func supersede(_ dentry: Dentry, _ tree: inout Tree, isGone: Bool = false) {
        dentry.node.state.withLock { $0.isSuperseded = true }
        if let parent = dentry.parent, let name = dentry.name {
            let isRemoved = isGone && dentry.node.kind != .directory
            tree.invalidations.append(
                isRemoved
                    ? .removal(parent: parent.node.number, name: name.shown, node: dentry.node.number)
                    : .entry(parent: parent.node.number, name: name.shown))
        }
        tree.detach(dentry)
    }
}

extension Result where Failure == FileSystemError, Success: Sendable {
    static func of(_ body: () async throws(FileSystemError) -> Success) async -> Result<Success, FileSystemError> {
        do throws(FileSystemError) { return .success(try await body()) } catch { return .failure(error) }
    }
}
