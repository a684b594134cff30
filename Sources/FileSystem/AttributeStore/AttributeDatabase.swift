// The tables of the attribute store, and what is done with them. One thread at a time.

internal import Base
internal import CSQLite
internal import Glibc
internal import ObjectModel

/// Rows by directory (key prefix) and name.
///
/// Directories are numbered, so that a row does not repeat the prefix, and so that renaming a tree touches as many rows as
/// it has directories. `seen` counts mounts: room is made by removing the entries of the directories that have not been
/// seen for the longest time.
struct AttributeDatabase {
    private static let formatVersion = 2
    private static let pageBytes = 4096
    /// How long a change waits for another mount's. SQLite looks again at growing intervals and is not fair: beside a mount
    /// that walks a tree on a slow disk, a second may pass.
    private static let busyMilliseconds: Int32 = 5000

    private let database: SQLiteDatabase
    private let limitBytes: Int
    /// The present mount's number.
    private let session: Int64

    /// Opens the file, or makes it.
    init(path: String, limitBytes: Int) throws(SQLiteError) {
        database = try SQLiteDatabase(path: path, busyMilliseconds: Self.busyMilliseconds)
        self.limitBytes = limitBytes
        // WAL without fsync: consistent after kill -9. After a power cut the file may be damaged, which is noticed.
        try Self.beginLogging(database)
        try database.execute(
            """
            PRAGMA synchronous = OFF; PRAGMA temp_store = MEMORY; PRAGMA mmap_size = 0;
            PRAGMA cache_size = -4096; PRAGMA cell_size_check = ON; PRAGMA trusted_schema = OFF;
            PRAGMA journal_size_limit = 4194304; PRAGMA max_page_count = \(max(64, limitBytes / Self.pageBytes))
            """)
        var version: Int64 = 0
        try database.run("PRAGMA user_version") { row in
            version = row.integer(0)
            return false
        }
        guard version == 0 || version == Self.formatVersion else {
            throw SQLiteError(code: SQLITE_NOTADB, message: "the format \(version) of another version of pail")
        }
        var counted: Int64 = 0
        let database = database
        try database.transaction { () throws(SQLiteError) in
            try database.execute(
                """
                CREATE TABLE IF NOT EXISTS directories(
                    id INTEGER PRIMARY KEY, prefix BLOB NOT NULL UNIQUE, flags INTEGER NOT NULL,
                    entries INTEGER NOT NULL, seen INTEGER NOT NULL);
                CREATE INDEX IF NOT EXISTS directories_by_use ON directories(seen);
                CREATE TABLE IF NOT EXISTS entries(
                    directory INTEGER NOT NULL, name BLOB NOT NULL, data BLOB NOT NULL, PRIMARY KEY(directory, name)
                ) WITHOUT ROWID;
                PRAGMA user_version = \(Self.formatVersion)
                """)
            try database.run("SELECT max(seen) FROM directories") { row in
                counted = row.integer(0)
                return false
            }
        }
        session = counted &+ 1
    }

    /// Turns the write-ahead log on. Two who make a new file's at once are in each other's way, and SQLite tells that without
    /// waiting; behind who holds the file it waits by itself, so that this is bounded by time.
    private static func beginLogging(_ database: SQLiteDatabase) throws(SQLiteError) {
        let time = SystemTime()
        let end = time.monotonicNanoseconds + UInt64(busyMilliseconds) * 1_000_000
        while true {
            do throws(SQLiteError) {
                return try database.execute("PRAGMA journal_mode = WAL")
            } catch {
                guard error.isBusy, time.monotonicNanoseconds < end else { throw error }
                usleep(10_000)
            }
        }
    }

    /// What is kept of a directory beside its entries. The checksum in `flags` is that of prefix, bits and `entryCount`.
    struct Directory: Equatable {
        var isListed = false
        var hasMarker = false
        /// So many rows there are: fewer are a damaged file, which SQLite does not always notice.
        fileprivate var entryCount: Int64 = 0

        fileprivate func flags(_ prefix: ByteString) -> Int64 {
            let bits: UInt8 = (isListed ? 1 : 0) | (hasMarker ? 2 : 0)
            let count = withUnsafeBytes(of: entryCount.littleEndian) { Array($0) }
            return Int64(CRC32C.of(Array(prefix.utf8) + count + [bits])) << 8 | Int64(bits)
        }

        fileprivate init?(flags: Int64, entryCount: Int64, prefix: ByteString) {
            isListed = flags & 1 != 0
            hasMarker = flags & 2 != 0
            self.entryCount = entryCount
            guard flags == self.flags(prefix) else { return nil }
        }

        fileprivate init() {}
    }

    private struct Found {
        let id: Int64
        /// Nil when its checksum does not hold.
        let directory: Directory?
        let seen: Int64
    }

