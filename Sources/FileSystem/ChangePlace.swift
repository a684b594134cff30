// What a change of names or attributes is about, and which renames of directories it must not meet.

internal import Base

/// Where a change takes place. By nodes, which stay the same when a rename moves them.
enum ChangePlace: Sendable {
    /// A name of a directory, which is made, replaced or taken away.
    case entry(parent: UInt64, name: FileName)
    /// A directory that is removed.
    case removal(parent: UInt64, name: FileName)
    /// The attributes or the content of a node.
    case node(UInt64)
}

/// What the rename of a directory concerns.
enum DirectoryMove: Sendable {
    case to(parent: UInt64, name: FileName, source: UInt64)
    /// One that an earlier mount began: of keys, whose nodes are not known.
    case everything
}

extension FileSystem {
    /// Whether any of the places is at or below either end of a move, or a directory that is removed above one.
    func areBlocked(_ places: [ChangePlace], by move: DirectoryMove) -> Bool {
        guard case .to(let toParent, let toName, let source) = move else { return true }
        return tree.withLock { tree in
            func path(_ number: UInt64) -> some Sequence<Dentry> {
                sequence(state: tree[number]) { next in
                    defer { next = next?.parent }
                    return next
                }
            }
            func isAtOrBelow(_ number: UInt64) -> Bool {
                path(number).contains { dentry in
                    dentry.node.number == source
                        || dentry.parent?.node.number == toParent && dentry.name == toName
                }
            }
            return places.contains { place in
                switch place {
                case .node(let number): return isAtOrBelow(number)
                case .entry(let parent, let name), .removal(let parent, let name):
                    if parent == toParent, name == toName { return true }
                    guard let child = tree[parent]?.directory?.children[name] else { return isAtOrBelow(parent) }
                    if child.node.number == source || isAtOrBelow(parent) { return true }
                    guard case .removal = place else { return false }
                    return [source, toParent].contains { path($0).contains { $0 === child } }
                }
            }
        }
    }

    /// Runs a change once no rename of a directory is in its way.
    func changing<Value: Sendable>(
        _ places: ChangePlace..., body: () async throws(FileSystemError) -> Value
    ) async throws(FileSystemError) -> Value {
        try await changes.shared({ self.areBlocked(places, by: $0) }, body)
    }

    /// Begins a change if no rename of a directory is in its way; to be ended by `changes.leave`.
    func tryChange(_ places: ChangePlace...) -> ChangeGate<DirectoryMove>.Ticket? {
        changes.tryEnter { self.areBlocked(places, by: $0) }
    }
}
