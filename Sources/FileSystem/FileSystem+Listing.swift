// Listing a directory, and merging that with what this mount knows better.

internal import Base
internal import Logging
internal import ObjectModel
internal import ObjectStore
internal import Staging

extension FileSystem {
    /// Sees to it that a directory is listed, at least so many pages of it, and waits for that. Concurrent callers share
    /// one listing.
    func fillListing(_ number: UInt64, pageCount: Int = .max) async throws(FileSystemError) {
        while true {
            guard let flight = try beginListing(number, pageCount: pageCount) else { return }
            switch await flight.wait(pageCount: pageCount) {
            case .complete: return
            case .failed(let error): throw error
            case .stopped: if pageCount < .max { return }
            }
        }
    }

    /// The listing under way, begun now if need be; nil when the directory is freshly listed.
    /// - Parameter pageCount: how much of it is wanted even if nobody reads the directory.
    /// - Parameter isAhead: nobody asks for it yet.
    func beginListing(
        _ number: UInt64, pageCount: Int, isReader: Bool = false, isAhead: Bool = false
    ) throws(FileSystemError) -> ListingFlight? {
        var begun: (flight: ListingFlight, prefix: ByteString)?
        let flight: ListingFlight? = try tree.withLock { tree throws(FileSystemError) in
            guard let dentry = tree[number], dentry.directory != nil,
                let prefix = dentry.prefix(root: configuration.prefix)
            else { throw FileSystemError(.notFound) }
            if let listing = dentry.directory!.listing, isFresh(listing) { return nil }
            if let flight = dentry.directory!.flight, flight.want(pageCount: pageCount, isReader: isReader) {
                if !isAhead { dentry.directory!.partial?.aheadUntil = nil }
                return flight
            }
            let flight = ListingFlight(startedAt: nowNanoseconds)
            _ = flight.want(pageCount: pageCount, isReader: isReader)
            dentry.directory!.flight = flight
            dentry.directory!.partial = Listing(startedAt: flight.startedAt, entries: [:])
            if isAhead { dentry.directory!.partial!.aheadUntil = .max }
            dentry.directory!.changedDuringListing = [:]
            begun = (flight, prefix)
            return flight
        }
        if let begun { Task { await run(begun.flight, number, begun.prefix) } }
        return flight
    }

    /// Fetches pages until there are no more, or nobody wants more.
    private func run(_ flight: ListingFlight, _ number: UInt64, _ prefix: ByteString) async {
        var builder = ListingBuilder(prefix: prefix)
        var request = ListRequest(prefix: prefix, delimited: true)
        var end: ListingFlight.End?
        while end == nil {
            do throws(StoreError) {
                // Where a rename has taken the directory elsewhere, the listing goes on there behind what it has read.
                if let now = await settledPrefix(number), now != request.prefix { request = builder.moved(to: now) }
                let page = try await store.list(request)
                guard isSettled(number, request.prefix) else { continue }
                let found = builder.add(
                    objects: page.objects, commonPrefixes: page.commonPrefixes, isLast: page.continuation == nil)
                if builder.hasFolderMarkers { hasFolderMarkers.withLock { $0 = true } }
                let names = await remember(
                    found.map { ListedName(name: $0.name, entry: $0.entry) }, in: request.prefix)
                arrived(names, of: flight, number)
                request.startAfter = nil
                request.continuation = page.continuation
            } catch {
                end = .failed(FileSystemError(error))
                break
            }
            end = request.continuation == nil ? .complete : await waitForReaders(flight)
        }
        for key in builder.unnameable.prefix(3) {
            log.warning("an object has a name with a zero byte and is not shown", metadata: ["key": "\(key)"])
        }
        conclude(flight, number, request.prefix, end!, marker: builder.marker)
    }

    /// The prefix of a directory, once no rename moves it; nil when it has no name any more.
    private func settledPrefix(_ number: UInt64) async -> ByteString? {
        while true {
            guard let prefix = tree.withLock({ $0[number]?.prefix(root: configuration.prefix) }) else { return nil }
            guard let end = moving.end(of: prefix) else { return prefix }
            await end.wait()
        }
    }

    /// Whether what a listing has just told of a prefix is so: no rename has begun to remove its keys.
    private func isSettled(_ number: UInt64, _ prefix: ByteString) -> Bool {
        tree.withLock { tree in
            guard let now = tree[number]?.prefix(root: configuration.prefix) else { return true }
            return now == prefix && moving.end(of: prefix) == nil
        }
    }

