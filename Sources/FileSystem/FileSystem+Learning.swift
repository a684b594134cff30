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

    enum Learning: Sendable {
        /// The name is not listed, or there is nothing to be asked.
        case nothing
        /// Something is known now that was not: look again.
        case something
    }

    /// Asks for the attributes of a listed entry. As long as what is looked up is opened too, the first bytes come along;
    /// else those of the entries behind it are asked for in the same go: whoever stats two usually stats them all, in
    /// this order. Of a directory's first objects no more are asked than settle whether they have attributes at all: what
    /// is looked up meanwhile waits for that.
    func learnListed(parent number: UInt64, name: FileName) async throws(FileSystemError) -> Learning {
        if await listAhead(in: number, of: name), noteAhead(number, name) { return .something }
        enum Plan {
            case nothing
            case wait(OneShot<FileSystemError?>)
            case waitForOthers(OneShot<FileSystemError?>)
            case ask([Wanted], bringsBytes: Bool)
        }
        let plan: Plan = try tree.withLock { tree throws(FileSystemError) in
            guard let parent = tree[number], parent.directory != nil else { throw FileSystemError(.stale) }
            guard isListed(parent), let entry = parent.directory!.listed(name) else { return .nothing }
            if let other = parent.directory!.knownInFlight[name] { return .wait(other) }
            guard parent.directory!.children[name] == nil, parent.directory!.known[name] == nil else { return .nothing }
            if case .file(let object) = entry, object.version.byteCount > 0, parent.directory!.lookups.asks() {
                return .ask(try self.wanted([name], in: parent), bringsBytes: true)
            }
            let isAdaptive = configuration.attributePolicy == .adaptive
            let sample = parent.directory!.sample(of: entry)
            let allowance = isAdaptive ? sample.allowance : AttributeSample.countMax
            guard allowance > 0 else {
                // The answers under way will tell; the first of them may already.
                return parent.directory!.knownInFlight.first {
                    parent.directory!.listed($0.key)?.isFile == entry.isFile
                }
                .map { .waitForOthers($0.value) } ?? .nothing
            }
            let names =
                parent.directory!.partial?.entries[name] != nil
                ? parent.directory!.partial!.names(from: name, count: allowance, like: entry)
                : parent.directory!.listing?.names(from: name, count: allowance, like: entry) ?? []
            return .ask(try self.wanted(names, in: parent), bringsBytes: false)
        }
        switch plan {
        case .nothing: return .nothing
        case .wait(let other):
            if let error = await other.wait() { throw error }
            return .something
        case .waitForOthers(let other):
            // An error there is none of this name's.
            _ = await other.wait()
            return .something
        case .ask(let wanted, let bringsBytes):
            for item in wanted {
                if bringsBytes { learnWithBytes(item, in: number) } else { learn(item, in: number) }
            }
            guard let mine = wanted.first(where: { $0.name == name }) else { return .nothing }
            if let error = await mine.done.wait() { throw error }
            return .something
        }
    }

    /// Takes what a listing that came ahead tells of a directory's marker: often that there is none, or that it is the one
    /// of which the attributes are remembered. Returns whether that is all there is to know; never of a name that is not
    /// freshly listed, since nothing of it can be found then.
    private func noteAhead(_ number: UInt64, _ name: FileName) -> Bool {
        tree.withLock { tree in
            guard let parent = tree[number], parent.directory != nil,
                parent.directory!.listed(name, isUsable: { isFresh($0) })?.entry == .directory
            else { return false }
            guard parent.directory!.known[name] == nil else { return true }
            guard parent.directory!.ahead.hasMarker(name) == false else { return false }
            parent.directory!.known[name] = .nothing
            return true
        }
    }

    /// Listed entries of which no attributes are known or being asked for; they are from now on.
    private func wanted(_ names: [FileName], in parent: Dentry) throws(FileSystemError) -> [Wanted] {
        guard let prefix = parent.prefix(root: configuration.prefix) else { throw FileSystemError(.stale) }
        var wanted: [Wanted] = []
        for next in names {
            guard parent.directory!.knownInFlight[next] == nil, parent.directory!.known[next] == nil,
                parent.directory!.children[next] == nil, let entry = parent.directory!.listed(next)
            else { continue }
            if parent.directory!.ahead.hasMarker(next) == false {
                parent.directory!.known[next] = .nothing
                continue
            }
            let segment = prefix + NameCodec.segment(for: next)
            guard let key = ObjectKey(entry == .directory ? segment + "/" : segment) else { continue }
            let done = OneShot<FileSystemError?>()
            parent.directory!.knownInFlight[next] = done
            parent.directory!.withSample(of: entry) { $0.began() }
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
        // Of a key that a rename above has taken away the answer says nothing: whoever waits for it asks again.
        let isStillThere = tree.withLock { tree in
            guard let prefix = tree[parent]?.prefix(root: configuration.prefix) else { return false }
            return item.key.bytes.hasPrefix(prefix + NameCodec.segment(for: item.name))
                && moving.end(of: item.key.bytes) == nil
        }
        noteLearned(
            parent: parent, name: item.name, entry: item.entry,
            isStillThere ? outcome : .failure(FileSystemError(.stale)))
        if case .failure(let error) = outcome { item.done.set(error) } else { item.done.set(nil) }
    }

    /// - Parameter entry: what was listed when the question was asked; another by now is newer than the answer.
    func noteLearned(
        parent number: UInt64, name: FileName, entry: Listing.Entry, _ outcome: Result<ObjectInfo?, FileSystemError>
    ) {
        var noted: (prefix: ByteString, info: ObjectInfo?, inode: UInt64)?
        tree.withLock { tree in
            guard let parent = tree[number], parent.directory != nil else { return }
            parent.directory!.knownInFlight[name] = nil
            guard case .success(let found) = outcome, parent.directory!.listed(name) == entry else {
                parent.directory!.withSample(of: entry) { $0.ended(isPosix: nil) }
                return
            }
            parent.directory!.withSample(of: entry) {
                $0.ended(isPosix: found.map { AttributeCodec.isPosix($0.properties.metadata) } ?? false)
            }
            if let prefix = parent.prefix(root: configuration.prefix) {
                noted = (prefix, found, inode(of: entry, name: name, in: parent, prefix: prefix))
            }
            guard parent.directory!.children[name] == nil else { return }
            switch entry {
            case .directory:
                // Without a marker there is nothing more to know of a directory.
                parent.directory!.known[name] = found.map { .object($0) } ?? .nothing
            case .file(let object):
                guard let found else {
                    // Removed since the listing.
                    parent.directory!.listing?.remove(name)
                    parent.directory!.partial?.remove(name)
                    return
                }
                if found.version != object.version {
                    let entry = Listing.Entry.file(
                        ListedObject(version: found.version, lastModified: found.lastModified))
                    parent.directory!.inodes[name] = nil
                    parent.directory!.listing?.set(name, entry)
                    parent.directory!.partial?.set(name, entry)
                }
                parent.directory!.known[name] = .object(found)
            }
        }
        if let noted {
            noteAsked(
                noted.prefix, name, noted.info, kind: entry == .directory ? .directory : .file, inode: noted.inode)
        }
    }
}
