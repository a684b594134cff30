// Runs random calls on a mount and on the model, and compares the two after each.

import Base
@testable import FileSystem
import MemoryStore
import ObjectModel
import Staging

/// One sequence of calls, from an empty bucket. For one task.
final class ModelRun {
    /// Where the next call is made.
    private(set) var mount: Mount
    private let isSmall: Bool
    private let process: DyingProcess?
    /// What the last call that changes something was to do, if it was made at all.
    private(set) var attempt: (before: ModelState, after: ModelState)?
    /// Another mount of the bucket, and the dice of who has the turn; nil: there is only one.
    private var other: Mount?
    private var turnDice: SplitMix64?
    /// Whose `sleep` lets others go first: what slow answers are about.
    private let storeTime = TickingTime()
    var model = ModelTree()
    var slots: [Int: (file: OpenFile, model: ModelTree.File, mayWrite: Bool)] = [:]

    /// The dice of injected faults; nil: the store is perfect.
    var dice: SplitMix64?
    /// The dice of the local disk; nil: it has room always.
    var diskDice: SplitMix64?
    let disk = FullDisk()
    /// Open files whose name was removed while the disk had no room to keep their bytes, perhaps.
    private var unkept: [ModelTree.File] = []
    /// The call is made again, because there was no room for it.
    private var isAgain = false

    /// - Parameters:
    ///   - isSmall: files are sent in parts, and the staging has room for two or three of them.
    ///   - process: what the mount is served by, if that is to die.
    init(
        faultSeed: UInt64? = nil, diskSeed: UInt64? = nil, turnSeed: UInt64? = nil, isSmall: Bool = false,
        spelling: Spelling = .plain, process: DyingProcess? = nil
    ) throws {
        mount = try Mount(
            store: MemoryStore(time: storeTime), stagingLimitBytes: isSmall ? 24_000 : nil,
            disk: StagingDisk { [disk] in disk.room($0) }, isSmall: isSmall, process: process)
        self.process = process
        self.isSmall = isSmall
        turnDice = turnSeed.map { SplitMix64(seed: $0) }
        if turnSeed != nil {
            other = try Mount(
                store: mount.store, time: mount.time, stagingLimitBytes: isSmall ? 24_000 : nil, isSmall: isSmall)
        }
        for mount in [mount, other] { mount?.keptDirectoriesMax = 4 }
        model.spelling = spelling
        dice = faultSeed.map { SplitMix64(seed: $0) }
        diskDice = diskSeed.map { SplitMix64(seed: $0) }
    }

    /// Whether there may be no room for a call: on the disk, or because the store does not take what fills the staging.
    var mayLackRoom: Bool { diskDice != nil || isSmall && dice != nil }

    /// Runs the calls; the first difference, if there is one, with the number of the step. A call that does not come
    /// back in time is one too.
    static func run(
        _ calls: [RandomCall], faultSeed: UInt64? = nil, diskSeed: UInt64? = nil, turnSeed: UInt64? = nil,
        isSmall: Bool = false, spelling: Spelling = .plain
    ) async -> Difference? {
        await differenceInTime { say in
            let run = try ModelRun(
                faultSeed: faultSeed, diskSeed: diskSeed, turnSeed: turnSeed, isSmall: isSmall,
                spelling: spelling)
            for (index, call) in calls.enumerated() {
                say("in step \(index), \(call)")
                try await run.step(call)
                say("comparing after step \(index), \(call)")
                try await run.compareTree()
            }
            say("at the end")
            try await run.finish()
        }
    }