    private func find(_ prefix: ByteString) throws(SQLiteError) -> Found? {
        var found: Found?
        try database.run(
            "SELECT id, flags, entries, seen FROM directories WHERE prefix = ?", [.blob(Array(prefix.utf8))]
        ) { row in
            found = Found(
                id: row.integer(0),
                directory: Directory(flags: row.integer(1), entryCount: row.integer(2), prefix: prefix),
                seen: row.integer(3))
            return false
        }
        return found
    }

    private func findOrMake(_ prefix: ByteString) throws(SQLiteError) -> (id: Int64, directory: Directory) {
        if let found = try find(prefix) { return (found.id, found.directory ?? Directory()) }
        let directory = Directory()
        try database.run(
            "INSERT INTO directories(prefix, flags, entries, seen) VALUES(?, ?, 0, ?)",
            [.blob(Array(prefix.utf8)), .integer(directory.flags(prefix)), .integer(session)])
        return (try find(prefix)?.id ?? 0, directory)
    }

    private func update(_ id: Int64, _ directory: Directory, prefix: ByteString) throws(SQLiteError) {
        try database.run(
            "UPDATE directories SET prefix = ?, flags = ?, entries = ? WHERE id = ?",
            [
                .blob(Array(prefix.utf8)), .integer(directory.flags(prefix)), .integer(directory.entryCount),
                .integer(id),
            ])
    }

    // MARK: Reading

    func directory(_ prefix: ByteString) throws(SQLiteError) -> Directory? { try find(prefix)?.directory }

    func entries(_ prefix: ByteString, names: [ByteString]) throws(SQLiteError) -> [ByteString: RememberedEntry] {
        guard let found = try find(prefix) else { return [:] }
        if found.seen != session {
            try database.run(
                "UPDATE directories SET seen = ? WHERE id = ?", [.integer(session), .integer(found.id)])
        }
        var result: [ByteString: RememberedEntry] = [:]
        for name in names {
            try database.run(
                "SELECT data FROM entries WHERE directory = ? AND name = ?",
                [.integer(found.id), .blob(Array(name.utf8))]
            ) { row in
                result[name] = RememberedEntry(row.blob(0), directory: prefix, name: name)
                return false
            }
        }
        return result
    }

    /// All entries, and what is kept of the directory itself.
    func everything(
        _ prefix: ByteString, countMax: Int
    ) throws(SQLiteError) -> (directory: Directory, entries: [ByteString: RememberedEntry])? {
        guard let found = try find(prefix), var directory = found.directory else { return nil }
        var result: [ByteString: RememberedEntry] = [:]
        try database.run("SELECT name, data FROM entries WHERE directory = ?", [.integer(found.id)]) { row in
            guard let text = String(validating: row.blob(0), as: UTF8.self) else {
                directory.isListed = false
                return true
            }
            let name = ByteString(text)
            if result.count < countMax, let entry = RememberedEntry(row.blob(1), directory: prefix, name: name) {
                result[name] = entry
            } else {
                // What cannot be shown makes the listing one that is not whole.
                directory.isListed = false
            }
            return result.count < countMax
        }
        if result.count != directory.entryCount { directory.isListed = false }
        return (directory, result)
    }

    // MARK: Changing

    func put(_ prefix: ByteString, _ entries: [(ByteString, RememberedEntry)]) throws(SQLiteError) {
        try change { () throws(SQLiteError) in
            var (id, directory) = try findOrMake(prefix)
            let known = directory.entryCount
            for (name, entry) in entries {
                let (name, data) = (Array(name.utf8), entry.encoded(directory: prefix, name: name))
                try database.run(
                    "INSERT OR IGNORE INTO entries(directory, name, data) VALUES(?, ?, ?)",
                    [.integer(id), .blob(name), .blob(data)])
                if database.changeCount > 0 {
                    directory.entryCount += 1
                } else {
                    try database.run(
                        "UPDATE entries SET data = ? WHERE directory = ? AND name = ?",
                        [.blob(data), .integer(id), .blob(name)])
                }
            }
            if directory.entryCount != known { try update(id, directory, prefix: prefix) }
        }
    }

    func remove(_ prefix: ByteString, _ names: [ByteString]) throws(SQLiteError) {
        try change { () throws(SQLiteError) in
            guard let found = try find(prefix) else { return }
            var directory = found.directory ?? Directory()
            let known = directory.entryCount
            for name in names {
                try database.run(
                    "DELETE FROM entries WHERE directory = ? AND name = ?",
                    [.integer(found.id), .blob(Array(name.utf8))])
                directory.entryCount -= Int64(database.changeCount)
            }
            if directory.entryCount != known { try update(found.id, directory, prefix: prefix) }
        }
    }

