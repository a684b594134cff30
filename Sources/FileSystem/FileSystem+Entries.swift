// readdir(3): the names of a directory, as they come.

internal import Base
internal import ObjectModel

extension FileSystem {
    public func openDirectory(_ number: UInt64) -> Answer<DirectoryHandle> {
        guard let node = node(number) else { return .fail(.stale) }
        guard node.kind == .directory else { return .fail(.notDirectory) }
        return .ready(DirectoryHandle(node: node))
    }

    /// Entries of a directory from position `position` on, `.` and `..` first; none at its end. Each entry says the
    /// position behind it. Positions stay valid for the life of the handle; position 0 begins anew.
    ///
    /// The first entries come with the first page of the listing. Each name comes once, whatever is created or removed
    /// meanwhile; what is removed is left out where that is known.
    /// - Parameter countMax: at least 2.
    public func entries(
        _ handle: DirectoryHandle, from position: Int, countMax: Int
    ) -> Answer<[DirectoryEntry]> {
        if position > 0, let source = handle.source {
            if let entries = entriesNow(handle, source, from: position, countMax: countMax) { return .ready(entries) }
            return .later { () async throws(FileSystemError) in
                try await self.entriesLater(handle, source, from: position, countMax: countMax)
            }
        }
        if let names = snapshot(handle.node.number, acceptsStale: false) {
            handle.source = .names(names)
            if let entries = entriesNow(handle, .names(names), from: position, countMax: countMax) {
                return .ready(entries)
            }
        }
        return .later { () async throws(FileSystemError) in
            try await self.asking(below: handle.node.number) { () async throws(FileSystemError) in
                let source = try await self.newSource(handle.node.number)
                handle.source = source
                return try await self.entriesLater(handle, source, from: position, countMax: countMax)
            } known: {
                guard let names = self.snapshot(handle.node.number, acceptsStale: true) else { return nil }
                handle.source = .names(names)
                return self.entriesNow(handle, .names(names), from: position, countMax: countMax)
            }
        }
    }

    /// The names of the last listing.
    private func snapshot(_ number: UInt64, acceptsStale: Bool) -> [ListingFlight.Name]? {
        tree.withLock { tree in
            guard let dentry = tree[number], let listing = dentry.directory?.listing, listing.isWhole,
                isFresh(listing) || acceptsStale && isUsable(listing.startedAt, acceptsStale: true)
            else { return nil }
            return dentry.directory!.listing!.names().map {
                ListingFlight.Name(name: $0, isDirectory: listing.entries[$0] == .directory)
            }
        }
    }

    private func newSource(_ number: UInt64) async throws(FileSystemError) -> DirectoryHandle.Source {
        await listAhead(of: number)
        // A listing may be overtaken by an expiry or a removal; then it is asked for once more.
        for _ in 0..<3 {
            if let flight = try beginListing(number, pageCount: 1, isReader: true) { return .flight(flight) }
            if let names = snapshot(number, acceptsStale: false) { return .names(names) }
        }
        throw FileSystemError(.stale)
    }

    /// Nil when it must be waited for.
    private func entriesNow(
        _ handle: DirectoryHandle, _ source: DirectoryHandle.Source, from position: Int, countMax: Int
    ) -> [DirectoryEntry]? {
        let first = max(0, position - Self.dotCount)
        let names: ArraySlice<ListingFlight.Name>
        switch source {
        case .names(let all): names = all[min(first, all.count)..<min(first + countMax, all.count)]
        case .flight(let flight):
            switch flight.names(from: first, count: countMax) {
            case .names(let some): names = some
            case .end(.complete): names = []
            case .wait, .end: return nil
            }
        }
        var result = dots(handle.node, from: position)
        guard !names.isEmpty else { return result }
        let isRest: Bool = tree.withLock { tree in
            guard let dentry = tree[handle.node.number], dentry.directory != nil else { return false }
            result.reserveCapacity(names.count + result.count)
            let prefix = dentry.prefix(root: configuration.prefix)
            for (index, item) in zip(names.indices, names) {
                if let entry = entry(item, in: dentry, prefix: prefix, nextPosition: index + 1 + Self.dotCount) {
                    result.append(entry)
                }
            }
            return true
        }
        // All of these were removed meanwhile: an empty answer would be the end.
        if isRest, result.isEmpty {
            return entriesNow(handle, source, from: names.endIndex + Self.dotCount, countMax: countMax)
        }
        return result
    }