    /// Makes the call on both; either both take it, or both refuse. With faults, a call may fail: then it has happened, or
    /// has not, or (renames) by half.
    /// - Parameter isOneCall: false where a program makes several calls of it: what those before a failing one have done
    ///   stands.
    /// - Parameter slot: the open file that it is about.
    private func expect(
        needsRoom: Bool = true, isOneCall: Bool = true, slot: Int? = nil, _ onModel: (inout ModelTree) throws -> Void,
        _ onMount: () async throws -> Void
    ) async throws {
        let before = ModelState(model)
        var changed = model
        var isAllowed = true
        do { try onModel(&changed) } catch is ModelTree.Refusal { isAllowed = false }
        attempt = (before, ModelState(changed))
        do {
            try await onMount()
        } catch let error as FileSystemError {
            guard isAllowed else { return }
            if let process, process.isDead { throw error }
            if let slot, isOfUnkept(error, slots[slot]!.model) {
                try await mount.close(slots.removeValue(forKey: slot)!.file)
                return
            }
            let isOfTheDisk = needsRoom && mayLackRoom && error.isOfTheDisk
            guard isOfTheDisk || dice != nil && error.isOfTheStore else { throw Difference("refused with \(error)") }
            // What a write has left in the middle is no file until it is written on.
            if isOfTheDisk && (dice == nil || !isOneCall) || mount.area.files.contains(where: \.isIncomplete) {
                endFaults()
                isAgain = true
                defer { isAgain = false }
                do { try await onMount() } catch { throw Difference("nothing is in the way now, and yet: \(error)") }
                model = changed
                return
            }
            let after = ModelState(changed)
            endFaults()
            try await adoptWhatHappened(before, after, error)
            return
        }
        if !isAllowed { throw Difference("was not refused") }
        model = changed
    }

