// What this machine has learnt of names and attributes, on disk: so that a remount shows full attributes without asking
// for them, inode numbers stay, and an offline mount has names to show.

public import Base
internal import Glibc
internal import ObjectModel

/// Where and how much is kept.
public struct AttributeStoreConfiguration: Sendable {
    /// Made where it is missing; for this user alone.
    public var directory: String
    /// Tells the bucket from others that share the directory.
    public var bucket: String
    /// Of the database file, in bytes. The entries of the directories not seen for longest make room.
    public var limitBytes = 256 << 20

    public init(directory: String, bucket: String) {
        self.directory = directory
        self.bucket = bucket
    }
}

/// Remembers entries of directories over mounts. Thread-safe; several mounts may share a file.
///
/// Nothing here ever fails an operation: what is not remembered is asked of the store. The file may be removed or damaged
/// at any time; damage begins a new one. All of SQLite is called on one thread. What is to be written waits in a bounded
/// queue; beyond it, it is not remembered.
public final class AttributeStore: Sendable {
    /// Below the cache directory.
    public static let directoryName = "names"
    private static let queueCountMax = 8192
    /// After a failure the disk is left alone for so long.
    private static let pauseNanoseconds: UInt64 = 30_000_000_000

    private let configuration: AttributeStoreConfiguration
    private let time: any TimeSource
    private let report: @Sendable (String) -> Void
    private let thread = WorkThreads(name: "pail-names", threadCount: 1, queueCountMax: queueCountMax)
    private let connection: Connection
    /// A leaf lock.
    private let unsettled = Lock(UnsettledEntries())

    /// SAFETY: `@unchecked Sendable` because only jobs of `thread`, which is one, touch it.
    private final class Connection: @unchecked Sendable {
        var database: AttributeDatabase?
        var nextTryNanoseconds: UInt64 = 0
        /// Damage before this comes from a disk that goes on failing.
        var patienceEndNanoseconds: UInt64 = 0
        var hasReported = false
    }

    /// - Parameter report: gets a line for the log when the file cannot be used, and when it was damaged.
    public init(
        configuration: AttributeStoreConfiguration, time: any TimeSource, report: @escaping @Sendable (String) -> Void
    ) {
        self.configuration = configuration
        self.time = time
        self.report = report
        connection = Connection()
    }

    /// Removes all that is remembered below a cache directory, of all buckets. Mounts that use it go on, and begin anew
    /// when they are next made.
    public static func clear(cacheDirectory: String) {
        let directory = "\(cacheDirectory)/\(directoryName)"
        guard let stream = opendir(directory) else { return }
        defer { closedir(stream) }
        while let entry = readdir(stream) {
            // SAFETY: the name is NUL-terminated, within the entry, and valid until the next readdir.
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if name.contains(".sqlite") { unlink("\(directory)/\(name)") }
        }
    }

    /// Returns once everything noted before is in the file.
    public func drain() async {
        put(unsettled.withLock { $0.takeAll() })
        await perform { (_) throws(SQLiteError) in }
    }

    // MARK: Asking

    /// What is remembered of some names of a directory.
    func entries(_ prefix: ByteString, names: [ByteString]) async -> [ByteString: RememberedEntry] {
        let recent = unsettled.withLock { unsettled in
            names.compactMap { name in unsettled[.init(prefix: prefix, name: name)].map { (name, $0) } }
        }
        let kept = await perform { (database) throws(SQLiteError) in try database.entries(prefix, names: names) }
        return (kept ?? [:]).merging(recent) { _, recent in recent }
    }

    /// Everything that is remembered of a directory; nil for one that is not known at all.
    func everything(
        _ prefix: ByteString, countMax: Int
    ) async -> (directory: AttributeDatabase.Directory, entries: [ByteString: RememberedEntry])? {
        put(unsettled.withLock { $0.takeAll() })
        return await perform { (database) throws(SQLiteError) in try database.everything(prefix, countMax: countMax) }
            ?? nil
    }

    // MARK: Noting

    /// What the store has told.
    func note(_ prefix: ByteString, _ entries: [(ByteString, RememberedEntry)]) {
        guard !entries.isEmpty else { return }
        forgetUnsettled(prefix, entries.map(\.0))
        submit { (database) throws(SQLiteError) in try database.put(prefix, entries) }
    }

    /// What this mount has just written: on disk when it is settled, or at the mount's end.
    func noteWritten(_ prefix: ByteString, _ name: ByteString, _ entry: RememberedEntry) {
        let now = time.monotonicNanoseconds
        put(
            unsettled.withLock { unsettled in
                unsettled.add(entry, at: .init(prefix: prefix, name: name), now: now)
                return unsettled.takeSettled(now: now)
            })
    }

    func noteRemoved(_ prefix: ByteString, _ names: [ByteString]) {
        guard !names.isEmpty else { return }
        forgetUnsettled(prefix, names)
        submit { (database) throws(SQLiteError) in try database.remove(prefix, names) }
    }

