// System calls, as the kernel makes requests of them: a lookup of each component before, one forget for each lookup
// after, a second walk on ESTALE, and one change of a directory at a time (the tests make one call after the other).

import Base
import FileSystem
import ObjectModel

/// An open file: the handle, and the references that keep its node known to the kernel.
struct OpenFile {
    let number: UInt64
    let handle: FileHandle
    fileprivate let references: [UInt64]
}

/// A name that a walk ended at.
struct Place {
    let parent: UInt64
    let name: String
}

extension Mount {
    private static func components(_ path: String) -> [String] { path.pathComponents() }

    /// Walks to the directory of a path.
    func withParent<Value>(_ path: String, _ body: (Place) async throws -> Value) async throws -> Value {
        let names = Self.components(path)
        let above = names.dropLast().joined(separator: "/")
        return try await withNode(above) { try await body(Place(parent: $0.number, name: names.last!)) }
    }

    /// Walks to a path; on ESTALE once more, as the kernel does.
    func withNode<Value>(_ path: String, _ body: (FileStatus) async throws -> Value) async throws -> Value {
        do {
            return try await walk(path, body)
        } catch let error as FileSystemError where error.kind == .stale {
            return try await walk(path, body)
        }
    }

    private func walk<Value>(_ path: String, _ body: (FileStatus) async throws -> Value) async throws -> Value {
        let (status, references) = try await hold(path)
        defer { for number in references { fileSystem.forget(number, count: 1) } }
        return try await body(status)
    }

    /// Walks to a path and keeps the references to all nodes on the way.
    private func hold(_ path: String) async throws -> (status: FileStatus, references: [UInt64]) {
        var references: [UInt64] = []
        do {
            var status = try await fileSystem.status(1).get()
            for name in Self.components(path) {
                status = try await fileSystem.lookup(parent: status.number, name: name).get()
                references.append(status.number)
            }
            return (status, references)
        } catch {
            for number in references { fileSystem.forget(number, count: 1) }
            throw error
        }
    }

    // MARK: Looking

    func status(_ path: String) async throws -> FileStatus {
        try await withNode(path) { found in try await self.fileSystem.status(found.number).get() }
    }

    /// nil when the filesystem says ENOENT.
    func statusIfPresent(_ path: String) async throws -> FileStatus? {
        do {
            return try await status(path)
        } catch let error as FileSystemError where error.kind == .notFound {
            return nil
        }
    }

    /// The entries but `.` and `..`, asked for in pieces.
    func list(_ path: String) async throws -> [DirectoryEntry] {
        try await withNode(path) { found in
            let handle = try await self.fileSystem.openDirectory(found.number).get()
            var result: [DirectoryEntry] = []
            while true {
                let position = result.last?.nextPosition ?? 0
                let piece = try await self.fileSystem.entries(handle, from: position, countMax: 7).get()
                if piece.isEmpty { return Array(result.dropFirst(2)) }
                result += piece
            }
        }
    }

    func names(_ path: String) async throws -> [String] { try await list(path).map(\.name) }

    func readSymlink(_ path: String) async throws -> String {
        try await withNode(path) { try await self.fileSystem.readSymlink($0.number).get() }
    }

    // MARK: Files

    func open(_ path: String, write: Bool = false) async throws -> OpenFile {
        do {
            return try await openOnce(path, write: write)
        } catch let error as FileSystemError where error.kind == .stale {
            return try await openOnce(path, write: write)
        }
    }

    private func openOnce(_ path: String, write: Bool) async throws -> OpenFile {
        let (status, references) = try await hold(path)
        do {
            let handle = try await fileSystem.open(status.number, mayWrite: write).get()
            return OpenFile(number: status.number, handle: handle, references: references)
        } catch {
            for number in references { fileSystem.forget(number, count: 1) }
            throw error
        }
    }

    /// O_CREAT, with O_EXCL or without: the kernel looks the name up, and creates what is absent.
    func create(_ path: String, mode: UInt32 = 0o644) async throws -> OpenFile {
        try await withParent(path) { place in
            do {
                let found = try await self.fileSystem.lookup(parent: place.parent, name: place.name).get()
                self.fileSystem.forget(found.number, count: 1)
                throw FileSystemError(.alreadyExists)
            } catch let error as FileSystemError where error.kind == .notFound {}
            let (status, handle) = try await self.fileSystem.create(
                parent: place.parent, name: place.name, permissions: mode, uid: 1000, gid: 1000, mayWrite: true
            ).get()
            return OpenFile(number: status.number, handle: handle, references: [status.number])
        }
    }

    /// Writes all of it; a write that is short, because the disk is full, is gone on with.
    func write(_ file: OpenFile, _ bytes: [UInt8], at offset: Int) async throws {
        var done = 0
        while done < bytes.count {
            let answer = bytes[done...].withUnsafeBytes {
                fileSystem.write(file.handle, offset: offset + done, bytes: $0)
            }
            let count = try await answer.get()
            precondition(count > 0, "a write of nothing")
            done += count
        }
    }

    func read(_ file: OpenFile, at offset: Int, count: Int) async throws -> [UInt8] {
        try await fileSystem.read(file.handle, offset: offset, count: count)
    }

    func status(_ file: OpenFile) async throws -> FileStatus { try await fileSystem.status(file.number).get() }

    func truncate(_ file: OpenFile, to byteCount: Int) async throws {
        var changes = AttributeChanges()
        changes.byteCount = byteCount
        _ = try await fileSystem.setAttributes(file.number, handle: file.handle, changes).get()
    }

    func synchronise(_ file: OpenFile) async throws { try await fileSystem.synchronise(file.handle).get() }

    func flush(_ file: OpenFile) async throws { try await fileSystem.flush(file.handle).get() }