    func step(_ call: RandomCall) async throws {
        // So that a sequence has the same turns with and without it.
        if case .setWall = call {} else if turnDice != nil, turnDice!.next() % 3 == 0 { try await handOver() }
        let (mount, spelling) = (mount, model.spelling)
        attempt = nil
        startFaults(for: call)
        defer { endFaults() }
        switch call {
        case .writeFile(let path, let count, let fill):
            let bytes = RandomCall.bytes(count: count, fill: fill)
            try await expect(isOneCall: false) {
                if $0.entries[path] == nil { try $0.make(path, .file(ModelTree.File(bytes: [], mode: 0o644))) }
                let file = try $0.file(path)
                file.truncate(to: 0)
                file.write(bytes, at: 0)
            } _: {
                try await mount.write(spelling.shown(path), bytes)
            }
        case .append(let path, let count, let fill):
            let bytes = RandomCall.bytes(count: max(count, 1), fill: fill)
            let end = model.entries[path]?.file?.bytes.count
            try await expect {
                let file = try $0.file(path)
                file.write(bytes, at: file.bytes.count)
            } _: {
                // A part may have been written.
                if isAgain, let end { try await mount.truncate(spelling.shown(path), to: end) }
                try await mount.append(spelling.shown(path), bytes)
            }
        case .create(let slot, let path, let mode):
            guard slots[slot] == nil else { return }
            let file = ModelTree.File(bytes: [], mode: mode)
            try await expect {
                try $0.make(path, .file(file))
            } _: {
                slots[slot] = (try await mount.create(spelling.shown(path), mode: mode), file, true)
            }
        case .open(let slot, let path, let write):
            guard slots[slot] == nil else { return }
            var file: ModelTree.File?
            try await expect {
                file = try $0.file(path)
            } _: {
                let opened = try await mount.open(spelling.shown(path), write: write)
                if let file { slots[slot] = (opened, file, write) } else { try await mount.close(opened) }
            }
        case .write(let slot, let offset, let count, let fill):
            guard let open = slots[slot], open.mayWrite, count > 0 else { return }
            let bytes = RandomCall.bytes(count: count, fill: fill)
            try await expect(slot: slot) { _ in
                open.model.write(bytes, at: offset)
            } _: {
                try await mount.write(open.file, bytes, at: offset)
            }
        case .truncateOpen(let slot, let count):
            guard let open = slots[slot], open.mayWrite else { return }
            try await expect(slot: slot) { _ in
                open.model.truncate(to: count)
            } _: {
                try await mount.truncate(open.file, to: count)
            }
        case .readOpen(let slot):
            guard let open = slots[slot] else { return }
            guard let bytes = try await withFaults(needsRoom: false, { try await readAll(open) }), let bytes else {
                return
            }
            if bytes != open.model.bytes {
                throw Difference("slot \(slot) reads \(Self.difference(bytes, open.model.bytes))")
            }
        case .synchronise(let slot):
            guard let open = slots[slot] else { return }
            if try await withFaults({ try await mount.synchronise(open.file) }) != nil { try compareStored(open.model) }
        case .close(let slot):
            guard let open = slots.removeValue(forKey: slot) else { return }
            _ = try await withFaults { try await mount.close(open.file) }
        case .truncate(let path, let count):
            try await expect {
                try $0.file(path).truncate(to: count)
            } _: {
                try await mount.truncate(spelling.shown(path), to: count)
            }
        case .chmod(let path, let mode):
            if case .symlink? = model.entries[path] { return }
            try await expect {
                if try $0.entry(path).isDirectory {
                    $0.entries[path] = .directory(mode: mode)
                } else {
                    try $0.file(path).mode = mode
                }
            } _: {
                try await mount.chmod(spelling.shown(path), mode)
            }
        case .setModified(let path, let seconds):
            let time = Timestamp(seconds: seconds, nanoseconds: 123_456_789)
            try await expect {
                try $0.entry(path).file?.modified = time
            } _: {
                try await mount.setModified(spelling.shown(path), time)
            }
        case .makeDirectory(let path, let mode):
            try await expect {
                try $0.make(path, .directory(mode: mode))
            } _: {
                try await mount.makeDirectory(spelling.shown(path), mode: mode)
            }
        case .symlink(let path, let target):
            try await expect {
                try $0.make(path, .symlink(target))
            } _: {
                try await mount.symlink(spelling.shown(path), to: target)
            }
        case .unlink(let path):
            if diskDice != nil, let file = model.entries[path]?.file { unkept.append(file) }
            try await expect(needsRoom: false) {
                try $0.unlink(path)
            } _: {
                try await mount.unlink(spelling.shown(path))
            }
        case .removeDirectory(let path):
            try await expect(needsRoom: false) {
                try $0.removeDirectory(path)
            } _: {
                try await mount.removeDirectory(spelling.shown(path))
            }
        case .rename(let old, let new, let mustBeNew):
            try await expect {
                try $0.rename(old, to: new, mustBeNew: mustBeNew)
            } _: {
                try await mount.rename(spelling.shown(old), to: spelling.shown(new), mustBeNew: mustBeNew)
            }
        case .drain:
            if dice != nil || diskDice != nil { await mount.drain() }
            endFaults()
            try await drain()
            try await compareBucket()
        case .expire: mount.expire()
        case .setWall(let seconds): mount.time.setWall(bySeconds: seconds)
        case .remount:
            try await closeAll()
            try await mount.remount()
        case .kill:
            slots = [:]
            try await mount.kill()
        case .writeRemotely(let path, let count, let fill):
            try await changeRemotely(path) {
                guard model.takesRemotely(path) else { return }
                let bytes = RandomCall.bytes(count: count, fill: fill)
                mount.store.write(bytes, at: spelling.key(path))
                model.writeRemotely(path, bytes, mode: 0o644)
            }
        case .removeRemotely(let path):
            try await changeRemotely(path) {
                guard let entry = model.entries[path], !entry.isDirectory else { return }
                mount.store.remove(at: spelling.key(path))
                model.entries[path] = nil
                // Directories that had nothing but this are gone with it.
                var above = ModelTree.parent(of: path)
                while !above.isEmpty, mount.store.keys(under: spelling.key(above) + "/").isEmpty {
                    model.entries[above] = nil
                    above = ModelTree.parent(of: above)
                }
            }
        }
    }

