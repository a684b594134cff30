// A store whose GETs lie now and then, in each way that the contract of a store forbids: the cache must not believe it.

import Base
import MemoryStore
import ObjectModel
import ObjectStore

/// Passes everything to a `MemoryStore`, and spoils some answers to GET. Thread-safe.
final class HostileStore: ObjectStore {
    enum Lie: CaseIterable, Sendable {
        /// A success after half of the body.
        case short
        /// A success, and no body at all.
        case empty
        /// More bytes than asked for.
        case long
        /// The bytes come under another version's name.
        case otherVersion
        /// The right bytes of the right version, but of an object that is longer than that version is.
        case otherLength
        /// Another range than asked for, of the same length.
        case otherRange
        /// All bytes are there, and the request failed.
        case failedAtTheEnd
        /// Half of the bytes, and nobody says that anything began.
        case noBegin
    }

    /// A body that stops behind its first bytes until it is told to go on.
    struct Hold: Sendable {
        let hasBegun = OneShot<Void>()
        let goOn = OneShot<Void>()
    }

    private let base: MemoryStore
    private let nextHold = Lock<Hold?>(nil)
    /// The dice, and how likely a lie is.
    private let state = Lock((dice: SplitMix64(seed: 1), chance: 0.0))

    init(_ base: MemoryStore) {
        self.base = base
    }

    /// Lies from now on.
    func lie(seed: UInt64, chance: Double) {
        state.withLock { $0 = (SplitMix64(seed: seed), chance) }
    }

    func stopLying() {
        state.withLock { $0.chance = 0 }
    }

    /// The next GET stops behind the first bytes of its body.
    func holdNextBody() -> Hold {
        let hold = Hold()
        nextHold.withLock { $0 = hold }
        return hold
    }

    /// Takes back a hold that no GET has come to.
    func holdNothing() {
        nextHold.withLock { $0 = nil }
    }

    private func nextLie() -> Lie? {
        state.withLock { state in
            guard state.chance > 0, Double.random(in: 0..<1, using: &state.dice) < state.chance else { return nil }
            return Lie.allCases.randomElement(using: &state.dice)
        }
    }

    func get(_ request: GetRequest, into sink: any BodySink) async throws(StoreError) -> ObjectInfo {
        if let hold = nextHold.withLock({ $0.take() }), let range = request.range {
            let body = CollectingSink()
            let info = try await base.get(request, into: body)
            sink.begin(info, range: range)
            let first = min(1000, body.bytes.count)
            Array(body.bytes[..<first]).withUnsafeBytes { sink.receive($0) }
            hold.hasBegun.set(())
            await hold.goOn.wait()
            Array(body.bytes[first...]).withUnsafeBytes { sink.receive($0) }
            return info
        }
        guard let lie = nextLie(), let range = request.range else { return try await base.get(request, into: sink) }
        let body = CollectingSink()
        let info = try await base.get(request, into: body)
        let half = Array(body.bytes[..<(body.bytes.count / 2)])
        switch lie {
        case .short: give(info, range, half, sink)
        case .empty: give(info, range, [], sink)
        case .long: give(info, range, body.bytes + half + [1], sink)
        case .otherVersion:
            let version = ObjectVersion(
                key: request.key, etag: ETag("another")!, byteCount: info.version.byteCount)
            let other = ObjectInfo(version: version, lastModified: info.lastModified, properties: info.properties)
            give(other, range, body.bytes, sink)
        case .otherLength:
            // Who asks without a condition has to believe it.
            let excess = request.etag == nil ? 0 : 1
            let version = ObjectVersion(
                key: request.key, etag: info.version.etag, byteCount: info.version.byteCount + excess)
            let other = ObjectInfo(version: version, lastModified: info.lastModified, properties: info.properties)
            give(other, range, body.bytes, sink)
            return other
        case .otherRange:
            let moved = ByteRange(range.lowerBound + 1, range.upperBound + 1)
            give(info, moved, body.bytes, sink)
        case .failedAtTheEnd:
            give(info, range, body.bytes, sink)
            throw StoreError(.unreachable, operation: "GetObject", key: request.key, message: "lost at the end")
        case .noBegin: half.withUnsafeBytes { sink.receive($0) }
        }
        return info
    }

    private func give(_ info: ObjectInfo, _ range: ByteRange, _ bytes: [UInt8], _ sink: any BodySink) {
        sink.begin(info, range: range)
        for start in stride(from: 0, to: bytes.count, by: 3000) {
            Array(bytes[start..<min(start + 3000, bytes.count)]).withUnsafeBytes { sink.receive($0) }
        }
    }

    var capabilities: StoreCapabilities { base.capabilities }
    func head(_ key: ObjectKey) async throws(StoreError) -> ObjectInfo { try await base.head(key) }
    func list(_ request: ListRequest) async throws(StoreError) -> ListPage { try await base.list(request) }
    func put(_ request: PutRequest) async throws(StoreError) -> ETag { try await base.put(request) }
    func delete(_ key: ObjectKey) async throws(StoreError) { try await base.delete(key) }
    func delete(_ keys: [ObjectKey]) async throws(StoreError) -> [(key: ObjectKey, error: StoreError)] {
        try await base.delete(keys)
    }
    func copy(_ request: CopyRequest) async throws(StoreError) -> ETag { try await base.copy(request) }
    func createUpload(_ key: ObjectKey, properties: ObjectProperties) async throws(StoreError) -> UploadID {
        try await base.createUpload(key, properties: properties)
    }
    func uploadPart(
        _ upload: UploadID, key: ObjectKey, number: Int, body: any BodySource
    ) async throws(StoreError) -> ETag {
        try await base.uploadPart(upload, key: key, number: number, body: body)
    }
    func uploadPartCopy(
        _ upload: UploadID, key: ObjectKey, number: Int, source: ObjectVersion, range: ByteRange
    ) async throws(StoreError) -> ETag {
        try await base.uploadPartCopy(upload, key: key, number: number, source: source, range: range)
    }
    func completeUpload(
        _ upload: UploadID, key: ObjectKey, parts: [UploadedPart], condition: WriteCondition
    ) async throws(StoreError) -> ETag {
        try await base.completeUpload(upload, key: key, parts: parts, condition: condition)
    }
    func abortUpload(_ upload: UploadID, key: ObjectKey) async throws(StoreError) {
        try await base.abortUpload(upload, key: key)
    }
    func listParts(_ upload: UploadID, key: ObjectKey) async throws(StoreError) -> [UploadedPart] {
        try await base.listParts(upload, key: key)
    }
}
