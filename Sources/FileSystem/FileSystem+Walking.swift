// Tree walks: the listings of many directories come with few requests, ahead of whoever walks.

internal import Base
internal import ObjectModel
internal import ObjectStore

extension FileSystem {
    /// Pages of one run. What they bring is small beside what a walk makes the kernel keep.
    private static let runPageCountMax = 8

    /// Called before a directory is listed: where a walk goes through the children of its parent, one listing brings this
    /// one and those behind it. Returns when that is so, or when there is nothing to hope for.
    func listAhead(of number: UInt64) async {
        enum Role { case nothing, wait(OneShot<Void>), run(UInt64, FileName, OneShot<Void>) }
        let role: Role = tree.withLock { tree in
            guard let dentry = tree[number], let parent = dentry.parent, let name = dentry.name,
                dentry.directory?.flight == nil, isListed(parent)
            else { return .nothing }
            if let run = parent.directory!.ahead.inFlight { return .wait(run) }
            guard parent.directory!.ahead.missed() else { return .nothing }
            let done = OneShot<Void>()
            parent.directory!.ahead.beginRun(done)
            return .run(parent.node.number, name, done)
        }
        switch role {
        case .nothing: return
        case .wait(let run): await run.wait()
        case .run(let parent, let name, let done): await runAhead(parent, from: name, done)
        }
        tree.withLock { tree in
            if let dentry = tree[number] { adoptAhead(dentry, &tree) }
        }
        tellInvalidations()
    }

    /// As above, for a child that has no node yet and whose attributes are asked for: a page of the run tells which of the
    /// children have markers, where that costs a HEAD each otherwise. Returns whether something has come ahead.
    func listAhead(in number: UInt64, of name: FileName) async -> Bool {
        enum Role { case nothing, wait(OneShot<Void>), run(OneShot<Void>) }
        let role: Role = tree.withLock { tree in
            guard let parent = tree[number], parent.directory != nil, parent.directory!.listed(name) == .directory,
                isListed(parent), parent.directory!.children[name] == nil,
                parent.directory!.ahead.directories[name] == nil, !parent.directory!.ahead.isPoor
            else { return .nothing }
            if let run = parent.directory!.ahead.inFlight { return .wait(run) }
            let done = OneShot<Void>()
            parent.directory!.ahead.beginRun(done)
            return .run(done)
        }
        switch role {
        case .nothing: break
        case .wait(let run): await run.wait()
        case .run(let done): await runAhead(number, from: name, done)
        }
        return tree.withLock { $0[number]?.directory?.ahead.directories[name] != nil }
    }

    func isListed(_ dentry: Dentry) -> Bool {
        dentry.directory!.partial != nil || dentry.directory!.listing.map { isFresh($0) } ?? false
    }

    /// Lists the keys below a directory from one child on, without a delimiter.
    private func runAhead(_ parent: UInt64, from first: FileName, _ done: OneShot<Void>) async {
        let startedAt = nowNanoseconds
        var found: [FileName: ListedDirectory] = [:]
        var isUseful = false
        if let prefix = tree.withLock({ $0[parent]?.prefix(root: configuration.prefix) }) {
            var subtree = SubtreeListing(prefix: prefix, startedAt: startedAt)
            // The byte before the slash: the child's own marker comes first, nothing that sorts before it does.
            var request = ListRequest(prefix: prefix, delimited: false)
            request.startAfter = ObjectKey(prefix + NameCodec.segment(for: first) + ".")
            do throws(StoreError) {
                for pageIndex in 0..<Self.runPageCountMax {
                    let page = try await store.list(request)
                    subtree.add(page.objects)
                    request.startAfter = nil
                    request.continuation = page.continuation
                    if page.continuation == nil { subtree.finish() }
                    isUseful = subtree.isInOrder && subtree.children[first] != nil
                    // A page that brings less than a directory is no better than its own listing.
                    let isSparse = subtree.children.count <= pageIndex
                    if page.continuation == nil || !isUseful || isSparse { break }
                }
            } catch {
                // Whoever needs one of these directories asks for it, and hears of the error.
                isUseful = false
            }
            if subtree.hasFolderMarkers { hasFolderMarkers.withLock { $0 = true } }
            if isUseful { found = await remembering(subtree.children, in: prefix) }
        }
        let (brought, useful) = (found, isUseful)
        tree.withLock { tree in
            guard let dentry = tree[parent], dentry.directory != nil else { return }
            defer { tree.prune(dentry) }
            // What this mount changed below since, in nodes that may be gone by now, the listing does not know.
            let isOutdated = dentry.directory!.ahead.endRun(done)
            if !useful { dentry.directory!.ahead.ranPoorly() }
            if isOutdated { return }
            // It may have seen some of the keys at one place, and some at the other.
            if moving.isUnderWay { return }
            for (name, directory) in brought {
                if let child = dentry.directory!.children[name] {
                    if child.directory != nil { merge(directory, into: child, &tree) }
                } else if isListed(dentry) {
                    dentry.directory!.ahead.directories[name] = directory
                }
            }
        }
        done.set(())
        tellInvalidations()
    }

    /// Adds what was remembered of the entries, and notes what is new.
    private func remembering(
        _ children: [FileName: ListedDirectory], in prefix: ByteString
    ) async -> [FileName: ListedDirectory] {
        guard attributes != nil else { return children }
        var result = children
        for (name, directory) in children {
            let below = prefix + NameCodec.segment(for: name) + "/"
            result[name]!.names = await remember(directory.names, in: below)
            noteListed(below, directory.names.map(\.name), hasMarker: directory.marker != nil)
            result[name]!.below = await remembering(directory.below, in: below)
        }
        return result
    }

    /// A child that has a node by now takes what came ahead for it.
    func adoptAhead(_ dentry: Dentry, _ tree: inout Tree) {
        guard let parent = dentry.parent, let name = dentry.name, dentry.directory != nil,
            let directory = parent.directory!.ahead.directories.removeValue(forKey: name)
        else { return }
        guard isFresh(directory.startedAt) else { return }
        merge(directory, into: dentry, &tree)
    }

    private func merge(_ directory: ListedDirectory, into dentry: Dentry, _ tree: inout Tree) {
        if let listing = dentry.directory!.listing, listing.startedAt >= directory.startedAt { return }
        // A listing of its own is under way: that one is newer.
        guard dentry.directory!.flight == nil else { return }
        var listing = Listing(startedAt: directory.startedAt, entries: [:])
        listing.reserve(directory.names.count)
        for item in directory.names { merge(item, into: dentry, &listing, &tree) }
        finish(listing, marker: directory.marker, into: dentry, &tree)
        for (name, below) in directory.below where dentry.directory!.children[name] == nil {
            dentry.directory!.ahead.directories[name] = below
        }
    }
}
