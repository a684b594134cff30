// Opening, creating, writing, and bringing to the store.

internal import Base
internal import ObjectModel
internal import ObjectStore
internal import Staging

extension FileSystem {
    // MARK: Opening

    /// Opens a file.
    /// - Parameter mayWrite: whether the handle may change the file.
    /// - Parameter mustAsk: whether the store is asked in any case, as O_DIRECT wants it: not only when what is known is
    ///   older than the TTL.
    public func open(_ number: UInt64, mayWrite: Bool, mustAsk asksAlways: Bool = false) -> Answer<FileHandle> {
        guard let node = node(number) else { return .fail(.stale) }
        guard node.kind == .file else { return .fail(node.kind == .directory ? .isDirectory : .invalidArgument) }
        if mayWrite, configuration.isReadOnly { return .fail(.readOnly) }
        let mustAsk = node.state.withLock { state in
            guard case .clean = state.content, !state.isUnlinked else { return false }
            return asksAlways || !isFresh(state.validatedAt) || (mayWrite && state.properties == nil)
        }
        if !mustAsk {
            if node.state.withLock({ $0.isSuperseded && !$0.isUnlinked }) { return .fail(.stale) }
            let handle = newHandle(node, mayWrite: mayWrite)
            noteOpened(node, reads: !mayWrite)
            return .ready(handle)
        }
        return .later { () async throws(FileSystemError) in
            if asksAlways || mayWrite {
                try await self.revalidate(node, bringsBytes: !mayWrite)
                if mayWrite { try await self.learnProperties(node) }
            } else {
                try await self.validate(node, bringsBytes: true)
            }
            let handle = self.newHandle(node, mayWrite: mayWrite)
            self.noteOpened(node, reads: !mayWrite)
            return handle
        }
    }

    private func newHandle(_ node: Node, mayWrite: Bool, isNew: Bool = false) -> FileHandle {
        node.state.withLock { state in
            state.openCount += 1
            if mayWrite { state.writerCount += 1 }
        }
        return FileHandle(node: node, mayWrite: mayWrite, isNew: isNew)
    }

    /// Creates a file and opens it. The object comes into being when the file is uploaded, on the condition that no
    /// other client has made it meanwhile.
    public func create(
        parent number: UInt64, name text: String, permissions: UInt32, uid: UInt32, gid: UInt32, mayWrite: Bool
    ) -> Answer<(FileStatus, FileHandle)> {
        let name: FileName
        do throws(FileSystemError) {
            // What the kernel has just looked up in vain stands for no longer name. A file of that name came since, maybe.
            guard let known = try knownName(text, in: number) else { return .fail(.invalidArgument) }
            name = known
            try Self.refuseIfNotCreatable(name)
        } catch {
            return .failed(error)
        }
        guard !configuration.isReadOnly else { return .fail(.readOnly) }
        // The kernel asks to create only what it has just looked up in vain; that answer is still here.
        if case .absent = find(parent: number, name: name, isReferenced: false),
            let ticket = tryChange(.entry(parent: number, name: name))
        {
            defer { changes.leave(ticket) }
            do throws(FileSystemError) {
                return .ready(
                    try createNow(
                        parent: number, name: name, permissions: permissions, uid: uid, gid: gid, mayWrite: mayWrite))
            } catch {
                return .failed(error)
            }
        }
        return .later { () async throws(FileSystemError) in
            try await self.changing(.entry(parent: number, name: name)) { () async throws(FileSystemError) in
                if try await self.exists(parent: number, name: name) { throw FileSystemError(.alreadyExists) }
                return try self.createNow(
                    parent: number, name: name, permissions: permissions, uid: uid, gid: gid, mayWrite: mayWrite)
            }
        }
    }

