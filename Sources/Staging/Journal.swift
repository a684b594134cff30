// The journal of one staged file: an append-only file of checksummed records beside the data.

internal import Glibc

/// Appends records so that they survive the death of the process at any instant.
///
/// A record is one `write(2)` to a file opened with O_APPEND: after it returns, kill -9 does not lose it. A torn last
/// record (the machine lost power) fails its CRC and ends the replay there.
///
/// SAFETY: `@unchecked Sendable`: used only under the lock of the staged file it belongs to.
final class Journal: @unchecked Sendable {
    private static let magic: [UInt8] = Array("PAILJRN1".utf8)

    private let path: String
    let disk: StagingDisk
    private var descriptor: Int32
    /// What was appended since the journal was last written whole.
    private var appendedBytes = 0
    private var wholeBytes = 0
    /// Whether it does not describe the file any more, and must be written whole before anything is appended.
    private(set) var isClosed = false

    /// Begins the journal of a new file. Its first record is the last thing that is needed for a file to be there.
    init(beginning path: String, records: [JournalRecord], disk: StagingDisk) throws(StagingError) {
        self.path = path
        self.disk = disk
        (descriptor, wholeBytes) = try Self.create(path, O_EXCL, records, disk)
    }

    /// Begins the journal of another file with an empty one.
    func begin(_ records: [JournalRecord]) throws(StagingError) {
        precondition(wholeBytes == Self.magic.count && appendedBytes == 0, "an empty journal")
        let bytes = records.reduce(into: []) { $0 += $1.encoded() }
        try disk.append(bytes, to: descriptor, "the journal \(path)")
        wholeBytes += bytes.count
    }

    /// Removes every record: its file is nothing any more. False when the disk refuses.
    func clear() -> Bool {
        guard disk.truncate(descriptor, to: Self.magic.count) else { return false }
        (appendedBytes, wholeBytes, isClosed) = (0, Self.magic.count, false)
        return true
    }

    /// Whether a journal was cleared, and is no file's.
    static func isSpare(_ path: String) -> Bool {
        var status = stat()
        return stat(path, &status) == 0 && Int(status.st_size) == magic.count
    }

    /// Replaces a journal atomically.
    static func replace(_ path: String, by records: [JournalRecord], disk: StagingDisk) throws(StagingError) {
        close(try createReplacing(path, records, disk).descriptor)
    }

    /// What a journal's file was found to be.
    enum Found {
        case whole(Journal, [JournalRecord])
        /// Without a record: whatever its data is, nobody wants it.
        case empty
        /// Not even its head is whole: it was just being made. Nothing was acknowledged by it, if there is no data file.
        case unmade
        /// Its first record was cut off. Nothing was acknowledged by it, if its data file has nothing either.
        case unfinished
        /// No journal, or damaged in another way than by being cut off: it is left as it is.
        case damaged
    }

    /// Opens an existing journal for appending, and returns its records. A last record that was cut off is removed: it was
    /// not acknowledged.
    static func load(path: String, disk: StagingDisk) throws(StagingError) -> Found {
        let descriptor = open(path, O_RDWR | O_APPEND | O_CLOEXEC)
        guard descriptor >= 0 else { throw .disk(code: errno, action: "opening the journal \(path)") }
        guard let bytes = readWhole(descriptor) else {
            close(descriptor)
            return .damaged
        }
        guard bytes.starts(with: magic) else {
            close(descriptor)
            return magic.starts(with: bytes) ? .unmade : .damaged
        }
        guard bytes.count > magic.count else {
            close(descriptor)
            return .empty
        }
        let (records, validByteCount, ending) = JournalRecord.decode(Array(bytes.dropFirst(magic.count)))
        guard case .begin? = records.first, ending != .damaged else {
            close(descriptor)
            return records.isEmpty && ending != .damaged ? .unfinished : .damaged
        }
        // A torn tail must go before anything is appended behind it.
        if magic.count + validByteCount < bytes.count { disk.truncate(descriptor, to: magic.count + validByteCount) }
        return .whole(Journal(path: path, descriptor: descriptor, disk: disk), records)
    }

    /// The records of a journal that may be another process's: nothing is opened for writing, a torn tail is left where it is.
    /// Nil for what is no journal, empty for one that begins no file.
    static func peek(_ path: String) -> [JournalRecord]? {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        guard let bytes = readWhole(descriptor) else { return nil }
        guard bytes.starts(with: magic) else { return magic.starts(with: bytes) ? [] : nil }
        return JournalRecord.decode(Array(bytes.dropFirst(magic.count))).records
    }

    private init(path: String, descriptor: Int32, disk: StagingDisk) {
        self.path = path
        self.disk = disk
        self.descriptor = descriptor
    }

    deinit {
        close(descriptor)
    }

    func append(_ record: JournalRecord) throws(StagingError) {
        let bytes = record.encoded()
        try disk.append(bytes, to: descriptor, "the journal \(path)")
        appendedBytes += bytes.count
    }

    /// Says that everything is in the bucket. The journal's base is an older one from here on, so it must be written whole
    /// before the next change; most files see none, and their journal goes as it is.
    func closePublished() {
        isClosed = true
        // Without room for it, a mount that finds the journal learns from the bucket that the upload was done.
        do throws(StagingError) { try append(.published) } catch {}
    }

    /// The last record did not come true: the journal must be written whole before the next one.
    func distrust() { isClosed = true }

    /// Whether so much was appended that writing the present state anew makes it shorter: a file that is changed for days
    /// has a journal in proportion to its ranges, not to its writes.
    var isWorthRewriting: Bool { appendedBytes > max(64 << 10, 4 * wholeBytes) }

    /// Replaces the whole journal atomically (rename): for a new key, a new base, or to drop what no longer counts.
    func rewrite(_ records: [JournalRecord]) throws(StagingError) {
        let fresh = try Self.createReplacing(path, records, disk)
        close(descriptor)
        (descriptor, wholeBytes) = fresh
        appendedBytes = 0
        isClosed = false
    }

    private static func createReplacing(
        _ path: String, _ records: [JournalRecord], _ disk: StagingDisk
    ) throws(StagingError) -> (descriptor: Int32, byteCount: Int) {
        let temporary = path + ".new"
        let fresh = try create(temporary, O_TRUNC, records, disk)
        guard disk.rename(temporary, to: path) else {
            let code = errno
            close(fresh.descriptor)
            disk.remove(temporary)
            throw .disk(code: code, action: "renaming the journal \(path)")
        }
        return fresh
    }

    private static func create(
        _ path: String, _ flags: Int32, _ records: [JournalRecord], _ disk: StagingDisk
    ) throws(StagingError) -> (descriptor: Int32, byteCount: Int) {
        let descriptor = try disk.create(path, O_RDWR | O_APPEND | flags, "creating the journal")
        let bytes = records.reduce(into: magic) { $0 += $1.encoded() }
        do throws(StagingError) {
            try disk.append(bytes, to: descriptor, "the journal \(path)")
        } catch {
            close(descriptor)
            disk.remove(path)
            throw error
        }
        return (descriptor, bytes.count)
    }

    private static func readWhole(_ descriptor: Int32) -> [UInt8]? {
        let length = lseek(descriptor, 0, SEEK_END)
        guard length >= 0, length <= 1 << 31 else { return nil }
        var bytes = [UInt8](repeating: 0, count: Int(length))
        let count = bytes.withUnsafeMutableBytes { pread(descriptor, $0.baseAddress, $0.count, 0) }
        return count == Int(length) ? bytes : nil
    }
}