    /// Another client changes what nobody here has open or pending; seen once the mount's knowledge has expired.
    private func changeRemotely(_ path: String, _ change: () -> Void) async throws {
        if let file = model.entries[path]?.file, slots.values.contains(where: { $0.model === file }) { return }
        endFaults()
        try await drain()
        change()
        mount.expire()
    }

    private func drain() async throws {
        let left = await mount.drain()
        guard left.isEmpty else { throw Difference("not drained: \(left)") }
        // The uploader is a few steps from telling the filesystem.
        let deadline = SystemTime().monotonicNanoseconds + 20_000_000_000
        while let file = mount.area.files.first(where: { $0.publishedVersion == nil }) {
            guard SystemTime().monotonicNanoseconds < deadline else {
                throw Difference("drained, and '\(file.key)' is not published: \(file.progress)")
            }
            await Task.yield()
        }
    }

    private func closeAll() async throws {
        for slot in slots.keys.sorted() {
            guard let open = slots.removeValue(forKey: slot) else { continue }
            _ = try await withFaults { try await mount.close(open.file) }
        }
    }

    /// What one mount did is what the other shows, once it is closed and uploaded and what the other knew has expired.
    private func handOver() async throws {
        guard let next = other else { return }
        try await closeAll()
        try await drain()
        (mount, other) = (next, mount)
        mount.expire()
        // So that the times of objects tell the changes of one mount from the other's.
        storeTime.advance(seconds: 61)
        do { try await compareTree() } catch let difference as Difference {
            throw Difference("on the other mount: \(difference)")
        }
    }

    // MARK: Comparing

    /// The whole of an open file; nil when it has lost its name, and bytes of it could not be kept.
    private func readAll(_ open: (file: OpenFile, model: ModelTree.File, mayWrite: Bool)) async throws -> [UInt8]? {
        do {
            return try await mount.readAll(open.file)
        } catch let error as FileSystemError where isOfUnkept(error, open.model) {
            return nil
        }
    }

    private func isOfUnkept(_ error: FileSystemError, _ file: ModelTree.File) -> Bool {
        error.kind == .stale && unkept.contains { $0 === file }
            && !model.entries.values.contains { $0.file === file }
    }

    func compareTree() async throws {
        try await compareDirectory("")
        for (slot, open) in slots {
            guard let bytes = try await readAll(open) else { continue }
            if bytes != open.model.bytes {
                throw Difference("slot \(slot) reads \(Self.difference(bytes, open.model.bytes))")
            }
        }
    }

    private func compareDirectory(_ path: String) async throws {
        let spelling = model.spelling
        let found = try await mount.list(spelling.shown(path))
        let wanted = model.children(of: path)
        let names = found.map { spelling.letter(shown: $0.name) }
        guard names.sorted() == wanted.sorted() else {
            throw Difference("'\(path)' lists \(names), not \(wanted)")
        }
        for (name, entry) in zip(names, found) {
            let inner = path.isEmpty ? name : path + "/" + name
            let shown = spelling.shown(inner)
            // What another mount has made of a directory's attributes shows when it is listed (doc/semantics.md).
            if turnDice != nil, entry.kind == .directory { _ = try await mount.list(shown) }
            let status: FileStatus
            do { status = try await mount.status(shown) } catch { throw Difference("stat '\(inner)': \(error)") }
            try await compare(inner, entry.kind, status)
        }
    }

