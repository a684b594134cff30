// What is kept of names and attributes beyond the mount: see AttributeStore.

internal import Base
internal import ObjectModel
internal import Staging

extension FileSystem {
    /// What was known at this time was remembered from an earlier mount, and never fresh in this one.
    static let recalledAt: UInt64 = 1
    /// Entries of one directory that an offline mount shows at most.
    private static let recalledCountMax = 1_000_000

    // MARK: From the disk

    /// Adds to listed names what is remembered of the objects that they show, and notes what is new.
    func remember(_ names: [ListedName], in prefix: ByteString) async -> [ListedName] {
        guard let attributes, !names.isEmpty else { return names }
        let known = await attributes.entries(prefix, names: names.map(\.name.bytes))
        var result = names
        var changed: [(ByteString, RememberedEntry)] = []
        for (index, item) in names.enumerated() {
            let before = known[item.name.bytes]
            var now = RememberedEntry(item.entry)
            switch item.entry {
            case .file(let object):
                if let before, before.isOf(object) {
                    now.learned = before.learned
                    now.inode = before.inode
                    // The last time is this object's own, not the one that we supposed.
                }
            case .directory: if let before, before.content == .directory { now = before }
            }
            result[index].remembered = now
            guard now != before else { continue }
            // What this mount wrote a moment ago is not the store's word yet.
            if case .file(let object) = item.entry, now.learned != .nothing, !isSettled(object.lastModified) {
                continue
            }
            changed.append((item.name.bytes, now))
        }
        attributes.note(prefix, changed)
        return result
    }

    func noteListed(_ prefix: ByteString, _ names: [FileName], hasMarker: Bool) {
        attributes?.noteListed(prefix, hasMarker: hasMarker, names: names.map(\.bytes))
    }

    /// Takes what was remembered of a listed entry that has no node.
    func learn(_ item: ListedName, in parent: Dentry) {
        // What was learnt of another version is of no use any more.
        switch (parent.directory!.known[item.name], item.entry) {
        case (.object(let info), .file(let object)) where info.version == object.version: break
        case (.remembered(let known), .file(let object)) where known.version == object.version: break
        case (_, .directory): break
        default: parent.directory!.known[item.name] = nil
        }
        guard let remembered = item.remembered else { return }
        parent.directory!.inodes[item.name] = remembered.inode
        guard parent.directory!.known[item.name] == nil, let known = known(remembered, item.entry) else { return }
        parent.directory!.known[item.name] = known
        let isPosix =
            if case .properties(let properties) = remembered.learned {
                AttributeCodec.isPosix(properties.metadata)
            } else {
                false
            }
        parent.directory!.withSample(of: item.entry) { $0.note(isPosix: isPosix) }
    }

    private func known(_ remembered: RememberedEntry, _ entry: Listing.Entry) -> Known? {
        switch (remembered.learned, entry) {
        case (.nothing, _): return nil
        case (.noMarker, _): return Known.nothing
        case (.properties(let properties), .file(let object)):
            return .remembered(
                self.remembered(
                    properties, version: object.version, kind: AttributeCodec.kind(of: properties.metadata),
                    time: object.lastModified))
        case (.properties(let properties), .directory):
            return .remembered(
                self.remembered(properties, version: nil, kind: .directory, time: remembered.time ?? startedAt))
        }
    }

    private func remembered(
        _ properties: ObjectProperties, version: ObjectVersion?, kind: FileKind, time: Timestamp
    ) -> RememberedAttributes {
        let metadata = properties.metadata
        if kind == .symlink, version.map({ $0.byteCount > 0 }) ?? false { hasSymlinkBodies.withLock { $0 = true } }
        return RememberedAttributes(
            version: version, kind: kind, attributes: codec.attributes(of: metadata, kind: kind, lastModified: time),
            symlinkTarget: kind == .symlink ? AttributeCodec.symlinkTarget(of: metadata) ?? "" : nil, storeTime: time)
    }

