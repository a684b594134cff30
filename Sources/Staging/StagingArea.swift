// The state directory of one mount: creating, finding and removing staged files.

internal import Base
internal import Glibc
internal import ObjectModel
internal import ObjectStore
internal import Synchronization

/// The staged files of one mount, in a directory of its own that no other process may use meanwhile.
///
/// Layout: `<state-dir>/staging/<session>/` (mode 0700) holds `owner` (locked by flock while in use, its text the bucket's
/// identity) and, for each file, `<id>.data` and `<id>.journal`. What an earlier mount of the same bucket left behind is
/// adopted, whatever its other options were; directories of other buckets are reported, never touched. Thread-safe.
public final class StagingArea: Sendable {
    private struct Session {
        let directory: String
        /// Keeps the flock.
        let lockDescriptor: Int32
    }

    private struct Contents {
        var files: [String: StagedFile] = [:]
        var adopted: [Session] = []
        var orphaned: (@Sendable (OrphanedUploads) -> Void)?
        var leftPlans: [StoredPlan] = []
        var leftRemovals: [LeftRemovals] = []
    }

    private let session: Session
    private let limitBytes: Int?
    let disk: StagingDisk
    private let nextNumber = Atomic<UInt64>(0)
    /// On the disk and not in the bucket.
    private let stagedBytes = Atomic<Int>(0)
    // A leaf lock.
    private let contents = Lock(Contents())

    /// Opens a fresh session directory.
    /// - Parameters:
    ///   - stateDirectory: exists, mode 0700, ours.
    ///   - bucketIdentity: what tells this bucket from any other: endpoint and bucket name. One line.
    ///   - limitBytes: the most dirty bytes on the local disk; nil leaves it to the disk's size.
    ///   - disk: what takes the files.
    public init(
        stateDirectory: String, bucketIdentity: String, limitBytes: Int?, disk: StagingDisk = StagingDisk()
    ) throws(StagingError) {
        let root = stateDirectory + "/staging"
        try Self.makeDirectory(root)
        let name = "\(getpid())-\(String(UInt64.random(in: .min ... .max), radix: 16))"
        let directory = root + "/" + name
        try Self.makeDirectory(directory)
        guard let session = try Self.lock(directory, creating: bucketIdentity) else {
            throw .disk(code: EBUSY, action: "locking \(directory)")
        }
        self.session = session
        self.limitBytes = limitBytes
        self.disk = disk
        self.bucketIdentity = bucketIdentity
        self.stagingRoot = root
    }

    private let bucketIdentity: String
    private let stagingRoot: String
    /// Files that stand on an object of another file: few, and soon uploaded. A leaf lock but for `StagedFile`'s.
    let standing = Lock<[ObjectIdentifier: StagedFile]>([:])

    // MARK: Files

    /// Begins a new staged file.
    /// - Parameter isChanged: whether it already differs from its base (a new file does).
    public func create(_ identity: StagedIdentity, isChanged: Bool) throws(StagingError) -> StagedFile {
        let id = String(nextNumber.wrappingAdd(1, ordering: .relaxed).newValue, radix: 16)
        let path = StagedFile.dataPath(session.directory, id)
        let descriptor = try disk.create(path, O_RDWR | O_EXCL, "creating")
        let journal: Journal
        do throws(StagingError) {
            journal = try Journal(
                path: StagedFile.journalPath(session.directory, id),
                records: isChanged ? [.begin(identity)] : [.begin(identity), .published], disk: disk)
        } catch {
            close(descriptor)
            unlink(path)
            throw error
        }
        if identity.byteCount > identity.baseByteCount { ftruncate(descriptor, off_t(identity.byteCount)) }
        let file = StagedFile(
            id: id, directory: session.directory, area: self, descriptor: descriptor, journal: journal,
            contents: StagedContents(identity, isChanged: isChanged))
        contents.withLock { $0.files[file.dataPath] = file }
        return file
    }