    private func compare(_ path: String, _ listedKind: FileKind?, _ status: FileStatus) async throws {
        let mode = status.attributes.permissions
        switch model.entries[path]! {
        case .directory(let wanted):
            guard status.kind == .directory, listedKind == .directory, wanted == nil || wanted == mode else {
                throw Difference("'\(path)' is \(status), not a directory of mode \(String(wanted ?? 0, radix: 8))")
            }
            try await compareDirectory(path)
        case .symlink(let target):
            let found = try await mount.readSymlink(model.spelling.shown(path))
            guard status.kind == .symlink, found == target, listedKind != .directory else {
                throw Difference("'\(path)' is \(status) to '\(found)', not a symlink to '\(target)'")
            }
        case .file(let file):
            guard status.kind == .file, listedKind == nil || listedKind == .file else {
                throw Difference("'\(path)' is \(status), not a file")
            }
            guard status.byteCount == file.bytes.count else {
                throw Difference("'\(path)' has \(status.byteCount) bytes, not \(file.bytes.count)")
            }
            guard mode == file.mode else {
                throw Difference("'\(path)' has mode \(String(mode, radix: 8)), not \(String(file.mode, radix: 8))")
            }
            if let modified = file.modified, status.attributes.modified != modified {
                throw Difference("'\(path)' was modified \(status.attributes.modified), not \(modified)")
            }
            let bytes: [UInt8]
            do { bytes = try await mount.read(model.spelling.shown(path)) } catch {
                throw Difference("reading '\(path)': \(error)")
            }
            if bytes != file.bytes { throw Difference("'\(path)' reads \(Self.difference(bytes, file.bytes))") }
        }
    }

    static func difference(_ found: [UInt8], _ wanted: [UInt8]) -> String {
        let position = zip(found, wanted).enumerated().first { $1.0 != $1.1 }?.offset ?? min(found.count, wanted.count)
        let (have, want) = (found.dropFirst(position).first, wanted.dropFirst(position).first)
        return "\(found.count) bytes for \(wanted.count), other from \(position): \(have as Any) for \(want as Any)"
    }

    /// What fsync has acknowledged is in the bucket, if the file has a name still.
    private func compareStored(_ file: ModelTree.File) throws {
        guard let path = model.entries.first(where: { $0.value.file === file })?.key else { return }
        guard mount.store.bytes(at: model.spelling.key(path)) == file.bytes else {
            throw Difference("fsync of '\(path)' stored something else")
        }
    }

    /// The bucket holds the model, and nothing else.
    func compareBucket() async throws {
        var keys = Set(mount.store.keys().map { ByteString($0) })
        for (path, entry) in model.entries {
            let key = model.spelling.key(path)
            switch entry {
            case .directory(let mode):
                guard !mount.store.keys(under: key + "/").isEmpty else { throw Difference("no key under '\(path)/'") }
                if keys.remove(ByteString(key + "/")) != nil, let mode {
                    guard storedMode(key + "/") == mode else { throw Difference("mode of '\(path)/' in the bucket") }
                }
            case .symlink(let target):
                guard let info = mount.store.info(at: key), info.version.byteCount == 0,
                    AttributeCodec.symlinkTarget(of: info.properties.metadata) == target
                else { throw Difference("no symlink '\(path)' in the bucket") }
                keys.remove(ByteString(key))
            case .file(let file):
                guard let bytes = mount.store.bytes(at: key) else { throw Difference("no '\(path)' in the bucket") }
                if bytes != file.bytes {
                    throw Difference("'\(path)' in the bucket: \(Self.difference(bytes, file.bytes))")
                }
                guard storedMode(key) == file.mode else { throw Difference("mode of '\(path)' in the bucket") }
                keys.remove(ByteString(key))
            }
        }
        guard keys.isEmpty else { throw Difference("in the bucket besides: \(keys.sorted())") }
        let open = await mount.uploadsLeftOpen()
        guard open.isEmpty else { throw Difference("multipart uploads are left open: \(open)") }
    }

    private func storedMode(_ key: String) -> UInt32? {
        guard let info = mount.store.info(at: key) else { return nil }
        return mount.fileSystem.codec.attributes(
            of: info.properties.metadata, kind: key.utf8.last == UInt8(ascii: "/") ? .directory : .file,
            lastModified: info.lastModified
        ).permissions
    }

    /// Closed and drained, the bucket is the model, nothing is left in memory or on disk, and a new mount shows it all.
    func finish() async throws {
        try await closeAll()
        try await drain()
        try await compareBucket()
        try await mount.expectNothingKept()
        try await mount.remount()
        try await compareTree()
        try await handOver()
    }
}
