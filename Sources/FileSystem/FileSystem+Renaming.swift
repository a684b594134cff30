// rename(2) of files and directories.

internal import Base
internal import Logging
internal import ObjectModel
internal import ObjectStore
internal import Staging

extension FileSystem {
    /// Renames a file, symlink or directory.
    /// - Parameter mustBeNew: RENAME_NOREPLACE.
    public func rename(
        parent: UInt64, name: String, toParent: UInt64, toName: String, mustBeNew: Bool
    ) -> Answer<Void> {
        .later { () async throws(FileSystemError) in
            let from = try await self.name(name, in: parent, orElse: .notFound)
            // A name that is longer than it is shown goes with the file from directory to directory.
            let isSameName = name.utf8.elementsEqual(toName.utf8)
            let to = isSameName ? from : try await self.name(toName, in: toParent, orElse: .invalidArgument)
            try self.refuseIfReadOnly()
            let source = try await self.resolve(parent: parent, name: from, isReferenced: false)
            let work = { () async throws(FileSystemError) in
                try await self.rename(
                    source, parent: parent, name: from, toParent: toParent, toName: to, mustBeNew: mustBeNew)
            }
            if source.kind == .directory {
                let move = DirectoryMove.to(parent: toParent, name: to, source: source.number)
                try await self.changes.exclusive(move, work)
            } else {
                try await self.changing(
                    .entry(parent: parent, name: from), .entry(parent: toParent, name: to), body: work)
            }
        }
    }

    private func rename(
        _ source: Node, parent: UInt64, name: FileName, toParent: UInt64, toName: FileName, mustBeNew: Bool
    ) async throws(FileSystemError) {
        if parent == toParent, name == toName {
            if mustBeNew { throw FileSystemError(.alreadyExists) }
            return
        }
        var target: Node?
        do throws(FileSystemError) {
            target = try await resolve(parent: toParent, name: toName, isReferenced: false)
        } catch {
            guard error.kind == .notFound else { throw error }
            try Self.refuseIfNotCreatable(toName)
        }
        if let target {
            if mustBeNew { throw FileSystemError(.alreadyExists) }
            switch (source.kind == .directory, target.kind == .directory) {
            case (true, true), (false, false): break
            case (true, false): throw FileSystemError(.notDirectory)
            case (false, true): throw FileSystemError(.isDirectory)
            }
        }
        let newKey = try tree.withLock { tree throws(FileSystemError) in
            guard let above = tree[toParent], above.directory != nil else { throw FileSystemError(.stale) }
            var ancestor: Dentry? = above
            while let next = ancestor {
                if next.node === source { throw FileSystemError(.invalidArgument) }
                ancestor = next.parent
            }
            return try key(parent: above, name: toName)
        }
        if let target, target.kind == .directory { _ = try await prefixIfEmpty(target) }
        if parent != toParent { try await keepParent(parent, losing: name) }
        // From here on what the store says of the source is no answer, until its node has the new name.
        if source.kind != .directory { beginChangingKey(source) }
        func endMove() {
            if source.kind == .directory {
                endMoving(source)
            } else {
                endChangingKey(source)
                becomeCleanIfPublished(source)
            }
        }
        let storageClass = storageClass(of: source)
        let entry: Listing.Entry?
        var leftover: FileSystemError?
        do throws(FileSystemError) {
            if source.kind == .directory {
                leftover = try await moveDirectory(source, to: newKey, replacing: target, mustBeNew: mustBeNew)
                entry = .directory
            } else {
                leftover = try await moveFile(source, storageClass, to: newKey, replacing: target, mustBeNew: mustBeNew)
                entry = nil
            }
        } catch {
            endMove()
            doubt(parent: parent, name)
            doubt(parent: toParent, toName)
            throw error
        }
        let now = time.now
        source.state.withLock {
            $0.attributes.changed = now
            $0.changedAt = nowNanoseconds
            // Whoever found the old key gone was wrong.
            $0.isSuperseded = false
        }
        let changes: [KernelInvalidation] = tree.withLock { tree in
            guard let dentry = tree[source.number], let newParent = tree[toParent] else { return [] }
            if let old = newParent.directory!.children[toName], old !== dentry {
                old.node.state.withLock { $0.isUnlinked = true }
                tree.detach(old)
            }
            if let oldParent = dentry.parent { touch(oldParent) }
            let oldPrefix = dentry.prefix(root: configuration.prefix)
            if let parent = tree[parent] {
                parent.noteRemoved(name)
                if source.kind == .directory { parent.directory!.noteDirectoryGone() }
                noteGone(name, from: parent)
            }
            tree.move(dentry, to: newParent, name: toName)
            forgetListings(below: dentry)
            newParent.noteCreated(toName, entry ?? listingEntry(of: source, storageClass))
            if dentry.directory != nil, let oldPrefix, let newPrefix = dentry.prefix(root: configuration.prefix) {
                attributes?.noteTreeMoved(oldPrefix, to: newPrefix)
            }
            noteWritten(dentry)
            touch(newParent)
            guard source.kind == .directory, let oldParent = tree[parent] else { return [] }
            return reclaimName(name, in: oldParent, &tree)
        }
        endMove()
        invalidateKernel(changes)
        tellOpenFilesChanged()
        if let leftover {
            doubt(parent: parent, name)
            // The kernel takes an error for a rename that was not made: the old name would go on leading to what is moved.
            invalidateKernel([
                .entry(parent: parent, name: name.shown), .entry(parent: toParent, name: toName.shown),
            ])
            throw leftover
        }
    }

