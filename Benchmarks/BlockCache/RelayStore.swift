// What S3 feels like, without a network: a wait for the first byte, and a rate for each connection.

import Base
import Glibc
import ObjectModel
import ObjectStore

/// Serves ranges of one endless object of rubbish. Only `get` exists.
final class RelayStore: ObjectStore {
    let firstByteNanoseconds: UInt64
    /// Per request; nil is as fast as memory.
    let bytesPerSecond: Double?
    private let requests = Lock((count: 0, bytes: 0, inFlight: 0, peak: 0))
    private let piece: [UInt8]
    private let time = SystemTime()

    init(firstByteMilliseconds: Int, bytesPerSecond: Double?) {
        firstByteNanoseconds = UInt64(firstByteMilliseconds) * 1_000_000
        self.bytesPerSecond = bytesPerSecond
        piece = (0..<256 << 10).map { UInt8(truncatingIfNeeded: $0) }
    }

    var counts: (count: Int, bytes: Int, inFlight: Int, peak: Int) { requests.withLock { $0 } }

    func get(_ request: GetRequest, into sink: any BodySink) async throws(StoreError) -> ObjectInfo {
        let range = request.range!
        requests.withLock { counts in
            counts.count += 1
            counts.inFlight += 1
            counts.peak = max(counts.peak, counts.inFlight)
        }
        defer { requests.withLock { $0.inFlight -= 1 } }
        let info = ObjectInfo(
            version: ObjectVersion(key: request.key, etag: request.etag!, byteCount: .max),
            lastModified: Timestamp(seconds: 0), properties: .init())
        let start = time.monotonicNanoseconds + firstByteNanoseconds
        try await sleep(until: start)
        sink.begin(info, range: range)
        var sent = 0
        while sent < range.count {
            let count = min(piece.count, range.count - sent)
            piece.withUnsafeBytes { sink.receive(UnsafeRawBufferPointer(rebasing: $0[..<count])) }
            sent += count
            requests.withLock { $0.bytes += count }
            if let bytesPerSecond {
                try await sleep(until: start + UInt64(Double(sent) / bytesPerSecond * 1e9))
            }
        }
        return info
    }

    private func sleep(until deadline: UInt64) async throws(StoreError) {
        let now = time.monotonicNanoseconds
        guard now < deadline else { return }
        do { try await time.sleep(nanoseconds: deadline - now) } catch {
            throw StoreError(.cancelled, operation: "GetObject")
        }
    }

    private var absent: StoreError { StoreError(.unsupported, operation: "any") }
    var capabilities: StoreCapabilities { .init() }
    func head(_ key: ObjectKey) async throws(StoreError) -> ObjectInfo { throw absent }
    func list(_ request: ListRequest) async throws(StoreError) -> ListPage { throw absent }
    func put(_ request: PutRequest) async throws(StoreError) -> ETag { throw absent }
    func delete(_ key: ObjectKey) async throws(StoreError) { throw absent }
    func delete(_ keys: [ObjectKey]) async throws(StoreError) -> [(key: ObjectKey, error: StoreError)] { throw absent }
    func copy(_ request: CopyRequest) async throws(StoreError) -> ETag { throw absent }
    func createUpload(_ key: ObjectKey, properties: ObjectProperties) async throws(StoreError) -> UploadID {
        throw absent
    }
    func uploadPart(
        _ upload: UploadID, key: ObjectKey, number: Int, body: any BodySource
    ) async throws(StoreError) -> ETag { throw absent }
    func uploadPartCopy(
        _ upload: UploadID, key: ObjectKey, number: Int, source: ObjectVersion, range: ByteRange
    ) async throws(StoreError) -> ETag { throw absent }
    func completeUpload(
        _ upload: UploadID, key: ObjectKey, parts: [UploadedPart], condition: WriteCondition
    ) async throws(StoreError) -> ETag { throw absent }
    func abortUpload(_ upload: UploadID, key: ObjectKey) async throws(StoreError) { throw absent }
    func listParts(_ upload: UploadID, key: ObjectKey) async throws(StoreError) -> [UploadedPart] { throw absent }
}
