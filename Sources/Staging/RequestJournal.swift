// The journal of small requests that were acknowledged before the store had carried them out.

internal import Base
internal import Glibc
internal import ObjectModel

/// What was acknowledged before the store was asked for it, and survives the process: a removal, a directory's marker.
protocol JournalledRequest: Sendable {
    /// Of the journal's file name.
    static var journalSuffix: String { get }

    var key: ObjectKey { get }

    func encode(into encoder: inout ByteEncoder)
    /// Nil when the bytes hold none.
    init?(from decoder: inout ByteDecoder)
}

/// One append-only file of a mount's state directory: requests of one kind, and which of them are over. It is emptied
/// whenever none is left. What it says survives kill -9: a record is one `write(2)`, and a torn last one was not
/// acknowledged. Thread-safe.
final class RequestJournal<Request: JournalledRequest>: Sendable {
    private struct State {
        var descriptor: Int32 = -1
        /// Keys with requests that are not over.
        var open: Set<ObjectKey> = []
    }

    static var suffix: String { Request.journalSuffix }

    private enum Tag: UInt8 {
        case acknowledged = 1
        case ended = 2
    }

    let path: String
    private let disk: StagingDisk
    // A leaf lock; a write to the page cache happens under it, so that records are whole and in order.
    private let state = Lock(State())

    /// - Parameter path: made with the first record.
    init(path: String, disk: StagingDisk = StagingDisk()) {
        self.path = path
        self.disk = disk
    }

    deinit {
        state.withLock { if $0.descriptor >= 0 { close($0.descriptor) } }
    }

    /// After this the request survives the process; also beside earlier ones for the same key.
    func append(_ request: Request) throws(StagingError) {
        let bytes = Self.record { encoder in
            encoder.put(Tag.acknowledged.rawValue)
            request.encode(into: &encoder)
        }
        try state.withLock { state throws(StagingError) in
            if state.descriptor < 0 {
                state.descriptor = try disk.create(path, O_WRONLY | O_APPEND, "creating")
            }
            try disk.append(bytes, to: state.descriptor, path)
            state.open.insert(request.key)
        }
    }

    /// All requests for these keys (each named once) are over: made, or given up. That one is not written down is no harm but a question to the
    /// store at the next mount, unless the key is used again: so whoever waits for the key is let go only when this succeeded.
    func end(_ keys: [ObjectKey]) throws(StagingError) {
        let bytes = Self.record { encoder in
            encoder.put(Tag.ended.rawValue)
            encoder.put(UInt32(keys.count))
            for key in keys { encoder.put(key.string) }
        }
        try state.withLock { state throws(StagingError) in
            guard state.descriptor >= 0 else { return }
            if state.open.count == keys.count(where: { state.open.contains($0) }) {
                guard disk.truncate(state.descriptor, to: 0) else {
                    throw .disk(code: errno, action: "emptying \(path)")
                }
            } else {
                try disk.append(bytes, to: state.descriptor, path)
            }
            state.open.subtract(keys)
        }
    }

    /// What a journal of an ended mount says is not over; nil when the file is damaged before its end.
    static func load(_ path: String) -> [Request]? {
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

    /// See `load`. Those of one key are in their order.
    static func decode(_ bytes: [UInt8]) -> [Request]? {
        var open: [ObjectKey: [Request]] = [:]
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
                guard let request = Request(from: &body) else { return nil }
                open[request.key, default: []].append(request)
            case .ended:
                guard let count: UInt32 = body.integer() else { return nil }
                for _ in 0..<count {
                    guard let key = body.string().flatMap({ ObjectKey($0) }) else { return nil }
                    open[key] = nil
                }
            case nil: return nil
            }
        }
        return open.values.flatMap { $0 }
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
}