    /// Nil when another page is wanted.
    private func waitForReaders(_ flight: ListingFlight) async -> ListingFlight.End? {
        while true {
            switch flight.next {
            case .fetch: return nil
            case .stop: return .stopped
            case .wait(let pause): await pause.wait()
            }
        }
    }

    private func arrived(_ names: [ListedName], of flight: ListingFlight, _ number: UInt64) {
        let shown: [ListingFlight.Name] = tree.withLock { tree in
            guard let dentry = tree[number], dentry.directory?.flight === flight,
                var partial = dentry.directory!.partial
            else { return names.map { ListingFlight.Name(name: $0.name, isDirectory: $0.entry == .directory) } }
            // Taken out while it grows: a second reference would copy it with each page.
            dentry.directory!.partial = nil
            let shown = names.compactMap { item -> ListingFlight.Name? in
                guard let entry = merge(item, into: dentry, &partial, &tree) else { return nil }
                return ListingFlight.Name(name: item.name, isDirectory: entry == .directory)
            }
            dentry.directory!.partial = partial
            return shown
        }
        tellInvalidations()
        flight.add(shown)
    }

    private func conclude(
        _ flight: ListingFlight, _ number: UInt64, _ prefix: ByteString, _ end: ListingFlight.End, marker: ListedObject?
    ) {
        var remote: [FileName] = []
        let late: [ListingFlight.Name] = tree.withLock { tree in
            guard let dentry = tree[number] else { return [] }
            defer { tree.prune(dentry) }
            guard dentry.directory?.flight === flight else { return [] }
            dentry.directory!.flight = nil
            defer { dentry.directory!.changedDuringListing = [:] }
            guard var partial = dentry.directory!.partial else { return [] }
            dentry.directory!.partial = nil
            if partial.aheadUntil != nil { partial.aheadUntil = believedAheadUntil }
            if end == .stopped { dentry.directory!.isTooLargeToListEarly = true }
            guard end == .complete else { return [] }
            remote = Array(partial.entries.keys)
            dentry.directory!.askCount = 0
            let late = finish(partial, marker: marker, into: dentry, &tree)
            return late.map { name, entry in ListingFlight.Name(name: name, isDirectory: entry == .directory) }
        }
        if end == .complete, !remote.isEmpty || marker != nil {
            noteListed(prefix, remote, hasMarker: marker != nil)
        }
        tellInvalidations()
        if !late.isEmpty { flight.add(late) }
        flight.finish(end)
    }

    // MARK: Merging

    /// Takes over what a listing says of one name, unless this mount knows better. Returns what there is then.
    @discardableResult
    func merge(
        _ item: ListedName, into dentry: Dentry, _ listing: inout Listing, _ tree: inout Tree
    ) -> Listing.Entry? {
        let name = item.name
        guard let child = dentry.directory!.children[name] else {
            if let change = dentry.directory!.changedDuringListing[name] {
                if let change { listing.set(name, change) }
                return change
            }
            learn(item, in: dentry)
            listing.set(name, item.entry)
            if dentry.directory!.toldAbsent.remove(name) != nil {
                tree.invalidations.append(.entry(parent: dentry.node.number, name: name.shown))
            }
            return item.entry
        }
        let node = child.node
        let content = node.state.withLock { $0.content }
        let localIsNewer = node.isKnownBetter(since: listing.startedAt)
        var result: Listing.Entry? = item.entry
        switch (content, item.entry) {
        case (.staged(let file), _):
            // Staged data is better known here, also when it is published: the listing may be older than that.
            result = entry(for: file) ?? item.entry
        case (.none, .directory):
            // 0: its attributes were never asked for (recovery made it), or are to be asked for again.
            node.state.withLock { if $0.validatedAt != 0 { $0.validatedAt = listing.startedAt } }
        case (.clean(let version), .file(let object)) where version == object.version:
            if !localIsNewer { validate(node, object, startedAt: listing.startedAt, &tree) }
        case (.clean(let version), _) where localIsNewer:
            result = .file(ListedObject(version: version, lastModified: time.now))
        case (.none, _) where localIsNewer || hasPendingBelow(child): result = .directory
        default:
            supersede(child, &tree)
            learn(item, in: dentry)
        }
        if let result { listing.set(name, result) }
        return result
    }

