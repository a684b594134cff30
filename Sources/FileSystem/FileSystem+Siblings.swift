// Small files that are opened one after another come before they are asked for.

internal import Base
internal import BlockCache
internal import ObjectModel
internal import ObjectStore

extension FileSystem {
    /// What prefetching of neighbouring files did so far.
    public var prefetchStatistics: PrefetchStatistics { prefetches.withLock { $0 } }

    /// A neighbour to be fetched.
    private struct Sibling: Sendable {
        let parent: UInt64
        let position: Int
        let name: FileName
        let object: ListedObject
        /// Set where lookups will want the attributes that come with the bytes.
        let learning: OneShot<FileSystemError?>?
    }

    /// A file was opened: begins to fetch it where it is small, and those that are likely to follow.
    /// - Parameter reads: whether what is open is going to be read, as far as one can tell.
    func noteOpened(_ node: Node, reads: Bool) {
        if reads, case .clean(let version) = node.state.withLock({ $0.content }), cache.isSmall(version) {
            _ = cache.prefetch(version, byteCount: version.byteCount, isUrgent: true)
        }
        let following: [Sibling] = tree.withLock { tree in
            guard let dentry = tree[node.number], let parent = dentry.parent, let name = dentry.name else { return [] }
            parent.directory!.lookups.opened()
            guard reads, configuration.prefetchesSiblings else { return [] }
            parent.directory!.noteOpened(name)
            return siblings(behind: name, in: parent)
        }
        var hasRoom = true
        for sibling in following {
            if hasRoom {
                hasRoom = begin(sibling)
            } else {
                // A lookup may wait for it already.
                end(sibling, .success(nil))
            }
        }
    }

    /// Asks the pattern of a directory what comes after an open.
    private func siblings(behind name: FileName, in parent: Dentry) -> [Sibling] {
        guard let startedAt = parent.directory!.listing?.startedAt, isFresh(startedAt) else { return [] }
        var advice = SiblingPattern.Advice()
        if parent.directory!.followedListing == startedAt {
            guard let position = parent.directory!.listing!.filePosition(of: name) else { return [] }
            let count = parent.directory!.listing!.fileNames().count
            advice = parent.directory!.siblings.opened(position, of: count)
        } else {
            advice = parent.directory!.followListing()
        }
        prefetches.withLock { counts in
            if advice.isUse { counts.used += 1 }
            counts.wasted += advice.wastedCount
        }
        return advice.fetch.compactMap { sibling(at: $0, in: parent) }
    }

    /// The neighbour at a position, if it is one to be fetched: a small file that nobody here is changing.
    private func sibling(at position: Int, in parent: Dentry) -> Sibling? {
        let name = parent.directory!.listing!.fileNames()[position]
        guard case .file(let object)? = parent.directory!.listing!.entries[name], object.version.byteCount > 0,
            object.version.byteCount <= configuration.siblingBytesMax,
            parent.directory!.children[name].map({ !$0.node.isPending }) ?? true
        else {
            parent.directory!.siblings.skip(position)
            return nil
        }
        var learning: OneShot<FileSystemError?>?
        if wantsAttributes(of: .file(object), in: parent), parent.directory!.children[name] == nil,
            parent.directory!.known[name] == nil
        {
            if parent.directory!.knownInFlight[name] != nil {
                // A lookup is faster; it may bring less than the whole file.
                parent.directory!.siblings.skip(position)
                return nil
            }
            learning = OneShot()
            parent.directory!.knownInFlight[name] = learning
            parent.directory!.fileSample.began()
        }
        return Sibling(
            parent: parent.node.number, position: position, name: name, object: object, learning: learning)
    }

    /// Begins to fetch a neighbour. False when there is no room: then the pattern will ask again.
    private func begin(_ sibling: Sibling) -> Bool {
        let version = sibling.object.version
        let outcome = cache.prefetch(version, byteCount: version.byteCount, isUrgent: false) { result in
            self.end(sibling, result)
        }
        switch outcome {
        case .started:
            prefetches.withLock { $0.prefetched += 1 }
            return true
        case .inMemory, .underWay:
            // The bytes come, but nothing is told of the object: a lookup asks for that itself.
            end(sibling, .success(nil))
            return true
        case .noRoom:
            end(sibling, .success(nil))
            tree.withLock { $0[sibling.parent]?.directory?.siblings.retreat(to: sibling.position) }
            return false
        }
    }

    private func end(_ sibling: Sibling, _ result: Result<ObjectInfo?, StoreError>) {
        guard let learning = sibling.learning else { return }
        if case .success(let info?) = result {
            noteLearned(parent: sibling.parent, name: sibling.name, entry: .file(sibling.object), .success(info))
        } else {
            // Whoever waits asks for it alone, and hears of an error then.
            tree.withLock { tree in
                guard let parent = tree[sibling.parent], parent.directory != nil else { return }
                parent.directory!.knownInFlight[sibling.name] = nil
                parent.directory!.fileSample.ended(isPosix: nil)
            }
        }
        learning.set(nil)
    }
}

extension DirectoryState {
    /// The last names opened that are remembered, to find a pattern in when a listing comes.
    static let recentlyOpenedMax = 8

    mutating func noteOpened(_ name: FileName) {
        if recentlyOpened.last == name { return }
        if recentlyOpened.count == Self.recentlyOpenedMax { recentlyOpened.removeFirst() }
        recentlyOpened.append(name)
    }

    /// Begins to follow opens by their positions in the present listing: what was opened lately counts. The advice is
    /// that of the last one.
    mutating func followListing() -> SiblingPattern.Advice {
        followedListing = listing?.startedAt
        var advice = SiblingPattern.Advice()
        // What was foretold by the listing before is not known by position any more.
        advice.wastedCount = siblings.aheadCount
        siblings = SiblingPattern()
        for name in recentlyOpened {
            guard let position = listing!.filePosition(of: name) else { continue }
            let next = siblings.opened(position, of: listing!.fileNames().count)
            advice.fetch += next.fetch
        }
        return advice
    }
}