    private func entriesLater(
        _ handle: DirectoryHandle, _ source: DirectoryHandle.Source, from position: Int, countMax: Int
    ) async throws(FileSystemError) -> [DirectoryEntry] {
        while true {
            if let entries = entriesNow(handle, source, from: position, countMax: countMax) { return entries }
            guard case .flight(let flight) = source else { throw FileSystemError(.stale) }
            switch flight.names(from: max(0, position - Self.dotCount), count: 1) {
            case .names: break
            case .wait(let news): await news.wait()
            case .end(.complete): break
            case .end(.failed(let error)): throw error
            // Readers keep it going, so this is a listing that was made obsolete.
            case .end(.stopped): throw FileSystemError(.stale)
            }
        }
    }

    /// `.` and `..`.
    private static let dotCount = 2

    private func dots(_ node: Node, from position: Int) -> [DirectoryEntry] {
        guard position < Self.dotCount else { return [] }
        let parent = tree.withLock { $0[node.number]?.parent?.node.inode } ?? node.inode
        let both = [
            DirectoryEntry(name: ".", kind: .directory, inode: node.inode, fileName: nil, nextPosition: 1),
            DirectoryEntry(name: "..", kind: .directory, inode: parent, fileName: nil, nextPosition: 2),
        ]
        return Array(both[position...])
    }

    /// An entry as it is now; nil when it was removed.
    private func entry(
        _ item: ListingFlight.Name, in dentry: Dentry, prefix: ByteString?, nextPosition: Int
    ) -> DirectoryEntry? {
        let (kind, inode): (FileKind?, UInt64)
        if let child = dentry.directory!.children[item.name] {
            (kind, inode) = (child.node.kind, child.node.inode)
        } else if let listed = dentry.directory!.listed(item.name) {
            kind = self.kind(of: listed, item.name, in: dentry)
            inode = self.inode(of: listed, name: item.name, in: dentry, prefix: prefix)
        } else if dentry.directory!.partial == nil, dentry.directory!.listing != nil {
            return nil
        } else {
            // Nothing is known of it any more: it is there as far as one can tell.
            kind = item.isDirectory ? .directory : nil
            inode = StableHash.of(item.name.bytes.utf8) | 2
        }
        return DirectoryEntry(
            name: item.name.shown, kind: kind, inode: inode, fileName: item.name, nextPosition: nextPosition)
    }

    /// Nil where it may be a symlink: those that pail makes are empty objects, those of s3fs have the target as content. To ask
    /// for all small files because of these would make each `find` dear: so only once one of them has shown.
    private func kind(of listed: Listing.Entry, _ name: FileName, in parent: Dentry) -> FileKind? {
        guard case .file(let object) = listed else { return .directory }
        switch parent.directory!.known[name] {
        case .object(let info): return AttributeCodec.kind(of: info.properties.metadata)
        case .remembered(let known): return known.kind
        case .nothing, nil: break
        }
        let byteCountMax = hasSymlinkBodies.withLock { $0 } ? SymlinkBody.byteCountMax : 0
        return object.version.byteCount <= byteCountMax && wantsAttributes(of: listed, in: parent) ? nil : .file
    }

    /// The status of an entry for readdirplus, with a reference for the kernel; nil where asking would cost a request.
    public func statusForListing(_ entry: DirectoryEntry, in handle: DirectoryHandle) -> FileStatus? {
        guard let name = entry.fileName,
            case .node(let node) = find(parent: handle.node.number, name: name, isReferenced: true)
        else { return nil }
        return node.status
    }
}