    /// A directory was listed to its end.
    func noteListed(_ prefix: ByteString, hasMarker: Bool, names: [ByteString]) {
        // Of what is not settled, the name alone: the directory's names on disk are to be all.
        let recent = unsettled.withLock { unsettled in
            names.compactMap { name in
                unsettled[.init(prefix: prefix, name: name)].map { (name, RememberedEntry(content: $0.content)) }
            }
        }
        submit { (database) throws(SQLiteError) in
            if !recent.isEmpty { try database.put(prefix, recent) }
            try database.noteListed(prefix, hasMarker: hasMarker, names: names)
        }
    }

    func noteTreeRemoved(_ prefix: ByteString) {
        unsettled.withLock { $0.forget(below: prefix) }
        submit { (database) throws(SQLiteError) in try database.removeTree(prefix) }
    }

    func noteTreeMoved(_ old: ByteString, to new: ByteString) {
        unsettled.withLock { unsettled in
            unsettled.forget(below: old)
            unsettled.forget(below: new)
        }
        submit { (database) throws(SQLiteError) in try database.moveTree(old, to: new) }
    }

    private func forgetUnsettled(_ prefix: ByteString, _ names: [ByteString]) {
        unsettled.withLock { unsettled in
            for name in names { unsettled.forget(.init(prefix: prefix, name: name)) }
        }
    }

    private func put(_ settled: [(place: UnsettledEntries.Place, entry: RememberedEntry)]) {
        for (prefix, entries) in Dictionary(grouping: settled, by: \.place.prefix) {
            let rows = entries.map { ($0.place.name, $0.entry) }
            submit { (database) throws(SQLiteError) in try database.put(prefix, rows) }
        }
    }

    // MARK: The thread

    private func submit(_ body: @escaping @Sendable (AttributeDatabase) throws(SQLiteError) -> Void) {
        // A full queue drops what it was given: it will be asked for again.
        _ = thread.submit { [self] in _ = attempt(body) }
    }

    private func perform<Value: Sendable>(
        _ body: @escaping @Sendable (AttributeDatabase) throws(SQLiteError) -> Value
    ) async -> Value? {
        await withCheckedContinuation { continuation in
            let isQueued = thread.submit { [self] in continuation.resume(returning: attempt(body)) }
            if !isQueued { continuation.resume(returning: nil) }
        }
    }

    /// On the thread only.
    private func attempt<Value>(_ body: (AttributeDatabase) throws(SQLiteError) -> Value) -> Value? {
        do throws(SQLiteError) {
            guard let database = try opened() else { return nil }
            return try body(database)
        } catch {
            failed(error)
            return nil
        }
    }

    private var path: String { "\(configuration.directory)/\(Self.fileName(configuration.bucket))" }

    private func opened() throws(SQLiteError) -> AttributeDatabase? {
        if let database = connection.database { return database }
        guard time.monotonicNanoseconds >= connection.nextTryNanoseconds else { return nil }
        guard makeDirectory() else {
            throw SQLiteError(code: 14, message: "\(configuration.directory): cannot be made, or is another user's")
        }
        if access(path, F_OK) != 0 { removeFile() }
        let database = try AttributeDatabase(path: path, limitBytes: configuration.limitBytes)
        connection.database = database
        connection.hasReported = false
        return database
    }

    private func failed(_ error: SQLiteError) {
        let now = time.monotonicNanoseconds
        if error.isDamage {
            connection.database = nil
            removeFile()
            if now < connection.patienceEndNanoseconds {
                connection.nextTryNanoseconds = now &+ Self.pauseNanoseconds
                return
            }
            connection.patienceEndNanoseconds = now &+ Self.pauseNanoseconds
            report("what was remembered of names and attributes is damaged and begun anew: \(error.message)")
            return
        }
        // Another process holds the file, or the disk fails: this once it is not remembered. Who holds it for so long is
        // stopped, maybe: nobody is to wait for that again and again.
        if error.isBusy { connection.database = nil }
        if connection.database == nil {
            connection.nextTryNanoseconds = now &+ Self.pauseNanoseconds
        }
        if !connection.hasReported {
            connection.hasReported = true
            report("names and attributes are not remembered on disk: \(path): \(error.message)")
        }
    }

    /// The file, and what SQLite keeps beside it: a log that stays behind would be taken for that of the next file.
    private func removeFile() {
        for suffix in ["", "-wal", "-shm", "-journal"] { unlink(path + suffix) }
    }

    private func makeDirectory() -> Bool {
        var path = ""
        for part in configuration.directory.pathComponents() {
            path += "/\(part)"
            mkdir(path, 0o700)
        }
        var status = Glibc.stat()
        return lstat(configuration.directory, &status) == 0 && status.st_mode & S_IFMT == S_IFDIR
            && status.st_uid == geteuid()
    }

    /// Two mounts of one bucket share a file; its name says nothing of it.
    private static func fileName(_ bucket: String) -> String {
        let text = String(StableHash.of(bucket.utf8), radix: 16)
        return String(repeating: "0", count: 16 - text.count) + text + ".sqlite"
    }
}