    /// The bytes are the same; the metadata is where the object was not written again.
    private func validate(_ node: Node, _ object: ListedObject, startedAt: UInt64, _ tree: inout Tree) {
        let isChanged = node.state.withLock { state in
            defer { state.storeTime = object.lastModified }
            guard configuration.attributePolicy != .listing, let before = state.storeTime,
                before.seconds != object.lastModified.seconds
            else {
                state.validatedAt = startedAt
                return false
            }
            // Copied onto itself with other metadata: to be asked for again.
            state.validatedAt = 0
            return true
        }
        if isChanged { tree.invalidations.append(.node(node.number)) }
    }

    /// A listing is whole: what it does not have is gone, unless this mount knows better. Returns what is there besides.
    @discardableResult
    func finish(
        _ whole: Listing, marker: ListedObject?, into dentry: Dentry, _ tree: inout Tree
    ) -> [(name: FileName, entry: Listing.Entry)] {
        var listing = whole
        var late: [(name: FileName, entry: Listing.Entry)] = []
        for (name, change) in dentry.directory!.changedDuringListing where listing.entries[name] == nil {
            guard let change, dentry.directory!.children[name] == nil else { continue }
            late.append((name, change))
        }
        for (name, child) in dentry.directory!.children where listing.entries[name] == nil {
            let content = child.node.state.withLock { $0.content }
            let localIsNewer = child.node.isKnownBetter(since: listing.startedAt)
            switch content {
            case .staged(let file): if let entry = entry(for: file) { late.append((name, entry)) }
            case .clean(let version) where localIsNewer:
                late.append((name, .file(ListedObject(version: version, lastModified: time.now))))
            case .none where localIsNewer || hasPendingBelow(child): late.append((name, .directory))
            default: supersede(child, &tree, isGone: true)
            }
        }
        for (name, entry) in late { listing.set(name, entry) }
        dentry.directory!.listing = listing
        tree.noteListed(dentry)
        noteMarker(marker, of: dentry, startedAt: listing.startedAt, &tree)
        dentry.directory!.absent = [:]
        dentry.directory!.inodes = dentry.directory!.inodes.filter { listing.entries[$0.key] != nil }
        // What was learned of objects that are still the same stays.
        dentry.directory!.known = dentry.directory!.known.filter { name, known in
            switch (known, listing.entries[name]) {
            case (.object(let info), .file(let object)): info.version == object.version
            case (.remembered(let remembered), .file(let object)): remembered.version == object.version
            case (_, .directory): true
            default: false
            }
        }
        return late
    }

    /// A directory's own listing shows its marker, and so whether its attributes are still what they were.
    private func noteMarker(_ marker: ListedObject?, of dentry: Dentry, startedAt: UInt64, _ tree: inout Tree) {
        if dentry.node.state.withLock({ $0.hasPendingMarker }) { return }
        // There was none, as far as is known: so no time of one that might be another now.
        let isFirst = marker != nil && (dentry.directory!.hasMarker == false || isKnownWithoutMarker(dentry))
        dentry.directory!.hasMarker = marker != nil
        guard configuration.attributePolicy != .listing, dentry.node.number != Tree.rootNumber else { return }
        let isChanged = dentry.node.state.withLock { state in
            guard state.changedAt < startedAt else { return false }
            defer {
                state.storeTime = marker?.lastModified
                state.markerWrittenAt = nil
            }
            guard isFirst || state.isOfOtherMarker(marker) else { return false }
            state.validatedAt = 0
            state.markerKnownAt = 0
            return true
        }
        guard isChanged else { return }
        tree.invalidations.append(.node(dentry.node.number))
        // Nor does a node that is made anew get what was learnt of the old one.
        if let parent = dentry.parent, let name = dentry.name { parent.directory?.known[name] = nil }
    }

    private func isKnownWithoutMarker(_ dentry: Dentry) -> Bool {
        guard let name = dentry.name, case .nothing = dentry.parent?.directory?.known[name] else { return false }
        return true
    }

    func hasPendingBelow(_ dentry: Dentry) -> Bool {
        dentry.node.isPending || (dentry.directory?.children.values.contains { hasPendingBelow($0) } ?? false)
    }
}
