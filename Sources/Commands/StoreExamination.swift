// Finds out what a store can and cannot do, by doing it to objects of its own.

public import Base
internal import ObjectModel
public import ObjectStore

/// The probes of `pail doctor`. Makes objects under `PREFIX.pail-doctor-TOKEN`, and removes them whatever happens.
public struct StoreExamination: Sendable {
    /// A range of an object is copied to a part only when the object is larger than 5 MB
    /// (<https://docs.aws.amazon.com/AmazonS3/latest/API/API_UploadPartCopy.html>, `x-amz-copy-source-range`).
    static let sourceByteCount = (5 << 20) + 1024

    let store: any ObjectStore
    private let time: any TimeSource
    private let keyPrefix: String
    private let listPrefix: ByteString

    /// - Parameters:
    ///   - prefix: the mount's; empty, or ending with `/`.
    ///   - token: makes the keys unique; letters and digits.
    public init(store: any ObjectStore, prefix: String, token: String, time: any TimeSource = SystemTime()) {
        self.store = store
        self.time = time
        listPrefix = ByteString(prefix)
        keyPrefix = "\(prefix).pail-doctor-\(token)"
    }

    /// Probes one thing after the other; each finding is reported when it is made.
    public func run(_ report: @Sendable (DoctorFinding) -> Void) async {
        await examineListing(report)
        let source = ObjectKey("\(keyPrefix)-a")
        let target = ObjectKey("\(keyPrefix)-b")
        let odd = ObjectKey("\(keyPrefix)-\(Self.oddName)")
        guard let source, let target else {
            report(
                DoctorFinding(.fail, "write", "the prefix leaves no room for a name", remedy: "choose a shorter one"))
            return
        }
        if let version = await examineWriting(source, report) {
            await examineReading(version, report)
            await examineConditionalPut(version, report)
            await examineCopying(source, target, report)
            await examineMultipart(source, target, report)
            await examineChecksums(target, report)
            await examineMetadata(target, report)
            await examineVersions(target, report)
            if let odd { await examineNames(odd, below: ByteString("\(keyPrefix)-\(Self.oddName.prefix(3))"), report) }
        }
        await remove([source, target] + (odd.map { [$0] } ?? []), report)
    }

    // MARK: Probes

    private func examineListing(_ report: (DoctorFinding) -> Void) async {
        do throws(StoreError) {
            let start = time.monotonicNanoseconds
            let page = try await store.list(ListRequest(prefix: listPrefix, delimited: true, entryCountMax: 1000))
            let seconds = Double(time.monotonicNanoseconds - start) / 1e9
            let count = page.objects.count + page.commonPrefixes.count
            let names = Message.count(count, "entry", plural: "entries") + (page.continuation == nil ? "" : " and more")
            report(DoctorFinding(.ok, "list", "\(names) in \(Interval.latency(seconds: seconds))"))
        } catch {
            report(DoctorFinding(.fail, "list", Self.text(error), remedy: "grant s3:ListBucket on the bucket"))
        }
    }

    /// The version written; nil when there is none.
    private func examineWriting(_ key: ObjectKey, _ report: (DoctorFinding) -> Void) async -> ObjectVersion? {
        do throws(StoreError) {
            let start = time.monotonicNanoseconds
            let body = PatternSource(byteCount: Self.sourceByteCount)
            let etag = try await store.put(PutRequest(key: key, body: body))
            let seconds = Double(time.monotonicNanoseconds - start) / 1e9
            report(DoctorFinding(.ok, "write", Self.throughput(Self.sourceByteCount, seconds: seconds)))
            return ObjectVersion(key: key, etag: etag, byteCount: Self.sourceByteCount)
        } catch  where error.kind == .accessDenied {
            report(
                DoctorFinding(
                    .warn, "write", Self.text(error),
                    remedy: "mount with --read-only, or grant s3:PutObject; nothing that writes is probed"))
        } catch {
            report(DoctorFinding(.fail, "write", Self.text(error), remedy: "nothing that writes is probed"))
        }
        return nil
    }

    private func examineReading(_ version: ObjectVersion, _ report: (DoctorFinding) -> Void) async {
        do throws(StoreError) {
            let start = time.monotonicNanoseconds
            let sink = ComparingSink()
            let range = ByteRange(offset: 1 << 20, count: 128 << 10)
            _ = try await store.get(GetRequest(key: version.key, etag: version.etag, range: range), into: sink)
            let seconds = Double(time.monotonicNanoseconds - start) / 1e9
            guard sink.isExact(range) else {
                report(DoctorFinding(.fail, "read", "a range of an object has other bytes than were written"))
                return
            }
            let latency = Interval.latency(seconds: seconds)
            let whole = ComparingSink()
            let begin = time.monotonicNanoseconds
            _ = try await store.get(GetRequest(key: version.key, etag: version.etag, range: nil), into: whole)
            let rate = Self.throughput(
                version.byteCount, seconds: Double(time.monotonicNanoseconds - begin) / 1e9)
            guard whole.isExact(ByteRange(0, version.byteCount)) else {
                report(DoctorFinding(.fail, "read", "an object has other bytes than were written"))
                return
            }
            report(DoctorFinding(.ok, "read", "a range in \(latency), \(rate) by one request"))
        } catch {
            report(DoctorFinding(.fail, "read", Self.text(error), remedy: "grant s3:GetObject on the bucket"))
        }
    }

