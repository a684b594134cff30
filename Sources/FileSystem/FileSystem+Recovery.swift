// What earlier mounts left behind, and what is still to be sent.

internal import Base
internal import Logging
internal import ObjectModel
public import Staging

/// What the uploader has in hand for one file.
public struct PendingUpload: Sendable, Equatable {
    public let path: String
    public let byteCount: Int
    public let dirtyByteCount: Int
    public let progress: UploadProgress
}

extension FileSystem {
    /// Adopts the staged files of ended mounts: their names show the pending content at once, and they are uploaded in
    /// the background. Returns what belongs to other buckets, and the paths of what is damaged; both stay where they are.
    /// - Parameter sends: false: `sendRecovered` will follow, once files that are open have their handles again.
    public func recover(sends: Bool = true) -> (foreign: [StagingLeftover], damaged: [String]) {
        let (adopted, foreign, damaged) = area.adoptLeftovers()
        for path in damaged {
            log.error(
                "staged data of an earlier mount is damaged and was left where it is", metadata: ["journal": "\(path)"])
        }
        resumeRemovals()
        let standing = Set(adopted.compactMap { $0.base?.key })
        for plan in area.leftPlans { resume(plan, standing: standing) }
        for file in adopted {
            if let node = graft(file) { owners.withLock { $0[ObjectIdentifier(file)] = node } }
            if sends { queue.submit(file) }
        }
        resumeMarkers()
        if !adopted.isEmpty { log.notice("recovering \(adopted.count) files that an earlier mount had not uploaded") }
        return (foreign, damaged)
    }

    /// Asks the store of each recovered file that a call was removing or replacing when the earlier mount ended whether
    /// that was done, so that nobody sees it come back for a moment. What is not known yet when the task is cancelled is shown.
    public func settleDepartures() async {
        await withTaskGroup(of: Void.self) { group in
            for file in area.files where file.departure != nil {
                group.addTask { await self.queue.settleDeparture(file) }
            }
        }
    }

    /// Brings to the store what `recover` found.
    public func sendRecovered() {
        for file in area.files where file.needsUpload { queue.submit(file) }
    }

    /// Puts a recovered file at its place in the tree; nil when its key is not below this mount's prefix.
    private func graft(_ file: StagedFile) -> Node? {
        guard var segments = segments(of: file.key), let last = segments.popLast(),
            let name = NameCodec.name(forSegment: last)
        else { return nil }
        let metadata = file.properties.metadata
        let kind = AttributeCodec.kind(of: metadata)
        return tree.withLock { tree in
            guard let parent = graft(segments, &tree), parent.directory!.children[name] == nil else { return nil }
            var state = Node.State(
                content: .staged(file), attributes: codec.attributes(of: metadata, kind: kind, lastModified: time.now),
                properties: file.properties, validatedAt: nowNanoseconds)
            if kind == .symlink { state.symlinkTarget = AttributeCodec.symlinkTarget(of: metadata) ?? "" }
            return tree.add(kind, state, inode: InodeNumber.new(), parent: parent, name: name).node
        }
    }

    /// What stands between the slashes of a key, from the mount's root on; nil when the key is not below its prefix.
    private func segments(of key: ObjectKey) -> [ByteString]? {
        guard key.bytes.hasPrefix(configuration.prefix) else { return nil }
        let path = key.bytes.dropFirst(configuration.prefix.count)
        return path.string.pathComponents(omittingEmpty: false).map { ByteString($0) }
    }

    /// Puts directories into the tree, from the root on; nil where a file is in their place.
    private func graft(_ segments: [ByteString], _ tree: inout Tree) -> Dentry? {
        guard var parent = tree[Tree.rootNumber] else { return nil }
        for segment in segments {
            guard let step = NameCodec.name(forSegment: segment) else { return nil }
            if let child = parent.directory!.children[step] {
                guard child.directory != nil else { return nil }
                parent = child
            } else {
                let inode = InodeNumber.of(
                    directory: (parent.prefix(root: configuration.prefix) ?? "") + segment + "/")
                parent = tree.add(
                    .directory, directoryState(nil, validatedAt: 0), inode: inode, parent: parent, name: step)
            }
        }
        return parent
    }

    /// Goes on with the markers of directories that ended mounts had acknowledged: the directories are there at once.
    private func resumeMarkers() {
        guard !configuration.isReadOnly else { return }
        for left in area.leftMarkers {
            var nodes: [ObjectKey: Node] = [:]
            for write in left.requests { nodes[write.key] = graft(write) }
            log.notice("writing the markers of \(nodes.count) directories that an earlier mount had not written")
            markers.adopt(left) { [nodes] key in
                { [weak self] ending in
                    if let node = nodes[key] { self?.markerEnded(node, key, ending) }
                }
            }
        }
    }

    /// Puts a directory into the tree whose marker is still to be written.
    private func graft(_ write: MarkerWrite) -> Node? {
        guard let segments = segments(of: write.key) else { return nil }
        return tree.withLock { tree in
            guard let dentry = graft(segments.dropLast(), &tree) else { return nil }
            let metadata = write.properties.metadata
            var state = Node.State(
                content: .none, attributes: codec.attributes(of: metadata, kind: .directory, lastModified: time.now),
                properties: write.properties, validatedAt: nowNanoseconds)
            state.changedAt = nowNanoseconds
            state.hasPendingMarker = true
            let pending = state
            dentry.node.state.withLock { $0 = pending }
            dentry.directory!.hasMarker = true
            return dentry.node
        }
    }

    /// Tries to upload a file that failed, since the mount began.
    public var uploadFailureCount: Int { queue.failureCount }

