// Attributes of listed entries: asked for where a listing does not tell enough.

internal import Base
internal import BlockCache
internal import ObjectModel
internal import ObjectStore

extension FileSystem {
    /// A listed entry whose attributes are being asked for.
    private struct Wanted: Sendable {
        let name: FileName
        let key: ObjectKey
        let entry: Listing.Entry
        let done: OneShot<FileSystemError?>
    }

    /// Asks for the attributes of a listed entry. As long as what is looked up is opened too, the first bytes come along;
    /// else those of the entries behind it are asked for in the same go: whoever stats two usually stats them all, in
    /// this order. Returns whether the name was in a fresh listing.
    func learnListed(parent number: UInt64, name: FileName) async throws(FileSystemError) -> Bool {
        let (wanted, bringsBytes, mine) = try tree.withLock { tree throws(FileSystemError) in
            guard let parent = tree[number], parent.directory != nil else { throw FileSystemError(.stale) }
            guard let listing = parent.directory!.listing, isFresh(listing.startedAt),
                let entry = listing.entries[name]
            else { return ([Wanted](), false, OneShot<FileSystemError?>?.none) }
            if let other = parent.directory!.knownInFlight[name] { return ([], false, other) }
            var bringsBytes = false
            if case .file(let object) = entry, object.version.byteCount > 0, parent.directory!.known[name] == nil,
                parent.directory!.children[name] == nil
            {
                bringsBytes = parent.directory!.lookups.asks()
            }
            let wanted = try self.wanted(from: name, count: bringsBytes ? 1 : DirectoryState.sampleCount, in: parent)
            return (wanted, bringsBytes, parent.directory!.knownInFlight[name])
        }
        for item in wanted {
            if bringsBytes { learnWithBytes(item, in: number) } else { learn(item, in: number) }
        }
        guard let mine else { return !wanted.isEmpty }
        if let error = await mine.wait() { throw error }
        return true
    }

    /// Listed entries from `name` on of which no attributes are known or being asked for; they are from now on.
    private func wanted(from name: FileName, count: Int, in parent: Dentry) throws(FileSystemError) -> [Wanted] {
        guard let prefix = parent.prefix(root: configuration.prefix) else { throw FileSystemError(.stale) }
        var wanted: [Wanted] = []
        for next in parent.directory!.listing!.names(from: name, count: count) {
            guard parent.directory!.knownInFlight[next] == nil, parent.directory!.known[next] == nil,
                parent.directory!.children[next] == nil, let entry = parent.directory!.listing!.entries[next]
            else { continue }
            let segment = prefix + NameCodec.segment(for: next)
            guard let key = ObjectKey(entry == .directory ? segment + "/" : segment) else { continue }
            let done = OneShot<FileSystemError?>()
            parent.directory!.knownInFlight[next] = done
            wanted.append(Wanted(name: next, key: key, entry: entry, done: done))
        }
        return wanted
    }

    private func learn(_ item: Wanted, in parent: UInt64) {
        Task {
            let outcome = await background.run {
                await Result.of { () async throws(FileSystemError) in try await self.head(item.key) }
            }
            finish(item, in: parent, outcome)
        }
    }

    /// A GET instead of the HEAD.
    private func learnWithBytes(_ item: Wanted, in parent: UInt64) {
        guard case .file(let object) = item.entry else { return learn(item, in: parent) }
        let outcome = cache.prefetch(
            object.version, byteCount: cache.beginningBytes(of: object.version), isUrgent: true
        ) { result in
            self.tree.withLock { $0[parent]?.directory?.lookups.answered(isFile: true) }
            if case .success(let info?) = result {
                self.finish(item, in: parent, .success(info))
            } else {
                // Replaced, archived, or an error that a HEAD will have too.
                self.learn(item, in: parent)
            }
        }
        if outcome != .started {
            tree.withLock { $0[parent]?.directory?.lookups.answered(isFile: true) }
            learn(item, in: parent)
        }
    }

    private func finish(_ item: Wanted, in parent: UInt64, _ outcome: Result<ObjectInfo?, FileSystemError>) {
        noteLearned(parent: parent, name: item.name, entry: item.entry, outcome)
        if case .failure(let error) = outcome { item.done.set(error) } else { item.done.set(nil) }
    }

    /// - Parameter entry: what was listed when the question was asked; another by now is newer than the answer.
    func noteLearned(
        parent number: UInt64, name: FileName, entry: Listing.Entry, _ outcome: Result<ObjectInfo?, FileSystemError>
    ) {
        tree.withLock { tree in
            guard let parent = tree[number], parent.directory != nil else { return }
            parent.directory!.knownInFlight[name] = nil
            guard case .success(let found) = outcome, parent.directory!.listing?.entries[name] == entry else { return }
            parent.directory!.sampledCount += 1
            if let found, AttributeCodec.isPosix(found.properties.metadata) { parent.directory!.posixCount += 1 }
            guard parent.directory!.children[name] == nil else { return }
            switch entry {
            case .directory:
                // Without a marker there is nothing more to know of a directory.
                parent.directory!.known[name] = found.map { .object($0) } ?? .nothing
            case .file(let object):
                guard let found else {
                    // Removed since the listing.
                    parent.directory!.listing?.remove(name)
                    return
                }
                if found.version != object.version {
                    parent.directory!.listing?.set(
                        name, .file(ListedObject(version: found.version, lastModified: found.lastModified)))
                }
                parent.directory!.known[name] = .object(found)
            }
        }
    }
}