    /// Removes the file's traces from the disk: its bytes are in the bucket, or not wanted any more.
    /// They stay readable through the object until its last reference goes. Multipart uploads that it leaves open are named
    /// in its journal until they are given up.
    public func forget(_ file: StagedFile) {
        let known = contents.withLock { $0.files.removeValue(forKey: file.dataPath) != nil }
        guard known else { return }
        let (identity, uploads) = file.leaveUploads()
        if !uploads.isEmpty {
            let records = [.begin(identity), .published] + uploads.map { JournalRecord.orphaned($0) }
            do throws(StagingError) { _ = try Journal(path: file.journalPath, records: records, disk: disk) } catch {
                unlink(file.journalPath)
            }
        } else {
            // The journal first: data without a journal is nothing, a journal without data would be damage.
            unlink(file.journalPath)
        }
        unlink(file.dataPath)
        guard !uploads.isEmpty else { return }
        give(OrphanedUploads(journal: file.journalPath, uploads: uploads))
    }

    /// Sets who gives up the uploads that nobody will complete. Called outside of all locks.
    func onOrphaned(_ action: @escaping @Sendable (OrphanedUploads) -> Void) {
        contents.withLock { $0.orphaned = action }
    }

    private func give(_ orphaned: OrphanedUploads) {
        guard !orphaned.uploads.isEmpty else { return }
        contents.withLock { $0.orphaned }?(orphaned)
    }

    /// Has the uploads given up that a file has left behind and lives on without.
    func abortOrphans(of file: StagedFile) {
        give(OrphanedUploads(uploads: file.orphans) { [weak file] in file?.forgetOrphan($0) })
    }

    /// All files, those of adopted sessions included.
    public var files: [StagedFile] { contents.withLock { Array($0.files.values) } }

    /// Whether writers should wait: the dirty bytes have reached the limit.
    public func isFull(adding byteCount: Int) -> Bool {
        guard let limitBytes else { return false }
        return stagedBytes.load(ordering: .relaxed) + byteCount > limitBytes
    }

    /// A file has so many bytes more that are on the disk and not in the bucket.
    func count(_ difference: Int) {
        if difference != 0 { stagedBytes.add(difference, ordering: .relaxed) }
    }

    public var limit: Int? { limitBytes }

    /// A path in this session's directory that no other file has.
    func newPath(suffix: String) -> String {
        let id = String(nextNumber.wrappingAdd(1, ordering: .relaxed).newValue, radix: 16)
        return "\(session.directory)/\(id)\(suffix)"
    }

    /// Plans that ended mounts of this bucket did not carry out, as `adoptLeftovers` found them. They are this session's.
    public var leftPlans: [StoredPlan] { contents.withLock { $0.leftPlans } }

    /// Takes over the plans of an ended session.
    private func adoptPlans(_ names: [String], of directory: String, _ damaged: inout [String]) {
        for name in names {
            let path = newPath(suffix: Self.planSuffix)
            guard Self.loadPlan(directory + "/" + name) != nil, rename(directory + "/" + name, path) == 0,
                let plan = Self.loadPlan(path)
            else {
                damaged.append(directory + "/" + name)
                continue
            }
            contents.withLock { $0.leftPlans.append(plan) }
        }
    }

    /// What ended mounts of this bucket had acknowledged as removed and not removed yet, as `adoptLeftovers` found it.
    public var leftRemovals: [LeftRemovals] { contents.withLock { $0.leftRemovals } }

    /// Takes over the removal journals of an ended session.
    private func adoptRemovals(_ names: [String], of directory: String, _ damaged: inout [String]) {
        for name in names {
            let path = newPath(suffix: RemovalJournal.suffix)
            guard let removals = RemovalJournal.load(directory + "/" + name) else {
                damaged.append(directory + "/" + name)
                continue
            }
            guard !removals.isEmpty else { continue }
            guard rename(directory + "/" + name, path) == 0 else {
                damaged.append(directory + "/" + name)
                continue
            }
            contents.withLock { $0.leftRemovals.append(LeftRemovals(path: path, removals: removals)) }
        }
    }

    // MARK: What others left

