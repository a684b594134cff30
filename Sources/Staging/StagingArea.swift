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
    }

    private let session: Session
    private let limitBytes: Int?
    private let nextNumber = Atomic<UInt64>(0)
    // A leaf lock.
    private let contents = Lock(Contents())

    /// Opens a fresh session directory.
    /// - Parameters:
    ///   - stateDirectory: exists, mode 0700, ours.
    ///   - bucketIdentity: what tells this bucket from any other: endpoint and bucket name. One line.
    ///   - limitBytes: the most dirty bytes on the local disk; nil leaves it to the disk's size.
    public init(stateDirectory: String, bucketIdentity: String, limitBytes: Int?) throws(StagingError) {
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
        self.bucketIdentity = bucketIdentity
        self.stagingRoot = root
    }

    private let bucketIdentity: String
    private let stagingRoot: String

    // MARK: Files

    /// Begins a new staged file.
    /// - Parameter isChanged: whether it already differs from its base (a new file does).
    public func create(_ identity: StagedIdentity, isChanged: Bool) throws(StagingError) -> StagedFile {
        let id = String(nextNumber.wrappingAdd(1, ordering: .relaxed).newValue, radix: 16)
        let path = StagedFile.dataPath(session.directory, id)
        let descriptor = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw .disk(code: errno, action: "creating \(path)") }
        let journal: Journal
        do throws(StagingError) {
            journal = try Journal(
                path: StagedFile.journalPath(session.directory, id),
                records: isChanged ? [.begin(identity)] : [.begin(identity), .published])
        } catch {
            close(descriptor)
            unlink(path)
            throw error
        }
        // From `baseByteCount` on there is no base: a new file with a length begins as a hole.
        var local = ByteRangeSet()
        if identity.byteCount > identity.baseByteCount {
            local.insert(ByteRange(identity.baseByteCount, identity.byteCount))
            ftruncate(descriptor, off_t(identity.byteCount))
        }
        let file = StagedFile(
            id: id, directory: session.directory, area: self, descriptor: descriptor, identity: identity,
            journal: journal,
            local: local, dirty: local, isChanged: isChanged)
        contents.withLock { $0.files[file.dataPath] = file }
        return file
    }

    /// Removes the file's traces from the disk: its bytes are in the bucket, or not wanted any more.
    /// They stay readable through the object until its last reference goes.
    public func forget(_ file: StagedFile) {
        let known = contents.withLock { $0.files.removeValue(forKey: file.dataPath) != nil }
        guard known else { return }
        // The journal first: data without a journal is nothing, a journal without data would be damage.
        unlink(file.journalPath)
        unlink(file.dataPath)
    }

    /// All files, those of adopted sessions included.
    public var files: [StagedFile] { contents.withLock { Array($0.files.values) } }

    /// Whether writers should wait: the dirty bytes have reached the limit.
    public func isFull(adding byteCount: Int) -> Bool {
        guard let limitBytes else { return false }
        return files.reduce(0) { $0 + $1.dirtyByteCount } + byteCount > limitBytes
    }

    public var limit: Int? { limitBytes }

    // MARK: What others left

    /// Takes over what ended mounts of this bucket left behind.
    /// - Returns: the files with data that is not in the bucket, and what is left of other buckets.
    public func adoptLeftovers() -> (adopted: [StagedFile], foreign: [StagingLeftover], damaged: [String]) {
        var adopted: [StagedFile] = []
        var foreign: [StagingLeftover] = []
        var damaged: [String] = []
        for name in Self.entries(of: stagingRoot) {
            let directory = stagingRoot + "/" + name
            guard directory != session.directory, let found = try? Self.lock(directory, creating: nil) else { continue }
            let identity = Self.readText(directory + "/owner") ?? ""
            let journals = Self.entries(of: directory).filter { $0.hasSuffix(".journal") }
            guard identity == bucketIdentity else {
                if journals.isEmpty {
                    Self.remove(found)
                } else {
                    foreign.append(
                        StagingLeftover(bucketIdentity: identity, directory: directory, fileCount: journals.count))
                    close(found.lockDescriptor)
                }
                continue
            }
            var loaded = 0
            for journal in journals {
                let id = String(journal.dropLast(".journal".count))
                do throws(StagingError) {
                    switch try load(id: id, directory: directory) {
                    case .pending(let file):
                        adopted.append(file)
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
        case unchanged
        case damaged
    }

    private func load(id: String, directory: String) throws(StagingError) -> Loaded {
        guard let (journal, records) = try Journal.load(path: StagedFile.journalPath(directory, id)),
            case .begin(var identity)? = records.first
        else { return .damaged }
        var local = ByteRangeSet()
        if identity.byteCount > identity.baseByteCount {
            local.insert(ByteRange(identity.baseByteCount, identity.byteCount))
        }
        var dirty = local
        var isChanged = true
        var uncertain: [PublicationMark] = []
        for record in records.dropFirst() {
            isChanged = true
            switch record {
            case .published: isChanged = false
            case .sending(let mark): uncertain.append(mark)
            case .begin(let again): identity = again
            case .wrote(let range):
                local.insert(range)
                dirty.insert(range)
                identity.byteCount = max(identity.byteCount, range.upperBound)
            case .truncated(let byteCount):
                StagedFile.applyTruncate(
                    to: byteCount, from: identity.byteCount, identity: &identity, local: &local, dirty: &dirty)
            case .properties(let properties): identity.properties = properties
            }
        }
        if !isChanged { return .unchanged }
        let path = StagedFile.dataPath(directory, id)
        let descriptor = open(path, O_RDWR | O_CLOEXEC)
        guard descriptor >= 0 else { throw .disk(code: errno, action: "opening \(path)") }
        // A data file shorter than its journal has lost bytes: never fill them up with zeros.
        var status = stat()
        let isWhole = fstat(descriptor, &status) == 0 && Int(status.st_size) >= (local.ranges.last?.upperBound ?? 0)
        let endsInTruncate = if case .truncated? = records.last { true } else { false }
        guard isWhole || endsInTruncate else {
            close(descriptor)
            return .damaged
        }
        ftruncate(descriptor, off_t(identity.byteCount))
        let file = StagedFile(
            id: id, directory: directory, area: self, descriptor: descriptor, identity: identity, journal: journal,
            local: local, dirty: dirty, isChanged: true, uncertain: uncertain)
        contents.withLock { $0.files[file.dataPath] = file }
        return .pending(file)
    }

    /// Ends the session: directories without pending files are removed, the others keep their files for the next mount.
    public func closeSession() {
        let sessions = contents.withLock { [session] + $0.adopted }
        for session in sessions {
            if Self.entries(of: session.directory).contains(where: { $0.hasSuffix(".journal") }) {
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

/// Staged data of a bucket that is not this mount's.
public struct StagingLeftover: Sendable, Equatable {
    public let bucketIdentity: String
    public let directory: String
    public let fileCount: Int
}
