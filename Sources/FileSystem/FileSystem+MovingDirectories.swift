// Directories that get another prefix: all keys below are copied, and then removed.

internal import Base
internal import Logging
internal import ObjectModel
internal import ObjectStore
internal import Staging

extension FileSystem {
    /// Copies everything below a directory to its new place, in parallel, and deletes the old keys last: until then the
    /// old tree is whole. Nothing below either place changes meanwhile (see `ChangePlace`). Before the old keys go the nodes
    /// below get the new ones, and until `endMoving` nobody believes what the store says of the old ones.
    ///
    /// Throws when nothing is moved. Returns the error when the new tree is whole and stands, and of the old one something
    /// could not be deleted.
    func moveDirectory(
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
        let (copied, failure) = await copyAll(moves, begun, progress)
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

    /// Copies objects to their new keys, side by side; after the first failure no more are begun.
    /// - Parameters:
    ///   - begun: gets the keys to which a copy was begun, but for those that were refused.
    ///   - progress: of `beginRename`.
    /// - Returns: the copies by the versions that they are of, and the first failure.
    private func copyAll(
        _ moves: [(object: ListedObject, key: ObjectKey)], _ begun: Lock<Set<ObjectKey>>, _ progress: Int
    ) async -> (copied: [ObjectVersion: ObjectVersion], failure: FileSystemError?) {
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
        return (copied, failure)
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

    func endMoving(_ node: Node) {
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
    func forgetListings(below top: Dentry) {
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

    func isNothing(below prefix: ByteString) async throws(FileSystemError) -> Bool {
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