    /// Takes over what ended mounts of this bucket left behind.
    /// Has uploads given up that they left open.
    /// - Returns: the files with data that is not in the bucket, and what is left of other buckets.
    public func adoptLeftovers() -> (adopted: [StagedFile], foreign: [StagingLeftover], damaged: [String]) {
        var orphaned: [OrphanedUploads] = []
        defer { orphaned.forEach(give) }
        var adopted: [StagedFile] = []
        var foreign: [StagingLeftover] = []
        var damaged: [String] = []
        for name in Self.entries(of: stagingRoot) {
            let directory = stagingRoot + "/" + name
            guard directory != session.directory, let found = try? Self.lock(directory, creating: nil) else { continue }
            let identity = Self.readText(directory + "/owner") ?? ""
            let journals = Self.entries(of: directory).filter { $0.hasSuffix(".journal") }
            let plans = Self.entries(of: directory).filter { $0.hasSuffix(Self.planSuffix) }
            let removals = Self.entries(of: directory).filter { $0.hasSuffix(RemovalJournal.suffix) }
            guard identity == bucketIdentity else {
                if journals.isEmpty, plans.isEmpty, !Self.holdsRemovals(removals, in: directory) {
                    Self.remove(found)
                } else {
                    foreign.append(
                        StagingLeftover(
                            bucketIdentity: identity, directory: directory, fileCount: journals.count,
                            byteCount: Self.dataByteCount(of: directory)))
                    close(found.lockDescriptor)
                }
                continue
            }
            adoptPlans(plans, of: directory, &damaged)
            adoptRemovals(removals, of: directory, &damaged)
            var loaded = 0
            for journal in journals {
                let id = String(journal.dropLast(".journal".count))
                do throws(StagingError) {
                    switch try load(id: id, directory: directory) {
                    case .pending(let file):
                        adopted.append(file)
                        loaded += 1
                    case .unchanged(let uploads) where !uploads.isEmpty:
                        let path = StagedFile.journalPath(directory, id)
                        unlink(StagedFile.dataPath(directory, id))
                        orphaned.append(OrphanedUploads(journal: path, uploads: uploads))
                        loaded += 1
                    case .unchanged:
                        unlink(StagedFile.journalPath(directory, id))
                        unlink(StagedFile.dataPath(directory, id))
                    case .damaged: damaged.append(directory + "/" + journal)
                    }
                } catch {
                    damaged.append(directory + "/" + journal + ": \(error)")
                }
            }
            if loaded == 0, damaged.isEmpty {
                Self.remove(found)
            } else {
                contents.withLock { $0.adopted.append(found) }
            }
        }
        return (adopted, foreign, damaged)
    }

    private enum Loaded {
        case pending(StagedFile)
        /// Everything of it is in the bucket: it was open when its mount ended.
        case unchanged(orphans: [UploadReference])
        case damaged
    }

    private func load(id: String, directory: String) throws(StagingError) -> Loaded {
        guard let (journal, records) = try Journal.load(path: StagedFile.journalPath(directory, id), disk: disk),
            let contents = StagedContents(replaying: records)
        else { return .damaged }
        guard contents.isChanged else { return .unchanged(orphans: contents.orphans) }
        let path = StagedFile.dataPath(directory, id)
        let descriptor = open(path, O_RDWR | O_CLOEXEC)
        guard descriptor >= 0 else { throw .disk(code: errno, action: "opening \(path)") }
        // A data file shorter than its journal has lost bytes: never fill them up with zeros.
        var status = stat()
        let localEnd = contents.local.ranges.last?.upperBound ?? 0
        let isWhole = fstat(descriptor, &status) == 0 && Int(status.st_size) >= localEnd
        let endsInTruncate = if case .truncated? = records.last { true } else { false }
        guard isWhole || endsInTruncate else {
            close(descriptor)
            return .damaged
        }
        ftruncate(descriptor, off_t(contents.identity.byteCount))
        let file = StagedFile(
            id: id, directory: directory, area: self, descriptor: descriptor, journal: journal, contents: contents)
        self.contents.withLock { $0.files[file.dataPath] = file }
        if file.standsOn != nil { noteStanding(file) }
        return .pending(file)
    }