    /// A directory was listed to its end: names that are not among `names` are no more.
    func noteListed(_ prefix: ByteString, hasMarker: Bool, names: [ByteString]) throws(SQLiteError) {
        try change { () throws(SQLiteError) in
            var (id, directory) = try findOrMake(prefix)
            var kept: [ByteString] = []
            let listed = Set(names)
            try database.run("SELECT name FROM entries WHERE directory = ?", [.integer(id)]) { row in
                kept.append(ByteString(String(decoding: row.blob(0), as: UTF8.self)))
                return true
            }
            let gone = kept.filter { !listed.contains($0) }
            for name in gone {
                try database.run(
                    "DELETE FROM entries WHERE directory = ? AND name = ?", [.integer(id), .blob(Array(name.utf8))])
            }
            // Entries that were not written, because something was in the way, are missing in an offline listing.
            directory.isListed = kept.count - gone.count == listed.count
            directory.hasMarker = hasMarker
            directory.entryCount = Int64(kept.count - gone.count)
            try update(id, directory, prefix: prefix)
            try database.run("UPDATE directories SET seen = ? WHERE id = ?", [.integer(session), .integer(id)])
        }
    }

    /// What is known of a directory and everything below it is forgotten.
    func removeTree(_ prefix: ByteString) throws(SQLiteError) {
        try change { () throws(SQLiteError) in
            for (id, _) in try tree(prefix) {
                try database.run("DELETE FROM entries WHERE directory = ?", [.integer(id)])
                try database.run("DELETE FROM directories WHERE id = ?", [.integer(id)])
            }
        }
    }

    /// A directory was renamed: what was known below it is known below the new name.
    func moveTree(_ old: ByteString, to new: ByteString) throws(SQLiteError) {
        try removeTree(new)
        try change { () throws(SQLiteError) in
            for (id, prefix) in try tree(old) {
                let moved = new + prefix.dropFirst(old.count)
                guard let directory = try find(prefix)?.directory else { continue }
                // The checksums say where rows stand, so each is written anew.
                var entries: [(ByteString, RememberedEntry)] = []
                try database.run("SELECT name, data FROM entries WHERE directory = ?", [.integer(id)]) { row in
                    let name = ByteString(String(decoding: row.blob(0), as: UTF8.self))
                    if let entry = RememberedEntry(row.blob(1), directory: prefix, name: name) {
                        entries.append((name, entry))
                    }
                    return true
                }
                for (name, entry) in entries {
                    try database.run(
                        "UPDATE entries SET data = ? WHERE directory = ? AND name = ?",
                        [
                            .blob(entry.encoded(directory: moved, name: name)), .integer(id),
                            .blob(Array(name.utf8)),
                        ])
                }
                try update(id, directory, prefix: moved)
            }
        }
    }

    private func tree(_ prefix: ByteString) throws(SQLiteError) -> [(id: Int64, prefix: ByteString)] {
        // Prefixes end with a slash, so what is below begins with it; the byte behind a slash ends the range.
        precondition(prefix.utf8.last == UInt8(ascii: "/"), "the whole bucket is never moved")
        var end = Array(prefix.utf8)
        end[end.count - 1] += 1
        var result: [(Int64, ByteString)] = []
        try database.run(
            "SELECT id, prefix FROM directories WHERE prefix >= ? AND prefix < ?",
            [.blob(Array(prefix.utf8)), .blob(end)]
        ) { row in
            result.append((row.integer(0), ByteString(String(decoding: row.blob(1), as: UTF8.self))))
            return true
        }
        return result
    }

    // MARK: Room

    /// One change; where there is no room, after making some.
    private func change(_ body: () throws(SQLiteError) -> Void) throws(SQLiteError) {
        do throws(SQLiteError) {
            try database.transaction(body)
        } catch {
            guard error.isFull else { throw error }
            try makeRoom()
            try database.transaction(body)
        }
    }

    /// Removes the entries of directories not seen for long, until a quarter of the file is free.
    private func makeRoom() throws(SQLiteError) {
        let wanted = Int64(limitBytes / Self.pageBytes / 4)
        while try freePageCount() < wanted {
            var oldest: [Int64] = []
            try database.run("SELECT id FROM directories ORDER BY seen LIMIT 32") { row in
                oldest.append(row.integer(0))
                return true
            }
            if oldest.isEmpty { return }
            try database.transaction { () throws(SQLiteError) in
                for id in oldest {
                    try database.run("DELETE FROM entries WHERE directory = ?", [.integer(id)])
                    try database.run("DELETE FROM directories WHERE id = ?", [.integer(id)])
                }
            }
        }
    }

    private func freePageCount() throws(SQLiteError) -> Int64 {
        var count: Int64 = 0
        try database.run("PRAGMA freelist_count") { row in
            count = row.integer(0)
            return false
        }
        return count
    }
}
