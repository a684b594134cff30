// The marker of a directory: the object that holds its attributes and keeps it in being without entries. doc/design/names.md
// says which are acknowledged before the store has them.

internal import Base
internal import Logging
internal import ObjectModel
internal import ObjectStore
internal import Staging

extension FileSystem {
    static let markerContentType = "application/x-directory"

    // MARK: Making

    /// Makes a directory in one that this mount has just made itself: nobody else has looked for the name there. It is
    /// acknowledged when it is journalled. Nil where that may not be.
    func makeEarly(
        parent number: UInt64, name: FileName, _ key: ObjectKey, _ made: Node.State
    ) throws(FileSystemError) -> FileStatus? {
        guard !configuration.isWriteThrough else { return nil }
        // Outside of the tree's lock: it may be written before this call has returned.
        let place = OneShot<Node>()
        let node: Node? = try tree.withLock { tree throws(FileSystemError) in
            guard let parent = tree[number], parent.directory != nil else { throw FileSystemError(.stale) }
            guard parent.directory!.isJustMade(nowNanoseconds) else { return nil }
            // By another call, meanwhile.
            guard parent.directory!.children[name] == nil else { return nil }
            let write = MarkerWrite(key: key, properties: made.properties ?? ObjectProperties(), replaced: nil)
            guard markers.accept(write, ended: { ending in place.observe { self.markerEnded($0, key, ending) } }) else {
                return nil
            }
            var state = made
            state.hasPendingMarker = true
            parent.directory!.noteMade(nowNanoseconds)
            return addMade(.directory, state, to: parent, name: name, &tree).node
        }
        guard let node else { return nil }
        place.set(node)
        return node.status
    }

    /// Writes the marker of a directory that is new, and waits for it.
    func putNewMarker(_ request: PutRequest) async throws(StoreError) -> ETag {
        try await markers.exclusively(request.key) { () async throws(StoreError) in try await markers.put(request) }
    }

    /// A marker that was accepted is in the store, or not wanted any more.
    func markerEnded(_ node: Node, _ key: ObjectKey, _ ending: MarkerEnding) {
        let now = nowNanoseconds
        let isStanding = node.state.withLock { state in
            state.hasPendingMarker = markers.isPending(key)
            guard !state.isUnlinked, !state.hasPendingMarker else { return false }
            // What was asked for before does not know of it.
            state.changedAt = now
            switch ending {
            case .written: state.noteMarkerWritten(at: time.now, now)
            // Its attributes are another client's: they are asked for.
            case .superseded, .gone: (state.validatedAt, state.markerKnownAt, state.properties) = (0, 0, nil)
            case .withdrawn: break
            }
            return true
        }
        tree.withLock { tree in
            guard let dentry = tree[node.number] else { return }
            if isStanding {
                switch ending {
                case .written: noteWritten(dentry)
                case .superseded, .gone, .withdrawn: dentry.directory!.hasMarker = nil
                }
                if let parent = dentry.parent, let name = dentry.name { parent.directory!.known[name] = nil }
            }
            // The kernel may have forgotten it meanwhile.
            tree.prune(dentry)
        }
        if ending == .superseded || ending == .gone { invalidateKernel(node) }
    }

    // MARK: Changing

    /// Writes the marker of a directory that exists only through the entry it is about to lose.
    func keepParent(_ number: UInt64, losing name: FileName) async throws(FileSystemError) {
        enum Need { case nothing, marker(ObjectKey, Node), unknown(ByteString) }
        let startedAt = nowNanoseconds
        func need() -> Need {
            tree.withLock { tree in
                guard let dentry = tree[number], number != Tree.rootNumber, dentry.directory!.hasMarker != true,
                    let prefix = dentry.prefix(root: configuration.prefix), let marker = ObjectKey(prefix)
                else { return .nothing }
                // With a TTL of nothing no listing is fresh; one that began within this call will do.
                guard let listing = dentry.directory!.listing,
                    isFresh(listing.startedAt) || listing.startedAt >= startedAt
                else { return .unknown(prefix) }
                return listing.entries.keys.contains { $0 != name } ? .nothing : .marker(marker, dentry.node)
            }
        }
        // A listing may be dropped again at once, where too many names are held.
        for _ in 0..<3 {
            guard case .unknown = need() else { break }
            try await fillListing(number)
        }
        guard case .marker(let key, let node) = need() else { return }
        try await changeMarker(key, of: node, isAwaited: true) { _, _ in }
    }

