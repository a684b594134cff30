// SQLite's C interface, with Swift's types and errors.

internal import CSQLite

/// What SQLite could not do.
struct SQLiteError: Error, Equatable {
    /// The primary result code, of <sqlite3.h>.
    let code: Int32
    let message: String

    /// Whether the file is of no use any more, rather than the disk or another process in the way.
    /// A file that was cut while it is open reads short, which SQLite calls an I/O error.
    var isDamage: Bool { [SQLITE_CORRUPT, SQLITE_NOTADB, SQLITE_MISMATCH, SQLITE_IOERR].contains(code) }
    var isFull: Bool { code == SQLITE_FULL }
    var isBusy: Bool { code == SQLITE_BUSY }
}

/// An open database. Its statements are prepared once and kept. Not thread-safe: one thread owns it.
final class SQLiteDatabase {
    private let connection: OpaquePointer
    private var statements: [String: OpaquePointer] = [:]

    /// Opens or creates the file; the directory must be there.
    init(path: String, busyMilliseconds: Int32) throws(SQLiteError) {
        var opened: OpaquePointer?
        let flags =
            SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_NOFOLLOW
            | SQLITE_OPEN_PRIVATECACHE
        let code = sqlite3_open_v2(path, &opened, flags, nil)
        guard code == SQLITE_OK, let opened else {
            let message = opened.map { String(cString: sqlite3_errmsg($0)) } ?? "out of memory"
            sqlite3_close_v2(opened)
            throw SQLiteError(code: code & 0xff, message: message)
        }
        connection = opened
        sqlite3_busy_timeout(connection, busyMilliseconds)
    }

    deinit {
        for statement in statements.values { sqlite3_finalize(statement) }
        sqlite3_close_v2(connection)
    }

    private func failure(_ code: Int32) -> SQLiteError {
        SQLiteError(code: code & 0xff, message: String(cString: sqlite3_errmsg(connection)))
    }

    /// Runs statements that take and give no values.
    func execute(_ text: String) throws(SQLiteError) {
        let code = sqlite3_exec(connection, text, nil, nil, nil)
        if code != SQLITE_OK { throw failure(code) }
    }

    /// How many rows the last statement changed.
    var changeCount: Int { Int(sqlite3_changes(connection)) }

    /// Runs one statement.
    /// - Parameter row: called for each row of the result; false ends the statement.
    func run(
        _ text: String, _ values: [SQLiteValue] = [], row: ((SQLiteRow) -> Bool)? = nil
    ) throws(SQLiteError) {
        let statement = try prepared(text)
        defer {
            sqlite3_reset(statement)
            sqlite3_clear_bindings(statement)
        }
        for (index, value) in values.enumerated() {
            let position = Int32(index + 1)
            let code: Int32 =
                switch value {
                case .integer(let number): sqlite3_bind_int64(statement, position, number)
                // SAFETY: SQLite copies the bytes within the call.
                case .blob(let bytes):
                    bytes.withUnsafeBytes {
                        pail_sqlite_bind_blob(statement, position, $0.baseAddress, Int32($0.count))
                    }
                }
            if code != SQLITE_OK { throw failure(code) }
        }
        while true {
            let code = sqlite3_step(statement)
            switch code {
            case SQLITE_ROW: if let row, !row(SQLiteRow(statement: statement)) { return }
            case SQLITE_DONE: return
            default: throw failure(code)
            }
        }
    }

    /// Runs `body` as one change: all of it, or nothing of it.
    func transaction(_ body: () throws(SQLiteError) -> Void) throws(SQLiteError) {
        try execute("BEGIN IMMEDIATE")
        do throws(SQLiteError) {
            try body()
            try execute("COMMIT")
        } catch {
            // Some errors have ended the transaction themselves.
            try? execute("ROLLBACK")
            throw error
        }
    }

    private func prepared(_ text: String) throws(SQLiteError) -> OpaquePointer {
        if let known = statements[text] { return known }
        var statement: OpaquePointer?
        let code = sqlite3_prepare_v3(connection, text, -1, UInt32(SQLITE_PREPARE_PERSISTENT), &statement, nil)
        guard code == SQLITE_OK, let statement else { throw failure(code) }
        statements[text] = statement
        return statement
    }
}

enum SQLiteValue {
    case integer(Int64)
    case blob([UInt8])
}

/// The present row of a running statement; valid during the call that gets it.
struct SQLiteRow {
    fileprivate let statement: OpaquePointer

    func integer(_ column: Int32) -> Int64 { sqlite3_column_int64(statement, column) }

    func blob(_ column: Int32) -> [UInt8] {
        // SAFETY: SQLite's pointer is valid until the next step or conversion; the bytes are copied here.
        guard let bytes = sqlite3_column_blob(statement, column) else { return [] }
        return Array(UnsafeRawBufferPointer(start: bytes, count: Int(sqlite3_column_bytes(statement, column))))
    }
}