    /// Fills a directory of which nothing is known with what was remembered of it: for when the store does not answer.
    func recall(_ number: UInt64) async {
        guard let attributes else { return }
        let prefix: ByteString? = tree.withLock { tree in
            guard let dentry = tree[number], dentry.directory?.listing == nil else { return nil }
            return dentry.prefix(root: configuration.prefix)
        }
        guard let prefix,
            let (directory, entries) = await attributes.everything(prefix, countMax: Self.recalledCountMax)
        else { return }
        tree.withLock { tree in
            guard let dentry = tree[number], dentry.directory != nil, dentry.directory!.listing == nil else { return }
            var listing = Listing(startedAt: Self.recalledAt, entries: [:])
            listing.isWhole = directory.isListed
            for (bytes, remembered) in entries {
                guard let name = FileName(bytes.string), let key = ObjectKey(prefix + NameCodec.segment(for: name))
                else {
                    listing.isWhole = false
                    continue
                }
                let entry = remembered.entry(key: key)
                listing.set(name, entry)
                guard dentry.directory!.children[name] == nil else { continue }
                learn(ListedName(name: name, entry: entry, remembered: remembered), in: dentry)
            }
            dentry.directory!.listing = listing
            tree.noteListed(dentry)
            if directory.isListed, !dentry.node.isPending { dentry.directory!.hasMarker = directory.hasMarker }
        }
    }

    // MARK: To the disk

    /// Whether an object may be told by its time from what it is changed to. What was changed within this second may change
    /// once more within it.
    private func isSettled(_ lastModified: Timestamp) -> Bool { abs(time.now.seconds - lastModified.seconds) >= 2 }

    /// Notes what the store has told of a name, in answer to a question for it.
    func noteAsked(_ prefix: ByteString, _ name: FileName, _ info: ObjectInfo?, kind: FileKind, inode: UInt64) {
        guard let attributes else { return }
        var entry: RememberedEntry
        if kind == .directory {
            entry = RememberedEntry(content: .directory)
            entry.learned = .noMarker
            entry.inode = inode == InodeNumber.of(directory: prefix + NameCodec.segment(for: name) + "/") ? nil : inode
        } else {
            guard let info else { return }
            entry = RememberedEntry(content: .file(etag: info.version.etag, byteCount: info.version.byteCount))
            entry.inode = inode == InodeNumber.of(info.version) ? nil : inode
        }
        if let info {
            entry.modified = .told(info.lastModified)
            entry.learned = isSettled(info.lastModified) ? .properties(info.properties) : .nothing
        }
        attributes.note(prefix, [(name.bytes, entry)])
    }

    /// Notes what this mount made of a name, once it is in the store.
    func noteWritten(_ dentry: Dentry) {
        guard let attributes, let parent = dentry.parent, let name = dentry.name,
            let prefix = parent.prefix(root: configuration.prefix)
        else { return }
        let node = dentry.node
        let (version, properties) = node.state.withLock { ($0.objectVersion, $0.properties) }
        var entry: RememberedEntry
        if node.kind == .directory {
            entry = RememberedEntry(content: .directory)
        } else {
            guard let version else { return }
            entry = RememberedEntry(content: .file(etag: version.etag, byteCount: version.byteCount))
        }
        entry.modified = .written(time.now)
        if let properties { entry.learned = .properties(properties) }
        entry.inode = node.inode
        attributes.noteWritten(prefix, name.bytes, entry)
    }

    /// Notes that a name of a directory is gone.
    func noteGone(_ name: FileName, from parent: Dentry, isDirectory: Bool = false) {
        guard let attributes, let prefix = parent.prefix(root: configuration.prefix) else { return }
        attributes.noteRemoved(prefix, [name.bytes])
        if isDirectory { attributes.noteTreeRemoved(prefix + NameCodec.segment(for: name) + "/") }
    }
}
