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
    private let disk: StagingDisk
    private var descriptor: Int32
    /// What was appended since the journal was last written whole.
    private var appendedBytes = 0
    private var wholeBytes = 0

    /// Creates the journal with its first records, replacing any earlier one atomically.
    init(path: String, records: [JournalRecord], disk: StagingDisk) throws(StagingError) {
        self.path = path
        self.disk = disk
        (descriptor, wholeBytes) = try Self.writeWhole(path: path, records: records, disk)
    }

    /// Opens an existing journal for appending, and returns its records. A last record that was cut off is removed: it was
    /// not acknowledged. Nil when the file is no journal, or is damaged in another way: then it is left as it is.
    static func load(
        path: String, disk: StagingDisk
    ) throws(StagingError) -> (journal: Journal, records: [JournalRecord])? {
        let descriptor = open(path, O_RDWR | O_APPEND | O_CLOEXEC)
        guard descriptor >= 0 else { throw .disk(code: errno, action: "opening the journal \(path)") }
        guard let bytes = readWhole(descriptor), bytes.starts(with: magic) else {
            close(descriptor)
            return nil
        }
        let (records, validByteCount, ending) = JournalRecord.decode(Array(bytes.dropFirst(magic.count)))
        guard case .begin? = records.first, ending != .damaged else {
            close(descriptor)
            return nil
        }
        // A torn tail must go before anything is appended behind it.
        if magic.count + validByteCount < bytes.count { ftruncate(descriptor, off_t(magic.count + validByteCount)) }
        return (Journal(path: path, descriptor: descriptor, disk: disk), records)
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
        try Self.writeAll(descriptor, bytes, path: path, disk)
        appendedBytes += bytes.count
    }

    /// Whether so much was appended that writing the present state anew makes it shorter: a file that is changed for days
    /// has a journal in proportion to its ranges, not to its writes.
    var isWorthRewriting: Bool { appendedBytes > max(64 << 10, 4 * wholeBytes) }

    /// Replaces the whole journal atomically (rename): for a new key, a new base, or to drop what no longer counts.
    func rewrite(_ records: [JournalRecord]) throws(StagingError) {
        let fresh = try Self.writeWhole(path: path, records: records, disk)
        close(descriptor)
        (descriptor, wholeBytes) = fresh
        appendedBytes = 0
    }

    private static func writeWhole(
        path: String, records: [JournalRecord], _ disk: StagingDisk
    ) throws(StagingError) -> (descriptor: Int32, byteCount: Int) {
        let temporary = path + ".new"
        let descriptor = try disk.create(temporary, O_RDWR | O_TRUNC | O_APPEND, "creating the journal")
        let bytes = records.reduce(into: magic) { $0 += $1.encoded() }
        do throws(StagingError) {
            try writeAll(descriptor, bytes, path: temporary, disk)
            guard rename(temporary, path) == 0 else { throw .disk(code: errno, action: "renaming the journal \(path)") }
        } catch {
            close(descriptor)
            unlink(temporary)
            throw error
        }
        return (descriptor, bytes.count)
    }

    private static func writeAll(
        _ descriptor: Int32, _ bytes: [UInt8], path: String, _ disk: StagingDisk
    ) throws(StagingError) {
        let length = lseek(descriptor, 0, SEEK_END)
        let result = bytes.withUnsafeBytes { buffer in
            Result { () throws(StagingError) in
                try disk.write(buffer, to: descriptor, at: nil, "the journal \(path)")
            }
        }
        if case .success(bytes.count) = result { return }
        // A half-written record would hide all that follow it.
        if length >= 0 { ftruncate(descriptor, length) }
        _ = try result.get()
        throw .disk(code: ENOSPC, action: "writing the journal \(path)")
    }

    private static func readWhole(_ descriptor: Int32) -> [UInt8]? {
        let length = lseek(descriptor, 0, SEEK_END)
        guard length >= 0, length <= 1 << 31 else { return nil }
        var bytes = [UInt8](repeating: 0, count: Int(length))
        let count = bytes.withUnsafeMutableBytes { pread(descriptor, $0.baseAddress, $0.count, 0) }
        return count == Int(length) ? bytes : nil
    }
}