    private func examineConditionalPut(_ version: ObjectVersion, _ report: (DoctorFinding) -> Void) async {
        let fallback = "pail looks before it writes; two machines writing one file at the same moment can lose a change"
        // A small body: on a store that ignores conditions it replaces the source, which is written again then.
        let body = PatternSource(byteCount: 1024)
        var findings: [String] = []
        let absent = await outcome(\.conditionalPut) { () async throws(StoreError) in
            _ = try await store.put(PutRequest(key: version.key, body: body, condition: .ifAbsent))
        }
        if let flaw = absent.flaw { findings.append("If-None-Match \(flaw)") }
        let wrong = await outcome(\.conditionalPut) { () async throws(StoreError) in
            _ = try await store.put(PutRequest(key: version.key, body: body, condition: .ifMatch(Self.strangeTag)))
        }
        if let flaw = wrong.flaw { findings.append("If-Match \(flaw)") }
        if findings.isEmpty {
            do throws(StoreError) {
                let whole = PatternSource(byteCount: Self.sourceByteCount)
                _ = try await store.put(PutRequest(key: version.key, body: whole, condition: .ifMatch(version.etag)))
            } catch {
                findings.append("If-Match with the right ETag fails: \(Self.text(error))")
            }
        }
        if absent == .ignored || wrong == .ignored {
            let whole = PatternSource(byteCount: Self.sourceByteCount)
            _ = try? await store.put(PutRequest(key: version.key, body: whole))
        }
        report(
            findings.isEmpty
                ? DoctorFinding(.ok, "conditional put", "honoured")
                : DoctorFinding(.warn, "conditional put", findings.joined(separator: ", "), remedy: fallback))
    }

    private func examineCopying(_ source: ObjectKey, _ target: ObjectKey, _ report: (DoctorFinding) -> Void) async {
        do throws(StoreError) {
            let version = try await store.head(source).version
            _ = try await store.copy(CopyRequest(source: version, destination: target))
            report(DoctorFinding(.ok, "copy", "on the server"))
            let strange = ObjectVersion(key: source, etag: Self.strangeTag, byteCount: version.byteCount)
            let conditional = await outcome(\.conditionalCopySource) { () async throws(StoreError) in
                _ = try await store.copy(CopyRequest(source: strange, destination: target))
            }
            report(
                conditional.flaw.map {
                    DoctorFinding(
                        .warn, "conditional copy", "x-amz-copy-source-if-match \($0)",
                        remedy: "a rename looks at the source before it copies")
                } ?? DoctorFinding(.ok, "conditional copy", "honoured"))
        } catch {
            report(DoctorFinding(.fail, "copy", Self.text(error), remedy: "files cannot be renamed"))
        }
    }

    private func examineMultipart(_ source: ObjectKey, _ target: ObjectKey, _ report: (DoctorFinding) -> Void) async {
        let upload: UploadID
        do throws(StoreError) {
            upload = try await store.createUpload(target, properties: ObjectProperties())
        } catch {
            report(DoctorFinding(.fail, "multipart", Self.text(error), remedy: "large files cannot be written"))
            return
        }
        do throws(StoreError) {
            let body = PatternSource(byteCount: 1024)
            var part = UploadedPart(
                number: 1, etag: try await store.uploadPart(upload, key: target, number: 1, body: body), byteCount: 1024
            )
            if let copied = await examinePartCopy(source, target, upload, report) { part = copied }
            _ = try await store.put(PutRequest(key: target, body: PatternSource(byteCount: 10)))
            let conditional = await outcome(\.conditionalComplete) { () async throws(StoreError) in
                _ = try await store.completeUpload(upload, key: target, parts: [part], condition: .ifAbsent)
            }
            report(
                conditional.flaw.map {
                    DoctorFinding(
                        .warn, "conditional complete", "If-None-Match \($0)",
                        remedy: "pail looks before it completes an upload")
                } ?? DoctorFinding(.ok, "conditional complete", "honoured"))
            if conditional != .ignored {
                _ = try await store.completeUpload(upload, key: target, parts: [part], condition: .none)
            }
            report(DoctorFinding(.ok, "multipart", "works"))
        } catch {
            report(DoctorFinding(.fail, "multipart", Self.text(error), remedy: "large files cannot be written"))
            try? await store.abortUpload(upload, key: target)
        }
    }

