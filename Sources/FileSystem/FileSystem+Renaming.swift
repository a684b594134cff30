// rename(2): what is the same for files and directories. How they are moved is in +MovingFiles and +MovingDirectories.

internal import Base
internal import ObjectModel
internal import ObjectStore

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
        let now = time.now
        let entry: Listing.Entry?
        var leftover: FileSystemError?
        do throws(FileSystemError) {
            if source.kind == .directory {
                leftover = try await moveDirectory(source, to: newKey, replacing: target, mustBeNew: mustBeNew)
                entry = .directory
            } else {
                leftover = try await moveFile(
                    source, storageClass, to: newKey, replacing: target, mustBeNew: mustBeNew, at: now)
                entry = nil
            }
        } catch {
            endMove()
            doubt(parent: parent, name)
            doubt(parent: toParent, toName)
            throw error
        }
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
}
