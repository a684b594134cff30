// The state directory of one mount: creating, finding and removing staged files.

internal import Base
internal import CLinux
internal import Glibc
internal import ObjectModel
internal import ObjectStore
internal import Synchronization

/// The staged files of one mount, in a directory of its own that no other process may use meanwhile.
///
/// Layout: `<state-dir>/staging/<session>/` (mode 0700) holds `owner` (locked by flock while in use, its lines the bucket's
/// identity and the mountpoint) and, for each file, `<id>.data` and `<id>.journal`. What an earlier mount of the same bucket left behind is
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
        var leftRemovals: [LeftRequests<Removal>] = []
        var leftMarkers: [LeftRequests<MarkerWrite>] = []
    }

    private let session: Session
    private let limitBytes: Int?
    let disk: StagingDisk
    private let spares: SpareFiles
    /// Room for the records by which room is made.
    let reserve: StagingReserve
    private let nextNumber = Atomic<UInt64>(0)
    /// On the disk and not in the bucket.
    private let stagedBytes = Atomic<Int>(0)
    // A leaf lock.
    private let contents = Lock(Contents())

    /// Opens a fresh session directory.
    /// - Parameters:
    ///   - stateDirectory: exists, mode 0700, ours.
    ///   - bucketIdentity: what tells this bucket from any other: endpoint and bucket name. One line.
    ///   - mountpoint: for who finds what this mount leaves behind.
    ///   - limitBytes: the most dirty bytes on the local disk; nil leaves it to the disk's size.
    ///   - disk: what takes the files.
    ///   - aheadCount: for how many new files the two files on the disk are made ahead, once there is a first one.
    public init(
        stateDirectory: String, bucketIdentity: String, mountpoint: String = "", limitBytes: Int?,
        disk: StagingDisk = StagingDisk(), aheadCount: Int = 0
    ) throws(StagingError) {
        let root = stateDirectory + "/staging"
        try Self.makeDirectory(root)
        // A session's files are made where no others were removed a moment ago, which ext4 is slow at.
        _ = pail_spread_directories(root)
        var locked: Session?
        for _ in 0..<Self.lockTriesMax where locked == nil {
            let name = "\(getpid())-\(String(UInt64.random(in: .min ... .max), radix: 16))"
            try Self.makeDirectory(root + "/" + name)
            // Nil when another mount, which looks for what others left, was faster than this lock.
            locked = try Self.lock(
                root + "/" + name, creating: "\(bucketIdentity)\n\(LogLine.escaped(mountpoint))")
        }
        guard let session = locked else { throw .disk(code: EBUSY, action: "locking a directory in \(root)") }
        self.session = session
        reserve = StagingReserve(path: session.directory + "/reserve")
        spares = SpareFiles(aheadCount: aheadCount)
        self.limitBytes = limitBytes
        self.disk = disk
        self.bucketIdentity = bucketIdentity
        self.stagingRoot = root
    }

    /// Where the files of this mount are, `<state-dir>/staging/<session>`.
    public var sessionDirectory: String { session.directory }

    private let bucketIdentity: String
    private let stagingRoot: String
    /// Files that stand on an object of another file: few, and soon uploaded. A leaf lock but for `StagedFile`'s.
    let standing = Lock<[ObjectIdentifier: StagedFile]>([:])

    // MARK: Files

    /// Begins a new staged file.
    /// - Parameter isChanged: whether it already differs from its base (a new file does).
    public func create(_ identity: StagedIdentity, isChanged: Bool) throws(StagingError) -> StagedFile {
        let records: [JournalRecord] = isChanged ? [.begin(identity)] : [.begin(identity), .published]
        let pair: StagingPair
        if let spare = spares.take() {
            do throws(StagingError) { try spare.journal.begin(records) } catch {
                spare.remove()
                throw error
            }
            pair = spare
        } else {
            pair = try createPair(records)
        }
        if identity.byteCount > identity.baseByteCount {
            disk.truncate(pair.data, to: identity.byteCount)
        }
        return add(pair, identity, isChanged: isChanged)
    }

    /// Begins a new staged file with all of its bytes: to who finds the directory it is there once it has them.
    /// - Parameter fill: writes them to the data file of that path.
    func create(
        _ identity: StagedIdentity, filledBy fill: (Int32, String) throws(StagingError) -> Void
    ) throws(StagingError) -> StagedFile {
        let pair = if let spare = spares.take() { spare } else { try createPair([]) }
        do throws(StagingError) {
            try fill(pair.data, StagingPair.dataPath(session.directory, pair.id))
            // Whole or not at all: cut off, it would be damage beside these data.
            try pair.journal.rewrite([.begin(identity)])
        } catch {
            pair.remove()
            throw error
        }
        return add(pair, identity, isChanged: true)
    }

    private func add(_ pair: StagingPair, _ identity: StagedIdentity, isChanged: Bool) -> StagedFile {
        let file = StagedFile(
            pair, spares: spares, area: self, contents: StagedContents(identity, isChanged: isChanged))
        contents.withLock { $0.files[file.dataPath] = file }
        if identity.base == nil { spares.makeAhead { try? self.createPair([]) } }
        return file
    }

    private func newID() -> String { String(nextNumber.wrappingAdd(1, ordering: .relaxed).newValue, radix: 16) }

    private func createPair(_ records: [JournalRecord]) throws(StagingError) -> StagingPair {
        let id = newID()
        // The journal first: beside data, one that is cut off is damage, and not a file that was just being begun.
        let journalPath = StagingPair.journalPath(session.directory, id)
        let journal = try Journal(beginning: journalPath, records: records, disk: disk)
        do throws(StagingError) {
            let data = try disk.create(StagingPair.dataPath(session.directory, id), O_RDWR | O_EXCL, "creating")
            return StagingPair(id: id, directory: session.directory, data: data, journal: journal)
        } catch {
            disk.remove(journalPath)
            throw error
        }
    }

    /// Removes the file's traces from the disk: its bytes are in the bucket, or not wanted any more.
    /// They stay readable through the object until its last reference goes; then its files are another's. Multipart uploads that it leaves open are named
    /// in its journal until they are given up.
    public func forget(_ file: StagedFile) {
        let known = contents.withLock { $0.files.removeValue(forKey: file.dataPath) != nil }
        guard known else { return }
        let (identity, uploads) = file.leaveUploads()
        if uploads.isEmpty {
            file.leaveDisk()
            return
        }
        let records = [.begin(identity), .published] + uploads.map { JournalRecord.orphaned($0) }
        do throws(StagingError) { try Journal.replace(file.journalPath, by: records, disk: disk) } catch {
            disk.remove(file.journalPath)
        }
        disk.remove(file.dataPath)
        give(OrphanedUploads(journal: file.journalPath, uploads: uploads, disk))
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
        "\(session.directory)/\(newID())\(suffix)"
    }

    /// Plans that ended mounts of this bucket did not carry out, as `adoptLeftovers` found them. They are this session's.
    public var leftPlans: [StoredPlan] { contents.withLock { $0.leftPlans } }

    /// Takes over the plans of an ended session.
    private func adoptPlans(_ names: [String], of directory: String, _ damaged: inout [String]) {
        for name in names {
            let path = newPath(suffix: Self.planSuffix)
            guard Self.loadPlan(directory + "/" + name) != nil, disk.rename(directory + "/" + name, to: path),
                let plan = Self.loadPlan(path)
            else {
                damaged.append(directory + "/" + name)
                continue
            }
            contents.withLock { $0.leftPlans.append(plan) }
        }
    }

    /// What ended mounts of this bucket had acknowledged as removed and not removed yet, as `adoptLeftovers` found it.
    public var leftRemovals: [LeftRequests<Removal>] { contents.withLock { $0.leftRemovals } }

    /// The same of directories' markers.
    public var leftMarkers: [LeftRequests<MarkerWrite>] { contents.withLock { $0.leftMarkers } }

    /// Takes over the journals of requests of an ended session.
    private func adoptRequests<Request: JournalledRequest>(
        _ names: [String], of directory: String, _ damaged: inout [String]
    ) -> [LeftRequests<Request>] {
        var left: [LeftRequests<Request>] = []
        for name in names where name.hasSuffix(Request.journalSuffix) {
            let path = newPath(suffix: Request.journalSuffix)
            guard let requests = RequestJournal<Request>.load(directory + "/" + name) else {
                damaged.append(directory + "/" + name)
                continue
            }
            guard !requests.isEmpty else { continue }
            guard disk.rename(directory + "/" + name, to: path) else {
                damaged.append(directory + "/" + name)
                continue
            }
            left.append(LeftRequests(path: path, requests: requests))
        }
        return left
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
            let names = Self.entries(of: directory)
            let journals = names.filter {
                $0.hasSuffix(StagingPair.journalSuffix) && !Journal.isSpare(directory + "/" + $0)
            }
            let plans = names.filter { $0.hasSuffix(Self.planSuffix) }
            guard identity == bucketIdentity else {
                if journals.isEmpty, plans.isEmpty, !Self.holdsRequests(names, in: directory) {
                    remove(found)
                } else {
                    foreign.append(
                        StagingLeftover(
                            bucketIdentity: identity, mountpoint: Self.readText(directory + "/owner", line: 1) ?? "",
                            directory: directory, fileCount: journals.count,
                            byteCount: Self.dataByteCount(of: directory)))
                    close(found.lockDescriptor)
                }
                continue
            }
            adoptPlans(plans, of: directory, &damaged)
            let removals: [LeftRequests<Removal>] = adoptRequests(names, of: directory, &damaged)
            let markers: [LeftRequests<MarkerWrite>] = adoptRequests(names, of: directory, &damaged)
            contents.withLock {
                $0.leftRemovals += removals
                $0.leftMarkers += markers
            }
            var loaded = 0
            var pending: [StagedFile] = []
            for journal in journals {
                let id = String(journal.dropLast(StagingPair.journalSuffix.count))
                do throws(StagingError) {
                    switch try load(id: id, directory: directory) {
                    case .pending(let file):
                        pending.append(file)
                        loaded += 1
                    case .unchanged(let uploads) where !uploads.isEmpty:
                        let path = StagingPair.journalPath(directory, id)
                        disk.remove(StagingPair.dataPath(directory, id))
                        orphaned.append(OrphanedUploads(journal: path, uploads: uploads, disk))
                        loaded += 1
                    case .unchanged:
                        disk.remove(StagingPair.journalPath(directory, id))
                        disk.remove(StagingPair.dataPath(directory, id))
                    case .damaged: damaged.append(directory + "/" + journal)
                    }
                } catch {
                    damaged.append(directory + "/" + journal + ": \(error)")
                }
            }
            adopted += pending
            if loaded == 0, damaged.isEmpty {
                remove(found)
            } else {
                contents.withLock { $0.adopted.append(found) }
            }
        }
        return (Self.dropReplaced(adopted), foreign, damaged)
    }

    /// Gives up what another file stands for: one that has taken its key, or keeps its changes, in a call that was done but
    /// for its last step; returns the others. The two may be of different sessions, where one was recovered. A file that merely
    /// has the key is no reason: it may be another mount's.
    private static func dropReplaced(_ files: [StagedFile]) -> [StagedFile] {
        let keys = Dictionary(files.map { ($0.place, $0.key) }) { first, _ in first }
        let all = Set(keys.values)
        return files.filter { file in
            let hasHeir =
                switch file.departure {
                case .replacementByStaged(let place): keys[place] == file.key
                case .savedAs(let key): all.contains(key)
                case .removal, .replacement, nil: false
                }
            if hasHeir { file.abandon() }
            return !hasHeir
        }
    }

    private enum Loaded {
        case pending(StagedFile)
        /// Everything of it is in the bucket: it was open when its mount ended, or was just being begun.
        case unchanged(orphans: [UploadReference])
        case damaged
    }

    private func load(id: String, directory: String) throws(StagingError) -> Loaded {
        let path = StagingPair.dataPath(directory, id)
        let (journal, records): (Journal, [JournalRecord])
        switch try Journal.load(path: StagingPair.journalPath(directory, id), disk: disk) {
        case .whole(let found, let all): (journal, records) = (found, all)
        case .empty: return .unchanged(orphans: [])
        // The data file is made after a new journal, and is empty before one is used again.
        case .unmade: return access(path, F_OK) != 0 && errno == ENOENT ? .unchanged(orphans: []) : .damaged
        case .unfinished: return Self.holdsNothing(path) ? .unchanged(orphans: []) : .damaged
        case .damaged: return .damaged
        }
        guard let contents = StagedContents(replaying: records) else { return .damaged }
        guard contents.isChanged else { return .unchanged(orphans: contents.orphans) }
        let descriptor = open(path, O_RDWR | O_CLOEXEC)
        if descriptor < 0, errno == ENOENT, contents == StagedContents(contents.identity, isChanged: true) {
            return .unchanged(orphans: [])
        }
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
        disk.truncate(descriptor, to: contents.identity.byteCount)
        let file = StagedFile(
            StagingPair(id: id, directory: directory, data: descriptor, journal: journal), spares: nil, area: self,
            contents: contents)
        self.contents.withLock { $0.files[file.dataPath] = file }
        if file.standsOn != nil { noteStanding(file) }
        return .pending(file)
    }

    /// Whether there is no such file, or nothing in it.
    private static func holdsNothing(_ path: String) -> Bool {
        var status = stat()
        return stat(path, &status) == 0 ? status.st_size == 0 : errno == ENOENT
    }

    /// Ends the session: directories without pending files are removed, the others keep their files for the next mount.
    public func closeSession() {
        spares.close()
        let sessions = contents.withLock { [session] + $0.adopted }
        for session in sessions {
            let kept = Self.entries(of: session.directory)
            if kept.contains(where: { name in
                name.hasSuffix(Self.planSuffix)
                    || name.hasSuffix(StagingPair.journalSuffix) && !Journal.isSpare(session.directory + "/" + name)
            })
                || Self.holdsRequests(kept, in: session.directory)
            {
                close(session.lockDescriptor)
            } else {
                remove(session)
            }
        }
    }

    // MARK: Directories

    private static let lockTriesMax = 16

    /// Locks a session directory; nil when another process has it, or has just removed it. With `creating`, writes the owner
    /// file.
    private static func lock(_ directory: String, creating identity: String?) throws(StagingError) -> Session? {
        let path = directory + "/owner"
        let descriptor = open(path, O_RDWR | O_CLOEXEC | (identity == nil ? 0 : O_CREAT), 0o600)
        guard descriptor >= 0 else { throw .disk(code: errno, action: "opening \(path)") }
        guard isLocked(descriptor, of: path) else {
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

    /// Locks an owner file that was opened; false when another process has it, or removed it in between.
    static func isLocked(_ descriptor: Int32, of path: String) -> Bool {
        guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else { return false }
        var (opened, found) = (stat(), stat())
        return fstat(descriptor, &opened) == 0 && stat(path, &found) == 0
            && (opened.st_dev, opened.st_ino) == (found.st_dev, found.st_ino)
    }

    private func remove(_ session: Session) {
        for name in Self.entries(of: session.directory) where name != "owner" {
            disk.remove(session.directory + "/" + name)
        }
        disk.remove(session.directory + "/owner")
        rmdir(session.directory)
        close(session.lockDescriptor)
    }

    /// Whether one of these files is a journal of removals or markers with something in it.
    private static func holdsRequests(_ names: [String], in directory: String) -> Bool {
        names.contains { name in
            var status = stat()
            return (name.hasSuffix(RemovalJournal.suffix) || name.hasSuffix(MarkerJournal.suffix))
                && stat(directory + "/" + name, &status) == 0 && status.st_size > 0
        }
    }

    private static func makeDirectory(_ path: String) throws(StagingError) {
        guard mkdir(path, 0o700) == 0 || errno == EEXIST else { throw .disk(code: errno, action: "creating \(path)") }
    }

    static func entries(of directory: String) -> [String] {
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
        entries(of: directory).filter { $0.hasSuffix(StagingPair.dataSuffix) }.reduce(0) { total, name in
            var status = stat()
            return lstat(directory + "/" + name, &status) == 0 ? total + Int(status.st_blocks) * 512 : total
        }
    }

    /// A line of a small file.
    static func readText(_ path: String, line: Int = 0) -> String? {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        var bytes = [UInt8](repeating: 0, count: 4096)
        let count = read(descriptor, &bytes, bytes.count)
        guard count >= 0 else { return nil }
        let lines = bytes[..<count].split(separator: 0x0a, omittingEmptySubsequences: false)
        return line < lines.count ? String(decoding: lines[line], as: UTF8.self) : nil
    }
}

/// A journal of requests that an ended mount had acknowledged and not carried out.
public struct LeftRequests<Request: Sendable>: Sendable {
    let path: String
    /// Those for one key are in their order.
    public let requests: [Request]
}

/// Staged data of a bucket that is not this mount's.
public struct StagingLeftover: Sendable, Equatable {
    public let bucketIdentity: String
    /// Where that was mounted; empty when it is not known.
    public let mountpoint: String
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
    init(journal path: String, uploads: [UploadReference], _ disk: StagingDisk) {
        let left = Lock(uploads)
        self.init(uploads: uploads) { ended in
            let isLast = left.withLock { left in
                left.removeAll { $0 == ended }
                return left.isEmpty
            }
            if isLast { disk.remove(path) }
        }
    }
}