    private func createNow(
        parent number: UInt64, name: FileName, permissions: UInt32, uid: UInt32, gid: UInt32, mayWrite: Bool
    ) throws(FileSystemError) -> (FileStatus, FileHandle) {
        let key = try tree.withLock { tree throws(FileSystemError) in
            guard let parent = tree[number], parent.directory != nil else { throw FileSystemError(.stale) }
            return try self.key(parent: parent, name: name)
        }
        var attributes = FileAttributes(permissions: permissions & 0o7777, uid: uid, gid: gid, time: time.now)
        inheritGroup(of: number, .file, &attributes)
        var properties = ObjectProperties(contentType: ContentType.of(name))
        AttributeCodec.encode(attributes, kind: .file, into: &properties)
        let file: StagedFile
        do throws(StagingError) {
            file = try area.create(
                StagedIdentity(
                    key: key, base: nil, baseByteCount: 0, byteCount: 0, condition: .ifAbsent, properties: properties),
                isChanged: true)
        } catch {
            throw FileSystemError(error)
        }
        let (created, initial) = (properties, attributes)
        let node: Node? = tree.withLock { tree in
            guard let parent = tree[number], parent.directory!.children[name] == nil else { return nil }
            if let until = parent.directory!.absent[name], until > configuration.ttlNanoseconds {
                file.noteAbsence(askedAt: until - configuration.ttlNanoseconds)
            }
            var state = Node.State(
                content: .staged(file), attributes: initial, properties: created, validatedAt: nowNanoseconds)
            state.changedAt = nowNanoseconds
            state.hasServedBytes = true
            let dentry = tree.add(.file, state, inode: InodeNumber.new(), parent: parent, name: name)
            dentry.lookupCount += 1
            parent.noteCreated(name, entry(for: file))
            touch(parent)
            owners.withLock { $0[ObjectIdentifier(file)] = dentry.node }
            return dentry.node
        }
        guard let node else {
            file.abandon()
            throw FileSystemError(.alreadyExists)
        }
        let handle = newHandle(node, mayWrite: mayWrite, isNew: true)
        listForNewFiles(number)
        return (node.status, handle)
    }

    func entry(for file: StagedFile) -> Listing.Entry? {
        // The base may be another file's object.
        (file.base.flatMap { $0.key == file.key ? $0 : nil }
            ?? ETag("pending").map { ObjectVersion(key: file.key, etag: $0, byteCount: file.byteCount) })
            .map { .file(ListedObject(version: $0, lastModified: time.now)) }
    }

    // MARK: Staging

    /// Keeps a node's staged file in being while `body` changes it.
    func withWritePin<Value>(
        _ node: Node, _ body: () throws(FileSystemError) -> Value
    ) throws(FileSystemError) -> Value {
        node.state.withLock { $0.writerCount += 1 }
        defer {
            node.state.withLock { $0.writerCount -= 1 }
            becomeCleanIfPublished(node)
        }
        return try body()
    }

    /// The staged file of a node, begun now if there is none. The caller holds a write pin or a writable handle.
    func stage(_ node: Node) throws(FileSystemError) -> StagedFile {
        let (content, properties, isUnlinked) = node.state.withLock { ($0.content, $0.properties, $0.isUnlinked) }
        guard case .clean(let version) = content else {
            guard case .staged(let file) = content else { throw FileSystemError(.isDirectory) }
            return file
        }
        let file: StagedFile
        do throws(StagingError) {
            file = try area.create(
                StagedIdentity(
                    key: version.key, base: version, baseByteCount: version.byteCount, byteCount: version.byteCount,
                    condition: .ifMatch(version.etag), properties: properties ?? ObjectProperties()),
                isChanged: false)
        } catch {
            throw FileSystemError(error)
        }
        // Before anybody finds it: the owner of a file that is uploaded at once is asked for.
        if !isUnlinked { owners.withLock { $0[ObjectIdentifier(file)] = node } }
        // Two writers may have got here at once: the first one's file counts.
        let winner: StagedFile = node.state.withLock { state in
            if case .staged(let other) = state.content { return other }
            if state.isKeyChanging { file.beginHeld() }
            state.content = .staged(file)
            return file
        }
        if winner !== file || isUnlinked {
            _ = owners.withLock { $0.removeValue(forKey: ObjectIdentifier(file)) }
            file.abandon()
        }
        return winner
    }