    /// Ends the session: directories without pending files are removed, the others keep their files for the next mount.
    public func closeSession() {
        let sessions = contents.withLock { [session] + $0.adopted }
        for session in sessions {
            let kept = Self.entries(of: session.directory)
            if kept.contains(where: { $0.hasSuffix(".journal") || $0.hasSuffix(Self.planSuffix) })
                || Self.holdsRemovals(kept, in: session.directory)
            {
                close(session.lockDescriptor)
            } else {
                Self.remove(session)
            }
        }
    }

    // MARK: Directories

    /// Locks a session directory; nil when another process has it. With `creating`, writes the owner file first.
    private static func lock(_ directory: String, creating identity: String?) throws(StagingError) -> Session? {
        let path = directory + "/owner"
        let descriptor = open(path, O_RDWR | O_CLOEXEC | (identity == nil ? 0 : O_CREAT), 0o600)
        guard descriptor >= 0 else { throw .disk(code: errno, action: "opening \(path)") }
        guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else {
            close(descriptor)
            return nil
        }
        if let identity {
            let text = Array((identity + "\n").utf8)
            guard write(descriptor, text, text.count) == text.count else {
                let code = errno
                close(descriptor)
                throw .disk(code: code, action: "writing \(path)")
            }
        }
        return Session(directory: directory, lockDescriptor: descriptor)
    }

    private static func remove(_ session: Session) {
        for name in entries(of: session.directory) where name != "owner" { unlink(session.directory + "/" + name) }
        unlink(session.directory + "/owner")
        rmdir(session.directory)
        close(session.lockDescriptor)
    }

    /// Whether one of these files is a journal of removals with something in it.
    private static func holdsRemovals(_ names: [String], in directory: String) -> Bool {
        names.contains { name in
            var status = stat()
            return name.hasSuffix(RemovalJournal.suffix) && stat(directory + "/" + name, &status) == 0
                && status.st_size > 0
        }
    }

    private static func makeDirectory(_ path: String) throws(StagingError) {
        guard mkdir(path, 0o700) == 0 || errno == EEXIST else { throw .disk(code: errno, action: "creating \(path)") }
    }

    private static func entries(of directory: String) -> [String] {
        guard let stream = opendir(directory) else { return [] }
        defer { closedir(stream) }
        var names: [String] = []
        while let entry = readdir(stream) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if name != ".", name != ".." { names.append(name) }
        }
        return names.sorted()
    }

    /// What the data files of a session take on the disk, in bytes.
    private static func dataByteCount(of directory: String) -> Int {
        entries(of: directory).filter { $0.hasSuffix(".data") }.reduce(0) { total, name in
            var status = stat()
            return lstat(directory + "/" + name, &status) == 0 ? total + Int(status.st_blocks) * 512 : total
        }
    }

    private static func readText(_ path: String) -> String? {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        var bytes = [UInt8](repeating: 0, count: 4096)
        let count = read(descriptor, &bytes, bytes.count)
        guard count >= 0 else { return nil }
        return String(decoding: bytes[..<count].prefix { $0 != 0x0a }, as: UTF8.self)
    }
}

/// A journal of removals that an ended mount did not make.
public struct LeftRemovals: Sendable, Equatable {
    let path: String
    public let removals: [Removal]
}

/// Staged data of a bucket that is not this mount's.
public struct StagingLeftover: Sendable, Equatable {
    public let bucketIdentity: String
    public let directory: String
    public let fileCount: Int
    /// What its data files take on the disk.
    public let byteCount: Int
}

/// Multipart uploads of ours that nobody will complete: they cost money until they are given up.
struct OrphanedUploads: Sendable {
    let uploads: [UploadReference]
    /// To be called for each that the store has given up.
    let forget: @Sendable (UploadReference) -> Void

    init(uploads: [UploadReference], forget: @escaping @Sendable (UploadReference) -> Void) {
        self.uploads = uploads
        self.forget = forget
    }

    /// Of a file that is gone: a journal names them, and goes with the last.
    init(journal path: String, uploads: [UploadReference]) {
        let left = Lock(uploads)
        self.init(uploads: uploads) { ended in
            let isLast = left.withLock { left in
                left.removeAll { $0 == ended }
                return left.isEmpty
            }
            if isLast { unlink(path) }
        }
    }
}