    /// Changes what a directory's marker says. Acknowledged when it is journalled, while the bucket is known to take markers.
    /// - Parameters:
    ///   - isAwaited: the marker is in the store when this returns.
    ///   - change: of the attributes and properties as they are now; may be asked more than once.
    func changeMarker(
        _ key: ObjectKey, of node: Node, isAwaited: Bool = false,
        _ change: (inout FileAttributes, inout ObjectProperties) throws(FileSystemError) -> Void
    ) async throws(FileSystemError) {
        func changed(_ state: Node.State) throws(FileSystemError) -> (FileAttributes, ObjectProperties) {
            var (attributes, properties) = (state.attributes, state.properties ?? ObjectProperties())
            try change(&attributes, &properties)
            AttributeCodec.encode(attributes, kind: .directory, into: &properties)
            properties.contentType = properties.contentType ?? Self.markerContentType
            return (attributes, properties)
        }
        // Together, so that another change of the same directory is not lost, nor comes to the store after this one.
        func note(_ now: (FileAttributes, ObjectProperties), _ state: inout Node.State) {
            (state.attributes, state.properties) = (now.0, now.1)
            state.changedAt = nowNanoseconds
            state.noteMarkerWritten(at: time.now, nowNanoseconds)
        }
        let mayBeEarly = !isAwaited && !configuration.isWriteThrough
        let isAccepted = try node.state.withLock { state throws(FileSystemError) in
            // Without a name it has no marker: what is changed is this mount's alone.
            if state.isUnlinked { return true }
            guard mayBeEarly, let before = state.properties else { return false }
            let now = try changed(state)
            let write = MarkerWrite(key: key, properties: now.1, replaced: before.metadata)
            guard markers.accept(write, ended: { self.markerEnded(node, key, $0) }) else { return false }
            state.hasPendingMarker = true
            note(now, &state)
            return true
        }
        if !isAccepted { try await writeMarker(key, of: node, changed, note) }
        tree.withLock { tree in
            guard let dentry = tree[node.number] else { return }
            dentry.directory?.hasMarker = true
            noteWritten(dentry)
            // What a HEAD told before is no longer so.
            if let parent = dentry.parent, let name = dentry.name { parent.directory?.known[name] = nil }
        }
    }

    /// The same, and waits for the store.
    private func writeMarker(
        _ key: ObjectKey, of node: Node,
        _ changed: (Node.State) throws(FileSystemError) -> (FileAttributes, ObjectProperties),
        _ note: ((FileAttributes, ObjectProperties), inout Node.State) -> Void
    ) async throws(FileSystemError) {
        var isDone = false
        while !isDone {
            do throws(StoreError) { try await markers.settle(key) } catch { throw FileSystemError(error) }
            isDone = try await markers.exclusively(key) { () async throws(FileSystemError) in
                if markers.isPending(key) { return false }
                if node.state.withLock({ $0.isUnlinked }) { return true }
                let now = try changed(node.state.withLock { $0 })
                do throws(StoreError) {
                    _ = try await markers.put(PutRequest(key: key, body: nil, properties: now.1))
                } catch {
                    throw FileSystemError(error)
                }
                node.state.withLock { note(now, &$0) }
                return true
            }
        }
    }

    // MARK: Asking

    /// Makes sure that what is changed in a marker's metadata was the store's within the TTL: a PUT replaces all of it, with
    /// what another mount changed too.
    func learnMarker(_ key: ObjectKey, of node: Node) async throws(FileSystemError) {
        if node.state.withLock({ $0.hasPendingMarker || isFresh($0.markerKnownAt) }) { return }
        try await askForMarker(key, of: node)
    }

    func askForMarker(_ key: ObjectKey, of node: Node) async throws(FileSystemError) {
        let startedAt = nowNanoseconds
        let info = try await head(key)
        // Of a key that a rename has taken away the answer says nothing.
        guard moving.end(of: key.bytes) == nil, markerKey(of: node) == key else { return }
        let isNews = node.state.withLock { state in
            guard !state.isChanged(since: startedAt) else { return false }
            if let info { state.take(directoryState(info, validatedAt: startedAt)) }
            state.markerKnownAt = startedAt
            state.validatedAt = max(state.validatedAt, startedAt)
            return true
        }
        if isNews { tree.withLock { $0[node.number]?.directory?.hasMarker = info != nil } }
    }

    // MARK: Removing

    /// Removes both forms of an empty directory's marker, also one that is still to be written.
    func removeMarkers(of node: Node, _ prefix: ByteString) async throws(FileSystemError) {
        guard let key = ObjectKey(prefix) else { return }
        let folder = folderMarker(of: node)
        try await markers.exclusively(key) { () async throws(FileSystemError) in
            do throws(StoreError) {
                let failures = try await store.delete([key, folder].compactMap { $0 })
                // Where there is a marker of the usual form the other one hardly ever is: nobody needs leave to remove that.
                let hasMarker = tree.withLock { $0[node.number]?.directory?.hasMarker } == true
                if let failure = failures.first(where: { !hasMarker || $0.key != folder }) { throw failure.error }
            } catch {
                throw FileSystemError(error)
            }
            // If the journal cannot say so the directory stays: it is written once more.
            do throws(StagingError) { try markers.withdraw(key) } catch { throw FileSystemError(error) }
            node.state.withLock { $0.isUnlinked = true }
        }
    }

    // MARK: What is pending

    /// Waits until the markers below a prefix are in the store.
    func settleMarkers(below prefix: ByteString) async throws(FileSystemError) {
        do throws(StoreError) { try await markers.settle(below: prefix) } catch { throw FileSystemError(error) }
    }

    /// Markers that are acknowledged and not written, as uploads of nothing.
    var pendingMarkers: [PendingUpload] {
        let count = configuration.prefix.count
        return markers.progress.map { key, progress in
            PendingUpload(
                path: "/" + key.bytes.dropFirst(count).string, byteCount: 0, dirtyByteCount: 0, progress: progress)
        }
    }
}