    /// A node whose data has all arrived, and that nobody may write, is the store's again.
    func becomeCleanIfPublished(_ node: Node) {
        let finished: StagedFile? = node.state.withLock { state in
            guard case .staged(let file) = state.content, state.writerCount == 0, !state.isUnlinked,
                let version = file.publishedIfComplete
            else { return nil }
            state.content = .clean(version)
            state.validatedAt = nowNanoseconds
            state.changedAt = nowNanoseconds
            return file
        }
        guard let finished else { return }
        _ = owners.withLock { $0.removeValue(forKey: ObjectIdentifier(finished)) }
        area.forget(finished)
        tree.withLock { tree in
            guard let dentry = tree[node.number] else { return }
            noteVersion(of: dentry)
            tree.prune(dentry)
        }
    }

    // MARK: Writing

    /// The largest object, in bytes (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html>): a longer file could
    /// not be brought to the store.
    static let fileBytesMax = 5 << 40

    /// Writes at `offset`. The bytes are with the local disk, and in its journal, when this answers.
    /// - Parameter endsPrivileges: whether the file loses its set-user-ID bit by it; see `AttributeChanges`.
    public func write(
        _ handle: FileHandle, offset: Int, bytes: UnsafeRawBufferPointer, endsPrivileges: Bool = false
    ) -> Answer<Int> {
        precondition(handle.mayWrite, "the kernel writes through writable handles only")
        guard bytes.count <= Self.fileBytesMax, offset <= Self.fileBytesMax - bytes.count else {
            return .fail(.fileTooLarge)
        }
        let node = handle.node
        // Beginning to stage names a key, so it waits for a rename of a directory to end; going on does not.
        let isStaged = node.stagedFile != nil
        let mustWait = area.isFull(adding: bytes.count) || node.stagedFile?.isContended == true
        let ticket = mustWait || isStaged ? nil : tryChange(.node(node.number))
        defer { if let ticket { changes.leave(ticket) } }
        if !mustWait, isStaged || ticket != nil {
            do throws(FileSystemError) {
                if let count = try writeNow(handle, offset: offset, bytes: bytes, endsPrivileges: endsPrivileges) {
                    return .ready(count)
                }
            } catch {
                // What is on its way makes room, perhaps.
                guard error.isOfFullDisk else { return .failed(error) }
            }
        }
        let copy = [UInt8](bytes)
        return .later { () async throws(FileSystemError) in
            do throws(FileSystemError) {
                return try await self.writeLater(handle, offset: offset, copy, endsPrivileges: endsPrivileges)
            } catch {
                // The program is told, and what it has written so far is no file that it made, unless it goes on from there.
                node.stagedFile?.noteFailedWrite(at: offset)
                throw error
            }
        }
    }

    /// Writes once there is room, and once the bytes are here that must be.
    private func writeLater(
        _ handle: FileHandle, offset: Int, _ bytes: [UInt8], endsPrivileges: Bool
    ) async throws(FileSystemError) -> Int {
        try await makeRoom(for: bytes.count)
        await handle.node.stagedFile?.waitWhileContended()
        var patience = DiskPatience(time)
        while true {
            do throws(FileSystemError) {
                let place = ChangePlace.node(handle.node.number)
                let written = try await changing(place) { () async throws(FileSystemError) -> Int? in
                    // `withUnsafeBytes` does not carry typed throws.
                    let result = bytes.withUnsafeBytes { bytes in
                        Result { () throws(FileSystemError) in
                            try self.writeNow(handle, offset: offset, bytes: bytes, endsPrivileges: endsPrivileges)
                        }
                    }
                    return try result.get()
                }
                if let written { return written }
            } catch {
                guard error.isOfFullDisk, patience.isLeft(time), await queue.waitForWhatIsSent() else { throw error }
                continue
            }
            try await bringBack(handle.node)
        }
    }

    /// How long a write waits for room on a full disk.
    private struct DiskPatience {
        private static let nanoseconds: UInt64 = 60_000_000_000
        /// Tries that found none, each after something was sent: where others take all that becomes free, it ends some time.
        private var triesLeft = 1000
        private let end: UInt64

        init(_ time: any TimeSource) { end = time.monotonicNanoseconds &+ Self.nanoseconds }

        mutating func isLeft(_ time: any TimeSource) -> Bool {
            triesLeft -= 1
            return triesLeft > 0 && time.monotonicNanoseconds < end
        }
    }

