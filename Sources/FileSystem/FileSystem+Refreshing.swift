// Forgetting what is believed, so that changes of other clients show at once.

internal import Base
internal import ObjectModel

extension FileSystem {
    /// Forgets what is believed of names and attributes at and below `path` (relative to the mount): the next look asks
    /// the store. Pending data stays. The kernel is told afterwards, without a lock.
    /// - Returns: whether anything was known there.
    @discardableResult
    public func refresh(path text: String) -> Bool {
        let components = text.pathComponents()
        var changes: [KernelInvalidation] = []
        let isKnown = tree.withLock { tree in
            guard var dentry = tree[Tree.rootNumber] else { return false }
            for (index, component) in components.enumerated() {
                guard let name = FileName(component) ?? dentry.directory?.longName(shown: component) else {
                    // What it stands for only the directory's listing tells.
                    if LongName.isShortened(component) { break }
                    continue
                }
                if let child = dentry.directory?.children[name] {
                    dentry = child
                } else {
                    // A name without a node may be listed, or known to be absent. Below it nothing can be known.
                    return index == components.count - 1 && forgetEntry(name, in: dentry, &changes)
                }
            }
            if let parent = dentry.parent, let name = dentry.name { _ = forgetEntry(name, in: parent, &changes) }
            forgetTree(dentry, &changes)
            return true
        }
        invalidateKernel(changes)
        return isKnown
    }

    private func forgetTree(_ top: Dentry, _ changes: inout [KernelInvalidation]) {
        // Not recursively: trees may be deep.
        var rest = [top]
        while let dentry = rest.popLast() {
            if dentry.node.number != Tree.rootNumber, !dentry.node.isPending {
                dentry.node.state.withLock { $0.validatedAt = 0 }
            }
            changes.append(.node(dentry.node.number))
            guard dentry.directory != nil else { continue }
            dentry.directory!.forgetEntries()
            for name in dentry.directory!.toldAbsent {
                changes.append(.entry(parent: dentry.node.number, name: name.shown))
            }
            dentry.directory!.toldAbsent = []
            for (name, child) in dentry.directory!.children {
                changes.append(.entry(parent: dentry.node.number, name: name.shown))
                rest.append(child)
            }
        }
    }

    /// Forgets one name of a directory, and with it that the directory's listing is complete.
    private func forgetEntry(_ name: FileName, in parent: Dentry, _ changes: inout [KernelInvalidation]) -> Bool {
        let isKnown =
            parent.directory?.listing != nil || parent.directory?.absent[name] != nil
            || parent.directory?.toldAbsent.contains(name) ?? false
        parent.directory?.listing = nil
        parent.directory?.partial = nil
        parent.directory?.flight = nil
        parent.directory?.absent[name] = nil
        parent.directory?.known[name] = nil
        parent.directory?.ahead.forget(name)
        parent.directory?.toldAbsent.remove(name)
        changes.append(.entry(parent: parent.node.number, name: name.shown))
        return isKnown
    }

    func noteToldAbsent(_ parent: UInt64, _ name: FileName) {
        tree.withLock { tree in
            guard let dentry = tree[parent], dentry.directory != nil else { return }
            if dentry.directory!.toldAbsent.count >= DirectoryState.absentCountMax {
                dentry.directory!.toldAbsent.removeAll()
            }
            dentry.directory!.toldAbsent.insert(name)
        }
    }
}

/// Something that the kernel is to forget.
public enum KernelInvalidation: Sendable, Equatable {
    /// Pages and attributes of a node.
    case node(UInt64)
    /// What a name leads to, or that it is absent: the next use of it is a lookup.
    case entry(parent: UInt64, name: String)
    /// A name that is still right: the kernel is to give up its reference to the node, since there are too many.
    case takeBack(parent: UInt64, name: String)
    /// That a name leads to a file that is no more: who watches it hears of the removal.
    case removal(parent: UInt64, name: String, node: UInt64)
}