    /// Brings what is at and below a path to the store. The first time it may hear of a try that began before.
    func flush(path: String) async throws {
        do { try await fileSystem.flush(path: path) } catch { try await fileSystem.flush(path: path) }
    }

    /// close(2) of the only descriptor: the error is the flush's, the release follows in any case.
    func close(_ file: OpenFile) async throws {
        defer {
            fileSystem.release(file.handle)
            for number in file.references { fileSystem.forget(number, count: 1) }
        }
        try await flush(file)
    }

    /// The whole file, through a fresh open.
    func read(_ path: String) async throws -> [UInt8] {
        let file = try await open(path)
        do {
            let bytes = try await readAll(file)
            try await close(file)
            return bytes
        } catch {
            try? await close(file)
            throw error
        }
    }

    /// Reads to the end of file, in pieces that do not fit blocks.
    func readAll(_ file: OpenFile) async throws -> [UInt8] {
        var bytes: [UInt8] = []
        while true {
            let piece = try await read(file, at: bytes.count, count: 5000)
            if piece.isEmpty { return bytes }
            bytes += piece
        }
    }

    /// Writes a whole file as `cp` does: creates it, or cuts it and writes it anew.
    func write(_ path: String, _ bytes: [UInt8], mode: UInt32 = 0o644) async throws {
        let isThere = try await statusIfPresent(path) != nil
        let file = isThere ? try await open(path, write: true) : try await create(path, mode: mode)
        do {
            if isThere { try await truncate(file, to: 0) }
            if !bytes.isEmpty { try await write(file, bytes, at: 0) }
        } catch {
            try? await close(file)
            throw error
        }
        try await close(file)
    }

    func write(_ path: String, _ text: String) async throws { try await write(path, Array(text.utf8)) }

    func text(_ path: String) async throws -> String { String(decoding: try await read(path), as: UTF8.self) }

    func append(_ path: String, _ bytes: [UInt8]) async throws {
        let file = try await open(path, write: true)
        do {
            try await write(file, bytes, at: try await status(file).byteCount)
        } catch {
            try? await close(file)
            throw error
        }
        try await close(file)
    }

    // MARK: Names and attributes

    func change(_ path: String, _ body: (inout AttributeChanges) -> Void) async throws {
        var changes = AttributeChanges()
        body(&changes)
        _ = try await withNode(path) { [changes] in
            try await self.fileSystem.setAttributes($0.number, handle: nil, changes).get()
        }
    }

    func chmod(_ path: String, _ mode: UInt32) async throws { try await change(path) { $0.permissions = mode } }

    func setModified(_ path: String, _ time: Timestamp) async throws { try await change(path) { $0.modified = time } }

    func truncate(_ path: String, to byteCount: Int) async throws {
        try await change(path) { $0.byteCount = byteCount }
    }

    func makeDirectory(_ path: String, mode: UInt32 = 0o755) async throws {
        try await withParent(path) { place in
            try await self.refuseIfPresent(place)
            let made = try await self.fileSystem.makeDirectory(
                parent: place.parent, name: place.name, permissions: mode, uid: 1000, gid: 1000
            ).get()
            self.keep(made.number)
        }
    }

    /// The kernel goes on knowing the last directories that were made, and forgets one for each that comes.
    private func keep(_ number: UInt64) {
        kept.append(number)
        forgetKept(but: keptDirectoriesMax)
    }

    /// The kernel forgets all directories but so many that it kept.
    func forgetKept(but count: Int) {
        while kept.count > count { fileSystem.forget(kept.removeFirst(), count: 1) }
    }

    func symlink(_ path: String, to target: String) async throws {
        try await withParent(path) { place in
            try await self.refuseIfPresent(place)
            let made = try await self.fileSystem.makeSymlink(
                parent: place.parent, name: place.name, target: target, uid: 1000, gid: 1000
            ).get()
            self.fileSystem.forget(made.number, count: 1)
        }
    }

    func makeNode(_ path: String, _ kind: FileKind, mode: UInt32, device: UInt32 = 0) async throws {
        try await withParent(path) { place in
            try await self.refuseIfPresent(place)
            let made = try await self.fileSystem.makeNode(
                kind, parent: place.parent, name: place.name, permissions: mode, uid: 1000, gid: 1000, device: device
            ).get()
            self.fileSystem.forget(made.number, count: 1)
        }
    }

    private func refuseIfPresent(_ place: Place) async throws {
        do {
            let found = try await fileSystem.lookup(parent: place.parent, name: place.name).get()
            fileSystem.forget(found.number, count: 1)
            throw FileSystemError(.alreadyExists)
        } catch let error as FileSystemError where error.kind == .notFound {}
    }

    func unlink(_ path: String) async throws {
        try await withNode(path) { _ in
            try await self.withParent(path) { place in
                try await self.fileSystem.unlink(parent: place.parent, name: place.name).get()
            }
        }
    }

    func removeDirectory(_ path: String) async throws {
        try await withNode(path) { _ in
            try await self.withParent(path) { place in
                try await self.fileSystem.removeDirectory(parent: place.parent, name: place.name).get()
            }
        }
    }

    func rename(_ path: String, to newPath: String, mustBeNew: Bool = false) async throws {
        try await withNode(path) { _ in
            try await self.withParent(path) { from in
                try await self.withParent(newPath) { to in
                    let old = try? await self.fileSystem.lookup(parent: to.parent, name: to.name).get()
                    defer { if let old { self.fileSystem.forget(old.number, count: 1) } }
                    try await self.fileSystem.rename(
                        parent: from.parent, name: from.name, toParent: to.parent, toName: to.name,
                        mustBeNew: mustBeNew
                    ).get()
                }
            }
        }
    }
}