    /// Nil when the bytes that are to be overwritten must come back from the store first (`bringBack`).
    private func writeNow(
        _ handle: FileHandle, offset: Int, bytes: UnsafeRawBufferPointer, endsPrivileges: Bool
    ) throws(FileSystemError) -> Int? {
        let node = handle.node
        let file = try stage(node)
        let count: Int
        do throws(StagingError) {
            count = try writeOrMakeDiskSpace(file, offset: offset, bytes: bytes)
        } catch {
            if error == .inTransit { return nil }
            throw FileSystemError(error)
        }
        handle.state.withLock { $0.hasWritten = true }
        let now = time.now
        node.state.withLock { state in
            state.attributes.modified = now
            state.attributes.changed = now
            if endsPrivileges { state.attributes.endPrivileges() }
            state.changedAt = nowNanoseconds
            state.hasServedBytes = true
        }
        queue.noteWritten(file)
        return count
    }

    /// A full disk has bytes to give up that are in the store as well.
    private func writeOrMakeDiskSpace(
        _ file: StagedFile, offset: Int, bytes: UnsafeRawBufferPointer
    ) throws(StagingError) -> Int {
        do throws(StagingError) {
            return try file.write(bytes, at: offset)
        } catch {
            guard error.isDiskFull, queue.freeDisk() > 0 else { throw error }
            return try file.write(bytes, at: offset)
        }
    }

    /// Bytes of the file are in parts of an upload only: it is completed, and what follows is a change of the object.
    func bringBack(_ node: Node) async throws(FileSystemError) {
        guard let file = node.stagedFile, file.hasBytesInTransit else { return }
        // Its upload was given up with its name.
        if node.state.withLock({ $0.isUnlinked }) { throw Self.notKept(file.key) }
        try storeAttributes(of: node, in: file)
        try await bring(file)
    }

    /// Waits until uploads have freed room under the staging limit.
    private func makeRoom(for byteCount: Int) async throws(FileSystemError) {
        do throws(StagingError) {
            while area.isFull(adding: byteCount) {
                queue.freeSentParts()
                guard area.isFull(adding: byteCount) else { return }
                guard let limit = area.limit, byteCount <= limit else {
                    throw StagingError.full(limitBytes: area.limit ?? 0)
                }
                try await queue.waitForRoom()
            }
        } catch {
            throw FileSystemError(error)
        }
    }

    // MARK: Bringing to the store

    /// close(2) of one descriptor of a handle. Answers at once while uploads are known to work; else, and always with
    /// write-through, when the object is in the store, or with the error.
    public func flush(_ handle: FileHandle) -> Answer<Void> {
        // The source of a copy may be changed by others before the copy is made: the program is told.
        let isCopy = handle.node.stagedFile?.standsOn != nil
        let mayAnswerEarly = queue.isProven && !configuration.isWriteThrough && !isCopy
        let hasNews = handle.state.withLock { state in
            // A shell that redirects into a new file closes a duplicate before anything is written. The file is not sent
            // for that; `release` sends it, if it stays empty.
            let hasNews = state.hasWritten || (state.isNew && !mayAnswerEarly)
            if hasNews {
                state.hasWritten = false
                state.isNew = false
            }
            return hasNews
        }
        guard let file = handle.node.stagedFile, file.isLost || !handle.node.state.withLock({ $0.isUnlinked }) else {
            return .ready(())
        }
        // What is staged is no file that a program made: each who has it open for writing is told, each time.
        if handle.mayWrite, file.isIncomplete { return .failed(FileSystemError(StagingError.incomplete)) }
        guard hasNews else { return .ready(()) }
        do throws(FileSystemError) { try storeAttributes(of: handle.node, in: file) } catch { return .failed(error) }
        if mayAnswerEarly {
            queue.submit(file, mayWait: true)
            return .ready(())
        }
        return .later { () async throws(FileSystemError) in try await self.bring(file) }
    }