    /// Every file with data that is not in the store, or that is removed and still there.
    public var pendingUploads: [PendingUpload] { pendingUploads(below: "") }

    /// The same of a file, or of all below a directory, by its path relative to the mount.
    public func pendingUploads(below directory: String) -> [PendingUpload] {
        area.files.compactMap { file -> PendingUpload? in
            guard file.needsUpload else { return nil }
            let node = owners.withLock { $0[ObjectIdentifier(file)] }
            let place = node.map { path($0.number) } ?? file.key.string
            guard directory.isEmpty || Self.isPath(place, atOrBelow: directory) else { return nil }
            return PendingUpload(
                path: place, byteCount: file.byteCount,
                dirtyByteCount: file.dirtyByteCount, progress: file.progress)
        }
            + (pendingRemovals + pendingMarkers).filter {
                directory.isEmpty || Self.isPath($0.path, atOrBelow: directory)
            }
    }

    /// Brings everything to the store that can be brought: returns when nothing is pending, or when every file that is
    /// has failed once more, in a try that began after this call. A cancelled drain begins no further try.
    public func drain(progress: @escaping @Sendable ([PendingUpload]) -> Void) async -> [PendingUpload] {
        for file in area.files {
            guard let node = owners.withLock({ $0[ObjectIdentifier(file)] }) else { continue }
            try? storeAttributes(ofWritten: node, in: file)
        }
        let reporter = Task {
            while !Task.isCancelled {
                progress(pendingUploads)
                try? await time.sleep(nanoseconds: 200_000_000)
            }
        }
        // Saving a conflict leaves another file to be brought.
        var tried: [ObjectIdentifier: StagedFile] = [:]
        while true {
            let next = area.files.filter { $0.needsUpload && tried[ObjectIdentifier($0)] == nil }
            if next.isEmpty || Task.isCancelled { break }
            for file in next { tried[ObjectIdentifier(file)] = file }
            await withTaskGroup(of: Void.self) { group in
                for file in next { group.addTask { await self.bringIfPossible(file) } }
            }
        }
        await markers.drain()
        await removals?.drain()
        reporter.cancel()
        let left = pendingUploads
        progress(left)
        return left
    }

    /// The times of what is written to an open file come with the next close(); they are wanted now.
    private func storeAttributes(ofWritten node: Node, in file: StagedFile) throws(FileSystemError) {
        if node.state.withLock({ $0.writerCount > 0 }) { try storeAttributes(of: node, in: file) }
    }

    /// How often a file is brought that is changed meanwhile.
    private static let drainRoundsMax = 8

    private func bringIfPossible(_ file: StagedFile) async {
        var failuresMax = file.isBeingSent ? 2 : 1
        for _ in 0..<Self.drainRoundsMax where failuresMax > 0 && !Task.isCancelled {
            do throws(StagingError) {
                try await queue.flush(file)
                // The times of a file that was sent while it was written come after it.
                if !file.needsUpload { return }
            } catch {
                failuresMax -= 1
            }
        }
    }

    /// Waits until the file or everything below the directory at `path` (relative to the mount) is in the store.
    /// One that fails does not keep the others from being tried; its error is thrown in the end.
    public func flush(path text: String) async throws(FileSystemError) {
        var failure: FileSystemError?
        await withTaskGroup(of: FileSystemError?.self) { group in
            for file in area.files {
                guard let node = owners.withLock({ $0[ObjectIdentifier(file)] }),
                    Self.isPath(path(node.number), atOrBelow: text)
                else { continue }
                group.addTask {
                    do throws(FileSystemError) {
                        try self.storeAttributes(ofWritten: node, in: file)
                        try await self.bring(file)
                        return nil
                    } catch {
                        return error
                    }
                }
            }
            for await error in group where failure == nil { failure = error }
        }
        let prefix = keyPrefix(ofPath: text)
        do throws(FileSystemError) {
            try await settleMarkers(below: prefix)
        } catch {
            failure = failure ?? error
        }
        do throws(FileSystemError) {
            try await settleRemovals(below: prefix)
        } catch {
            failure = failure ?? error
        }
        if let failure { throw failure }
    }

    /// What the keys below a directory begin with, that is known by its path, and may be gone.
    private func keyPrefix(ofPath text: String) -> ByteString {
        tree.withLock { tree in
            var dentry = tree[Tree.rootNumber]
            var prefix = configuration.prefix
            for component in text.pathComponents() {
                let name = FileName(component) ?? dentry?.directory?.longName(shown: component)
                prefix = prefix + (name.map { NameCodec.segment(for: $0) } ?? ByteString(component)) + "/"
                dentry = name.flatMap { dentry?.directory?.children[$0] }
            }
            return prefix
        }
    }

    /// Whether one path is, or is below, another; slashes in front of either do not count.
    static func isPath(_ path: String, atOrBelow text: String) -> Bool {
        let directory = text.pathComponents().map { ByteString($0) }
        return path.pathComponents().map { ByteString($0) }.starts(with: directory)
    }

    /// fsync(2) of a directory: everything below it.
    public func synchroniseDirectory(_ number: UInt64) -> Answer<Void> {
        guard
            area.files.contains(where: { $0.needsUpload }) || !markers.isEmpty || removals?.pendingKeys.isEmpty == false
        else { return .ready(()) }
        return .later { () async throws(FileSystemError) in
            try await self.flush(path: self.path(number))
        }
    }

    /// Ends the mount's use of the state directory. What is still pending stays for the next mount.
    public func shutDown() async {
        for file in area.files { await queue.settle(file) }
        await markers.stop()
        await removals?.stop()
        area.closeSession()
    }
}
