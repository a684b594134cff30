// Removals that are acknowledged before the store has made them: see doc/design/names.md.

internal import Base
internal import Logging
internal import ObjectModel
internal import ObjectStore
internal import Staging

extension FileSystem {
    /// Removes the object of a vacated node; in a run of removals that follow each other, notes that it is to be removed.
    /// - Parameter startedAt: when the program asked; monotonic nanoseconds.
    func remove(_ key: ObjectKey, of node: Node, parent number: UInt64, startedAt: UInt64) async throws(FileSystemError)
    {
        let isNoted = note(removing: key, of: node, parent: number, startedAt: startedAt)
        if !isNoted { try await delete(key) }
        guard let removals else { return }
        let epoch = removals.epoch
        tree.withLock { tree in
            for dentry in Self.removalTree(of: tree[number]) {
                dentry.directory!.removals.succeeded(startedAt: startedAt, now: nowNanoseconds, epoch: epoch)
            }
        }
    }

    /// The directories whose run of removals one in this directory belongs to: itself, and those above it but for the mount's
    /// own. `rm -r` goes from one to the next, and would wait in each of them.
    private static func removalTree(of dentry: Dentry?) -> some Sequence<Dentry> {
        sequence(state: dentry) { next in
            guard let dentry = next, dentry.directory != nil else { return nil }
            next = dentry.parent?.node.number == Tree.rootNumber ? nil : dentry.parent
            return dentry
        }
    }

    private func note(removing key: ObjectKey, of node: Node, parent number: UInt64, startedAt: UInt64) -> Bool {
        guard let removals, !configuration.isWriteThrough else { return false }
        let epoch = removals.epoch
        guard
            tree.withLock({ tree in
                Self.removalTree(of: tree[number]).contains {
                    $0.directory!.removals.goesOn(now: startedAt, epoch: epoch)
                }
            })
        else { return false }
        // Only what is known exactly: the next mount must be able to tell it from what others put there.
        let removal: Removal? = node.state.withLock { state in
            guard case .clean(let version) = state.content, version.key == key else { return nil }
            return Removal(
                version, storeSeconds: state.storeTime?.seconds, acknowledgedSeconds: time.now.seconds)
        }
        return removal.map { removals.remove($0) } ?? false
    }

    /// Objects that could not be removed: their names are there again.
    func removalsWereRefused(_ keys: [ObjectKey]) {
        let paths = keys.filter { $0.bytes.hasPrefix(configuration.prefix) }.map {
            $0.bytes.dropFirst(configuration.prefix.count).string.pathComponents().dropLast().joined(separator: "/")
        }
        for path in Set(paths) { refresh(path: path) }
    }

    /// Goes on with what ended mounts had acknowledged as removed.
    func resumeRemovals() {
        guard let removals, !configuration.isReadOnly else { return }
        for left in area.leftRemovals {
            log.notice("removing \(left.requests.count) objects that were removed before the last mount ended")
            removals.adopt(left)
        }
        removals.resume()
    }

    /// Waits until what was removed below a prefix is gone from the store.
    func settleRemovals(below prefix: ByteString) async throws(FileSystemError) {
        guard let removals else { return }
        do throws(StoreError) {
            try await removals.settle(below: prefix)
            if let refusal = removals.takeRefusal(below: prefix) { throw refusal }
        } catch {
            throw FileSystemError(error)
        }
    }

    /// Removals that are acknowledged and not made, as uploads of nothing.
    var pendingRemovals: [PendingUpload] {
        guard let removals else { return [] }
        let progress = removals.progress
        let count = configuration.prefix.count
        return removals.pendingKeys.map {
            PendingUpload(
                path: "/" + $0.bytes.dropFirst(count).string, byteCount: 0, dirtyByteCount: 0, progress: progress)
        }
    }
}