    /// - Parameter storageClass: nil where that of the node's properties counts.
    func listingEntry(of node: Node, _ storageClass: String? = nil) -> Listing.Entry? {
        let (content, properties) = node.state.withLock { ($0.content, $0.properties) }
        switch content {
        case .none: return .directory
        case .clean(let version):
            return .file(
                ListedObject(
                    version: version, lastModified: time.now, storageClass: properties?.storageClass ?? storageClass))
        case .staged(let file): return entry(for: file)
        }
    }

    /// The class that a file's object is to keep when it is moved, as far as its properties or a listing tell it.
    private func storageClass(of node: Node) -> String? {
        let (properties, version) = node.state.withLock { ($0.properties, $0.objectVersion) }
        if let properties { return CopyRequest.storageClass(keeping: properties.storageClass) }
        return tree.withLock { tree in
            guard let dentry = tree[node.number], let name = dentry.name,
                case .file(let object) = dentry.parent?.directory?.listed(name), object.version == version
            else { return nil }
            return CopyRequest.storageClass(keeping: object.storageClass)
        }
    }

    // MARK: Files

    /// Throws when the file has its old name still. Returns the error when it has the new one, and the old object could not
    /// be removed.
    private func moveFile(
        _ node: Node, _ storageClass: String?, to newKey: ObjectKey, replacing target: Node?, mustBeNew: Bool
    ) async throws(FileSystemError) -> FileSystemError? {
        if mustBeNew { try await refuseIfPresent(newKey) }
        if let file = node.stagedFile {
            await queue.hold(file)
            // A file that has no object yet only gets another key: its data goes there in the first place.
            if file.base == nil, !file.hasBytesInTransit {
                try await rekey(node, file, to: newKey, replacing: target)
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
        _ node: Node, _ file: StagedFile, to newKey: ObjectKey, replacing target: Node?
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
    private func adopt(_ version: ObjectVersion, in node: Node) throws(FileSystemError) {
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

    // MARK: Directories

    /// Copies everything below a directory to its new place, in parallel, and deletes the old keys last: until then the
    /// old tree is whole. Nothing below either place changes meanwhile (see `ChangePlace`). Before the old keys go the nodes
    /// below get the new ones, and until `endMoving` nobody believes what the store says of the old ones.
    ///
    /// Throws when nothing is moved. Returns the error when the new tree is whole and stands, and of the old one something
    /// could not be deleted.
    private func moveDirectory(
        _ node: Node, to destination: ObjectKey, replacing target: Node?, mustBeNew: Bool
    ) async throws(FileSystemError) -> FileSystemError? {
        let newPrefix = try markerKey(of: destination).bytes
        let oldPrefix = try tree.withLock { tree throws(FileSystemError) in
            guard let prefix = tree[node.number]?.prefix(root: configuration.prefix) else {
                throw FileSystemError(.stale)
            }
            return prefix
        }
        // Bring what is pending below to the store, so that there is one place to copy from.
        // Nothing is sent to the old keys from then on, also of files that are open and go on being written.
        var held: [StagedFile] = []
        defer { for file in held { queue.resume(file) } }
        for pending in nodesBelow(node) {
            guard let file = pending.stagedFile else { continue }
            try storeAttributes(of: pending, in: file)
            try await bring(file)
            await queue.hold(file)
            held.append(file)
        }
        for prefix in [oldPrefix, newPrefix] { try await settleMarkers(below: prefix) }
        try await secureCopies(of: oldPrefix)
        // So that it can be put back.
        if let target, let marker = ObjectKey(newPrefix) { try await learnMarker(marker, of: target) }
        // What is remembered as absent may have been made by another client since. A replaced directory is known to be empty.
        async let isFree = Result.of { () async throws(FileSystemError) in
            if target != nil { return true }
            return try await self.isNothing(below: newPrefix)
        }
        let objects = try await everything(below: oldPrefix)
        guard try await isFree.get() else { throw FileSystemError(mustBeNew ? .alreadyExists : .notEmpty) }
        var moves: [(object: ListedObject, key: ObjectKey)] = []
        for object in objects {
            guard let key = ObjectKey(newPrefix + object.key.bytes.dropFirst(oldPrefix.count)) else {
                throw FileSystemError(.nameTooLong)
            }
            moves.append((object, key))
        }

        let plan = try store(
            RenamePlan(
                from: oldPrefix, to: newPrefix,
                objects: objects.map { RenamePlan.Moved($0, below: oldPrefix) }))
        // From here on a killed rename goes on at the next mount; one that fails is taken back.
        defer { area.remove(plan) }
        let progress = beginRename(from: oldPrefix, to: newPrefix, count: moves.count)
        defer { renames.end(progress) }

        // The old tree is whole until the end. A copy that failed may have been done all the same, so each that was begun is
        // taken back unless it was refused, and no other: there may be objects of others by now. The marker of an empty
        // directory that was to be replaced stays, and is again as it was.
        let begun = Lock<Set<ObjectKey>>([])
        func takeBack() async {
            area.remove(plan)
            var made = begun.withLock { $0 }
            if let target, let marker = ObjectKey(newPrefix), made.remove(marker) != nil {
                await restoreMarker(marker, of: target)
            }
            await removeAll(made.sorted { $0.bytes.count > $1.bytes.count })
        }
        var copied: [ObjectVersion: ObjectVersion] = [:]
        var failure: FileSystemError?
        await withTaskGroup(of: (ObjectVersion, Result<ObjectVersion, FileSystemError>).self) { group in
            for (object, destination) in moves {
                group.addTask {
                    let outcome = await self.background.run {
                        await Result.of { () async throws(FileSystemError) in
                            // A cancelled task does not wait for its turn.
                            if Task.isCancelled { throw FileSystemError(.interrupted) }
                            begun.withLock { _ = $0.insert(destination) }
                            do throws(StoreError) {
                                let etag = try await self.store.copy(
                                    CopyRequest(
                                        source: object.version, destination: destination,
                                        storageClass: CopyRequest.storageClass(keeping: object.storageClass)))
                                return ObjectVersion(key: destination, etag: etag, byteCount: object.version.byteCount)
                            } catch {
                                guard error.kind == .notFound, Self.isMarker(object) else {
                                    if Self.isRefusal(error) { begun.withLock { _ = $0.remove(destination) } }
                                    throw FileSystemError(error)
                                }
                                // Some servers list directories that are no objects: there is nothing to copy.
                                return try await self.newMarker(destination)
                            }
                        }
                    }
                    return (object.version, outcome)
                }
            }
            for await (old, outcome) in group {
                switch outcome {
                case .success(let version):
                    copied[old] = version
                    renames.noteCopied(progress)
                case .failure(let error):
                    if failure == nil { failure = error }
                    group.cancelAll()
                }
            }
        }
        if let failure {
            await takeBack()
            throw failure
        }
        if !objects.contains(where: { $0.key.bytes == oldPrefix }) {
            // An implicit directory gets a marker, so that the new one does not depend on its entries.
            if let marker = ObjectKey(newPrefix) {
                begun.withLock { _ = $0.insert(marker) }
                do throws(FileSystemError) {
                    try await changeMarker(marker, of: node, isAwaited: true) { _, _ in }
                } catch {
                    await takeBack()
                    throw error
                }
            }
        }
        let folder = folderMarker(of: node)
        beginMoving(node, from: oldPrefix)
        do throws(FileSystemError) {
            try adopt(copied, below: node, from: oldPrefix, to: newPrefix)
        } catch {
            await takeBack()
            throw error
        }
        // Some of the old keys may be gone after a failure: there is no way back from here, only forward.
        var leftover: FileSystemError?
        var isAllRefused = false
        do throws(StoreError) {
            // Directories last, deepest first: some servers refuse to remove one that has entries.
            let old = objects.filter { !Self.isMarker($0) }.map(\.key) + Self.directories(of: objects, below: oldPrefix)
            let failures = try await store.delete(old + (folder.map { [$0] } ?? [])).filter { $0.key != folder }
            if let first = failures.first {
                isAllRefused = failures.count == old.count && failures.allSatisfy { $0.error.kind == .accessDenied }
                throw first.error
            }
        } catch {
            leftover = FileSystemError(error)
        }
        // The store has said that all of the old tree stays. Nothing was sent meanwhile, so that the way back is as safe.
        if isAllRefused, let refusal = leftover {
            // First: a mount that finds it would go on with the rename.
            area.remove(plan)
            let back = Dictionary(uniqueKeysWithValues: copied.map { ($0.value, $0.key) })
            do throws(FileSystemError) {
                try adopt(back, below: node, from: newPrefix, to: oldPrefix)
            } catch {
                return refusal
            }
            await takeBack()
            throw refusal
        }
        return leftover
    }

    /// What is known of the old keys is forgotten, and what is asked for waits, until `endMoving`.
    private func beginMoving(_ node: Node, from prefix: ByteString) {
        moving.begin(prefix)
        node.state.withLock { state in
            state.keyChange = OneShot()
            // Listings of the directory above that began before say nothing of it.
            state.changedAt = nowNanoseconds
        }
        tree.withLock { tree in
            guard let dentry = tree[node.number] else { return }
            forgetListings(below: dentry)
            dentry.spoilListingsAhead()
        }
    }

    private func endMoving(_ node: Node) {
        moving.end()
        node.state.withLock { $0.takeKeyChange() }?.set(())
    }

    /// The nodes below a directory stand on the copies from now on; throws with all of them as they were. A node of another
    /// version than the one that was copied, because another client changed or removed its object, is none of the new tree's;
    /// what is pending of such a one will find its base changed.
    private func adopt(
        _ copied: [ObjectVersion: ObjectVersion], below node: Node, from oldPrefix: ByteString, to newPrefix: ByteString
    ) throws(FileSystemError) {
        var adopted: [(node: Node, old: ObjectVersion)] = []
        var others: [Node] = []
        do throws(FileSystemError) {
            for below in nodesBelow(node) {
                guard let version = below.state.withLock({ $0.objectVersion }), version.key.bytes.hasPrefix(oldPrefix)
                else { continue }
                if let moved = copied[version] {
                    try adopt(moved, in: below)
                } else if below.isPending, let key = ObjectKey(newPrefix + version.key.bytes.dropFirst(oldPrefix.count))
                {
                    try adopt(ObjectVersion(key: key, etag: version.etag, byteCount: version.byteCount), in: below)
                } else {
                    others.append(below)
                    continue
                }
                adopted.append((below, version))
            }
        } catch {
            for (below, version) in adopted { try? adopt(version, in: below) }
            throw error
        }
        let keys = Set(copied.keys.map(\.key))
        tree.withLock { tree in
            for other in others {
                guard let dentry = tree[other.number], let key = other.state.withLock({ $0.objectVersion?.key }) else {
                    continue
                }
                supersede(dentry, &tree, isGone: !keys.contains(key))
            }
        }
        tellInvalidations()
    }

    /// Shows a rename from now on, until `renames.end`.
    func beginRename(from: ByteString, to: ByteString, count: Int, isResumed: Bool = false) -> Int {
        func path(_ prefix: ByteString) -> String {
            "/" + prefix.dropFirst(configuration.prefix.count).dropLast(1).string
        }
        return renames.begin(
            RenameProgress(from: path(from), to: path(to), totalCount: count, isResumed: isResumed))
    }

    /// All nodes below a directory that are files or symlinks.
    private func nodesBelow(_ node: Node) -> [Node] {
        tree.withLock { tree in
            var result: [Node] = []
            var rest = tree[node.number].map { [$0] } ?? []
            while let dentry = rest.popLast() {
                if dentry.node.kind != .directory { result.append(dentry.node) }
                if let children = dentry.directory?.children.values { rest.append(contentsOf: children) }
            }
            return result
        }
    }

    /// What is known of entries is of old keys; it is asked for again. Listings that are under way are nobody's any more but
    /// their readers'.
    private func forgetListings(below top: Dentry) {
        var rest = [top]
        while let dentry = rest.popLast() {
            guard dentry.directory != nil else { continue }
            dentry.directory!.forgetEntries()
            dentry.directory!.inodes = [:]
            rest.append(contentsOf: dentry.directory!.children.values)
        }
    }

    private func everything(below prefix: ByteString) async throws(FileSystemError) -> [ListedObject] {
        var objects: [ListedObject] = []
        do throws(StoreError) {
            var request = ListRequest(prefix: prefix, delimited: false)
            repeat {
                let page = try await store.list(request)
                objects += page.objects
                request.continuation = page.continuation
            } while request.continuation != nil
        } catch {
            throw FileSystemError(error)
        }
        return objects
    }

    /// Whether a store that failed a copy so has not made it.
    private static func isRefusal(_ error: StoreError) -> Bool {
        // An earlier attempt may have made it, and lost its answer.
        if error.isOutcomeOpen { return false }
        return switch error.kind {
        case .accessDenied, .badCredentials, .expiredCredentials, .notFound, .preconditionFailed, .archived, .tooLarge,
            .quotaExceeded, .unsupported:
            true
        default: false
        }
    }

    private func isNothing(below prefix: ByteString) async throws(FileSystemError) -> Bool {
        do throws(StoreError) {
            let page = try await store.list(ListRequest(prefix: prefix, delimited: false, entryCountMax: 1))
            return page.objects.isEmpty
        } catch {
            throw FileSystemError(error)
        }
    }

    private static func isMarker(_ object: ListedObject) -> Bool {
        object.version.byteCount == 0 && object.key.bytes.hasSuffix("/")
    }

    private func newMarker(_ key: ObjectKey) async throws(FileSystemError) -> ObjectVersion {
        do throws(StoreError) {
            let properties = ObjectProperties(contentType: "application/x-directory")
            let etag = try await store.put(PutRequest(key: key, body: nil, properties: properties))
            return ObjectVersion(key: key, etag: etag, byteCount: 0)
        } catch {
            throw FileSystemError(error)
        }
    }

    /// The markers of all directories below a prefix, whether they are objects or only implied by keys, deepest first.
    /// Removing the implied ones costs no request of its own; servers that keep empty directories (SeaweedFS) would go
    /// on listing them.
    private static func directories(of objects: [ListedObject], below prefix: ByteString) -> [ObjectKey] {
        var found: Set<ByteString> = []
        for object in objects {
            var path = object.key.string
            while let slash = path.utf8.dropLast().lastIndex(of: UInt8(ascii: "/")) {
                path = String(path[...slash])
                guard path.utf8.count >= prefix.count, found.insert(ByteString(path)).inserted else { break }
            }
        }
        let markers = objects.filter(isMarker).map(\.key.bytes)
        return found.union(markers).sorted { $0.count > $1.count }.compactMap { ObjectKey($0) }
    }

    private func restoreMarker(_ key: ObjectKey, of node: Node) async {
        do throws(FileSystemError) {
            try await changeMarker(key, of: node, isAwaited: true) { _, _ in }
        } catch {
            log.error(
                "the attributes of a directory that was not replaced are lost: \(error)", metadata: ["key": "\(key)"])
        }
    }

    private func removeAll(_ keys: [ObjectKey]) async {
        guard !keys.isEmpty else { return }
        do throws(StoreError) {
            let failures = try await store.delete(keys)
            if let first = failures.first { throw first.error }
        } catch {
            log.error("copies of a rename that failed could not all be removed: \(error)")
        }
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