    /// fsync(2): answers when everything the file holds is in the store, or with the error.
    public func synchronise(_ handle: FileHandle) -> Answer<Void> {
        guard let file = handle.node.stagedFile, file.isLost || !handle.node.state.withLock({ $0.isUnlinked }) else {
            return .ready(())
        }
        handle.state.withLock { state in
            state.hasWritten = false
            state.isNew = false
        }
        do throws(FileSystemError) { try storeAttributes(of: handle.node, in: file) } catch { return .failed(error) }
        return .later { () async throws(FileSystemError) in try await self.bring(file) }
    }

    func bring(_ file: StagedFile) async throws(FileSystemError) {
        do throws(StagingError) { try await queue.flush(file) } catch { throw FileSystemError(error) }
    }

    /// The last descriptor of a handle is closed.
    public func release(_ handle: FileHandle) {
        let node = handle.node
        let (file, isLastWriter, isUnlinked) = node.state.withLock { state in
            state.openCount -= 1
            if handle.mayWrite { state.writerCount -= 1 }
            let file: StagedFile? = if case .staged(let file) = state.content { file } else { nil }
            return (file, handle.mayWrite && state.writerCount == 0, state.isUnlinked)
        }
        if let file, isLastWriter, !isUnlinked {
            // Pages written through a mapping may have arrived after the flush.
            if handle.state.withLock({ $0.hasWritten || $0.isNew }) { try? storeAttributes(of: node, in: file) }
            queue.submit(file, mayWait: true)
        }
        becomeCleanIfPublished(node)
        tree.withLock { tree in
            guard let dentry = tree[node.number] else { return }
            tree.prune(dentry)
        }
    }

    // MARK: What the uploader tells

    /// What is sent must be known again when its answer is lost, and only attributes tell it from what others write
    /// (`PublicationMark`). A file has them once it is closed; this one was not, and the object it was made from has none.
    func uploadWillBegin(_ file: StagedFile) {
        var properties = file.properties
        guard file.dirtyByteCount > 0 || file.byteCount != file.base?.byteCount,
            !AttributeCodec.isPosix(properties.metadata)
        else { return }
        // Without room to journal them it goes without.
        if let node = owners.withLock({ $0[ObjectIdentifier(file)] }) {
            do throws(FileSystemError) { try storeAttributes(of: node, in: file) } catch {}
        } else {
            let attributes = codec.attributes(of: properties.metadata, kind: .file, lastModified: time.now)
            AttributeCodec.encode(attributes, kind: .file, into: &properties)
            do throws(StagingError) { try file.setProperties(properties) } catch {}
        }
    }

    func uploadWasPublished(_ file: StagedFile, _ version: ObjectVersion) {
        guard let node = owners.withLock({ $0[ObjectIdentifier(file)] }) else {
            // Recovered data outside of this mount's prefix.
            if !file.needsUpload { area.forget(file) }
            return
        }
        node.state.withLock {
            $0.validatedAt = nowNanoseconds
            $0.changedAt = nowNanoseconds
            $0.storeTime = nil
        }
        tree.withLock { tree in
            if let dentry = tree[node.number] { noteVersion(of: dentry) }
        }
        becomeCleanIfPublished(node)
        tellOpenFilesChanged()
    }

    /// Puts the version that a node stands on now into its directory's listing. Not the one that an upload has just told
    /// of: this may come late, after another upload.
    private func noteVersion(of dentry: Dentry) {
        guard let parent = dentry.parent, let name = dentry.name, let entry = listingEntry(of: dentry.node) else {
            return
        }
        parent.notePublished(name, entry)
        noteWritten(dentry)
    }

    /// The name belongs to the other client's version now; ours has another name, and whoever has it open keeps it.
    func uploadConflicted(_ file: StagedFile, lost: ObjectKey, savedAs: ObjectKey) {
        guard let node = owners.withLock({ $0[ObjectIdentifier(file)] }) else { return }
        if file.isLost {
            // Its data is another file's now; it lives for its open handles only.
            node.state.withLock { $0.isUnlinked = true }
            _ = owners.withLock { $0.removeValue(forKey: ObjectIdentifier(file)) }
        }
        dropName(of: node)
        tree.withLock { tree in
            if let dentry = tree[node.number] { tree.prune(dentry) }
        }
    }
}
