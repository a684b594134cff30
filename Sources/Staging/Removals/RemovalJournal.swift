// The journal of removals that were acknowledged before the store had made them.

internal import Base
internal import Glibc
public import ObjectModel

/// An object that is to be removed: only as long as it is what the program removed.
public struct Removal: Sendable, Equatable {
    public let version: ObjectVersion
    /// The store's LastModified of that version, in seconds; nil when it is not known (this mount wrote it).
    public let storeSeconds: Int64?
    /// When the removal was acknowledged, by this machine's clock, in seconds.
    public let acknowledgedSeconds: Int64

    public init(_ version: ObjectVersion, storeSeconds: Int64?, acknowledgedSeconds: Int64) {
        self.version = version
        self.storeSeconds = storeSeconds
        self.acknowledgedSeconds = acknowledgedSeconds
    }

    /// Whether an object found long after is still the one that was removed. The same bytes written anew have the same
    /// ETag, so the time counts, too; in doubt it is another one, and stays.
    func isStill(_ info: ObjectInfo) -> Bool {
        guard info.version.etag == version.etag else { return false }
        guard let storeSeconds else { return info.lastModified.seconds <= acknowledgedSeconds }
        return info.lastModified.seconds == storeSeconds
    }
}

/// One append-only file of a mount's state directory: removals, and which of them are over. It is emptied whenever none is
/// left. What it says survives kill -9: a record is one `write(2)`, and a torn last one was not acknowledged. Thread-safe.
final class RemovalJournal: Sendable {
    private struct State {
        var descriptor: Int32 = -1
        var openCount = 0
    }

    static let suffix = ".removals"

    private enum Tag: UInt8 {
        case acknowledged = 1
        case ended = 2
    }

    let path: String
    // A leaf lock; a write to the page cache happens under it, so that records are whole and in order.
    private let state = Lock(State())

    /// - Parameter path: made with the first record.
    init(path: String) {
        self.path = path
    }

    deinit {
        state.withLock { if $0.descriptor >= 0 { close($0.descriptor) } }
    }

    /// After this the removal survives the process.
    func append(_ removal: Removal) throws(StagingError) {
        let bytes = Self.record { encoder in
            encoder.put(Tag.acknowledged.rawValue)
            encoder.put(removal.version.key.string)
            encoder.put(removal.version.etag.value)
            encoder.put(removal.version.byteCount)
            encoder.put(removal.storeSeconds != nil)
            encoder.put(removal.storeSeconds ?? 0)
            encoder.put(removal.acknowledgedSeconds)
        }
        try state.withLock { state throws(StagingError) in
            if state.descriptor < 0 {
                state.descriptor = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o600)
                guard state.descriptor >= 0 else { throw .disk(code: errno, action: "creating \(path)") }
            }
            try write(bytes, to: state.descriptor)
            state.openCount += 1
        }
    }

    /// These removals are over: made, or given up. That one is not written down is no harm but a question to the store at
    /// the next mount, unless the key is used again: so whoever waits for the key is let go only when this succeeded.
    func end(_ keys: [ObjectKey]) throws(StagingError) {
        let bytes = Self.record { encoder in
            encoder.put(Tag.ended.rawValue)
            encoder.put(UInt32(keys.count))
            for key in keys { encoder.put(key.string) }
        }
        try state.withLock { state throws(StagingError) in
            guard state.descriptor >= 0 else { return }
            if state.openCount == keys.count {
                guard ftruncate(state.descriptor, 0) == 0 else { throw .disk(code: errno, action: "emptying \(path)") }
            } else {
                try write(bytes, to: state.descriptor)
            }
            state.openCount -= keys.count
        }
    }

    /// What a journal of an ended mount says is not over; nil when the file is damaged before its end.
    static func load(_ path: String) -> [Removal]? {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return errno == ENOENT ? [] : nil }
        defer { close(descriptor) }
        let length = lseek(descriptor, 0, SEEK_END)
        guard length >= 0, length <= 1 << 31 else { return nil }
        var bytes = [UInt8](repeating: 0, count: Int(length))
        // SAFETY: the array has room for all that is asked for.
        guard bytes.withUnsafeMutableBytes({ pread(descriptor, $0.baseAddress, $0.count, 0) }) == bytes.count else {
            return nil
        }
        return decode(bytes)
    }

    /// See `load`. Of one key the last record counts.
    static func decode(_ bytes: [UInt8]) -> [Removal]? {
        var open: [ObjectKey: Removal] = [:]
        var position = 0
        while position < bytes.count {
            var head = ByteDecoder(bytes, from: position)
            // A record that was cut off is the last one, and was not acknowledged.
            guard let length: UInt32 = head.integer(), let sum: UInt32 = head.integer(),
                let payload = head.take(Int(length))
            else { break }
            guard CRC32C.of(payload) == sum else { return nil }
            position = head.position
            var body = ByteDecoder(payload, from: 0)
            switch body.integer().flatMap(Tag.init) {
            case .acknowledged:
                guard let key = body.string().flatMap({ ObjectKey($0) }),
                    let etag = body.string().flatMap({ ETag($0) }),
                    let byteCount = body.count(), let hasTime = body.bool(), let time: Int64 = body.integer(),
                    let acknowledged: Int64 = body.integer()
                else { return nil }
                open[key] = Removal(
                    ObjectVersion(key: key, etag: etag, byteCount: byteCount), storeSeconds: hasTime ? time : nil,
                    acknowledgedSeconds: acknowledged)
            case .ended:
                guard let count: UInt32 = body.integer() else { return nil }
                for _ in 0..<count {
                    guard let key = body.string().flatMap({ ObjectKey($0) }) else { return nil }
                    open[key] = nil
                }
            case nil: return nil
            }
        }
        return Array(open.values)
    }

    /// Length and checksum, then what `fill` encodes.
    private static func record(_ fill: (inout ByteEncoder) -> Void) -> [UInt8] {
        var payload = ByteEncoder()
        fill(&payload)
        var head = ByteEncoder()
        head.put(UInt32(payload.bytes.count))
        head.put(CRC32C.of(payload.bytes))
        return head.bytes + payload.bytes
    }

    private func write(_ bytes: [UInt8], to descriptor: Int32) throws(StagingError) {
        let length = lseek(descriptor, 0, SEEK_END)
        let written = bytes.withUnsafeBytes { buffer in
            var result: Int
            repeat {
                result = Glibc.write(descriptor, buffer.baseAddress, buffer.count)
            } while result < 0 && errno == EINTR
            return result
        }
        guard written == bytes.count else {
            let code = written < 0 ? errno : ENOSPC
            // A half-written record would hide all that follow it.
            if length >= 0 { ftruncate(descriptor, length) }
            throw .disk(code: code, action: "writing \(path)")
        }
    }
}