    private func examinePartCopy(
        _ source: ObjectKey, _ target: ObjectKey, _ upload: UploadID, _ report: (DoctorFinding) -> Void
    ) async -> UploadedPart? {
        do throws(StoreError) {
            let version = try await store.head(source).version
            let range = ByteRange(offset: 512, count: 4096)
            let etag = try await store.uploadPartCopy(upload, key: target, number: 1, source: version, range: range)
            report(DoctorFinding(.ok, "part copy", "works"))
            return UploadedPart(number: 1, etag: etag, byteCount: range.count)
        } catch {
            report(
                DoctorFinding(
                    .warn, "part copy", Self.text(error), remedy: "a change inside a large file sends the whole file"))
            return nil
        }
    }

    private func remove(_ keys: [ObjectKey], _ report: (DoctorFinding) -> Void) async {
        var failure: (key: ObjectKey, error: StoreError)?
        for key in keys {
            do throws(StoreError) {
                try await store.delete(key)
            } catch {
                failure = failure ?? (key, error)
            }
        }
        guard let failure else {
            report(DoctorFinding(.ok, "delete", "works; nothing is left of the probes"))
            return
        }
        // Where nothing could be written there is nothing to remove.
        if case .some(let error) = await absence(of: failure.key),
            error.kind == .notFound || error.kind == .accessDenied
        {
            report(DoctorFinding(.warn, "delete", Self.text(failure.error), remedy: "grant s3:DeleteObject"))
            return
        }
        report(
            DoctorFinding(
                .fail, "delete", Self.text(failure.error),
                remedy: "grant s3:DeleteObject, and remove \(keyPrefix)-*"))
    }

    private func absence(of key: ObjectKey) async -> StoreError? {
        do throws(StoreError) {
            _ = try await store.head(key)
            return nil
        } catch {
            return error
        }
    }

    // MARK: Judging conditions

    private enum Outcome: Equatable {
        case honoured
        /// Not by the server, but the store looked before it asked.
        case replaced
        /// The request succeeded although its condition did not hold.
        case ignored
        case refused(String)

        /// Nil when there is none.
        var flaw: String? {
            switch self {
            case .honoured: nil
            case .replaced, .ignored: "is not honoured"
            case .refused(let text): "is refused: \(text)"
            }
        }
    }

    /// Judges a request whose condition does not hold.
    /// - Parameter capability: false after the request when the store stood in for the server, or it is known not to.
    private func outcome(
        _ capability: (StoreCapabilities) -> Bool, _ request: () async throws(StoreError) -> Void
    ) async -> Outcome {
        do throws(StoreError) {
            try await request()
            return .ignored
        } catch {
            guard error.kind == .preconditionFailed else { return .refused(Self.text(error)) }
            return capability(store.capabilities) ? .honoured : .replaced
        }
    }

    /// No object's.
    private static let strangeTag = ETag("00000000000000000000000000000000")!

    static func text(_ error: StoreError) -> String { "\(error)" }

    private static func throughput(_ byteCount: Int, seconds: Double) -> String {
        let rate = seconds > 0 ? ", \(ByteCount.describe(Int(Double(byteCount) / seconds)))/s" : ""
        return "\(ByteCount.describe(byteCount)) in \(Interval.latency(seconds: seconds))\(rate)"
    }
}

/// A body whose bytes follow from their positions.
final class PatternSource: BodySource {
    let byteCount: Int

    init(byteCount: Int) {
        self.byteCount = byteCount
    }

    /// One period of the pattern; a prime length, so that blocks of any usual size differ from one another.
    private static let pattern: [UInt8] = (0..<65_521).map { UInt8(truncatingIfNeeded: $0 &* 31 ^ $0 >> 8) }

    /// Calls `body` with the pattern's bytes for a range of positions, in pieces.
    static func forEachPiece(offset: Int, count: Int, _ body: (_ done: Int, UnsafeRawBufferPointer) -> Void) {
        var done = 0
        while done < count {
            let start = (offset + done) % pattern.count
            let length = min(count - done, pattern.count - start)
            pattern.withUnsafeBytes { body(done, UnsafeRawBufferPointer(rebasing: $0[start..<start + length])) }
            done += length
        }
    }

    func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int) -> Bool {
        Self.forEachPiece(offset: offset, count: buffer.count) { done, piece in
            UnsafeMutableRawBufferPointer(rebasing: buffer[done..<done + piece.count]).copyMemory(from: piece)
        }
        return true
    }
}

/// Compares what comes with the pattern.
private final class ComparingSink: BodySink {
    private struct State {
        var begun: ByteRange?
        var position = 0
        var isEqual = true
    }

    private let state = Lock(State())

    func begin(_ info: ObjectInfo, range: ByteRange) {
        state.withLock { state in
            state.begun = range
            state.position = range.lowerBound
        }
    }

    func receive(_ bytes: UnsafeRawBufferPointer) {
        state.withLock { state in
            PatternSource.forEachPiece(offset: state.position, count: bytes.count) { done, piece in
                if !piece.elementsEqual(bytes[done..<done + piece.count]) { state.isEqual = false }
            }
            state.position += bytes.count
        }
    }

    /// Whether exactly this range came, with the right bytes.
    func isExact(_ range: ByteRange) -> Bool {
        state.withLock { $0.begun == range && $0.position == range.upperBound && $0.isEqual }
    }
}
