// Files that an earlier process of the same mount had open: opened anew, if they are the same.

internal import Base
internal import Logging
internal import ObjectModel
internal import Staging

/// What tells an open file to a later process.
public struct OpenFileFacts: Sendable, Equatable {
    /// The node's number.
    public var number: UInt64
    public var mayWrite: Bool
    /// The names from the mount's root on, as the kernel has them; empty when it has none any more.
    public var names: [String]
    /// The ETag of the version in the store; nil where there is none yet.
    public var etag: String?

    public init(number: UInt64, mayWrite: Bool, names: [String], etag: String?) {
        self.number = number
        self.mayWrite = mayWrite
        self.names = names
        self.etag = etag
    }

    /// Names are equal by their bytes.
    public static func == (left: OpenFileFacts, right: OpenFileFacts) -> Bool {
        left.number == right.number && left.mayWrite == right.mayWrite && left.etag == right.etag
            && left.names.elementsEqual(right.names) { $0.hasSameBytes(as: $1) }
    }
}

extension FileSystem {
    /// The names of a node from the mount's root on, as the kernel has them; nil when it has none any more.
    public func names(of number: UInt64) -> [String]? {
        tree.withLock { tree in tree[number].flatMap(Self.names) }
    }

    /// A chain that does not end at the root belongs to something removed.
    private static func names(_ dentry: Dentry) -> [String]? {
        var names: [String] = []
        var next: Dentry? = dentry
        while let dentry = next, let name = dentry.name {
            names.append(name.shown)
            next = dentry.parent
        }
        return next?.node.number == Tree.rootNumber ? names.reversed() : nil
    }

    /// The directories that the kernel knows, the root not among them; those near the root first.
    public func kernelDirectories() -> [(number: UInt64, names: [String])] {
        tree.withLock { tree in
            tree.all.compactMap { dentry in
                guard dentry.directory != nil, dentry.lookupCount > 0, let names = Self.names(dentry), !names.isEmpty
                else { return nil }
                return (dentry.node.number, names)
            }
        }.sorted { $0.names.count < $1.names.count }
    }

    /// Finds a directory anew. Its node has a reference then; nil when it is not there, or cannot be had.
    public func lookUpDirectory(_ names: [String]) async -> UInt64? {
        var numbers = [Tree.rootNumber]
        var found: UInt64?
        do throws(FileSystemError) {
            var last: Node?
            for text in names {
                let name = try await name(text, in: numbers.last!, orElse: .notFound)
                let node = try await resolve(parent: numbers.last!, name: name, isReferenced: true)
                numbers.append(node.number)
                last = node
            }
            if let last, last.kind == .directory {
                found = last.number
                numbers.removeLast()
            }
        } catch {
            log.notice("a directory of the earlier process is lost: \(error)", metadata: ["names": "\(names)"])
        }
        for number in numbers.dropFirst().reversed() { forget(number, count: 1) }
        return found
    }

    /// What a later process needs to open the file again.
    public func facts(of handle: FileHandle) -> OpenFileFacts {
        let node = handle.node
        let names = names(of: node.number) ?? []
        let version: ObjectVersion? = node.state.withLock { state in
            switch state.content {
            case .none: nil
            case .clean(let version): version
            case .staged(let file): file.base
            }
        }
        return OpenFileFacts(
            number: node.number, mayWrite: handle.mayWrite, names: names, etag: version?.etag.value)
    }

    /// Opens a file again. Its node has a reference, which the caller gives back by `forget`.
    /// - Returns: nil when it cannot be had, or is another version by now.
    public func reopen(_ facts: OpenFileFacts) async -> FileHandle? {
        guard !facts.names.isEmpty else { return nil }
        var numbers: [UInt64] = []
        var opened: FileHandle?
        do throws(FileSystemError) {
            var number = Tree.rootNumber
            for text in facts.names {
                let name = try await name(text, in: number, orElse: .notFound)
                number = try await resolve(parent: number, name: name, isReferenced: true).number
                numbers.append(number)
            }
            let handle = try await open(number, mayWrite: facts.mayWrite, mustAsk: true).get()
            let isSame = handle.node.state.withLock { state in
                switch state.content {
                // What was pending then is pending now: its journal brought it back.
                case .staged: true
                case .clean(let version): version.etag.value == facts.etag
                case .none: false
                }
            }
            if isSame {
                handle.state.withLock { state in
                    state.hasReturnedBytes = true
                    // close() is to tell how its upload went.
                    state.hasWritten = facts.mayWrite
                }
                opened = handle
                numbers.removeLast()
            } else {
                release(handle)
            }
        } catch {
            log.notice("an open file of the earlier process is lost: \(error)", metadata: ["names": "\(facts.names)"])
        }
        for number in numbers.reversed() { forget(number, count: 1) }
        return opened
    }
}
