// A file with data that is not in the bucket yet: its bytes on the local disk, its journal, its state.

internal import Base
internal import CLinux
internal import Glibc
public import ObjectModel
public import ObjectStore
internal import Synchronization

/// The staging of one file. Thread-safe.
///
/// Every byte of the file has one home, decided by `local` and the base:
/// - in `local`: the data file (what programs wrote, zeros where a file was extended, base bytes fetched for an upload);
/// - else below `baseByteCount`: the base object;
/// and nothing else exists: everything from `baseByteCount` on is in `local`.
public final class StagedFile: Sendable {
    /// Where a piece of the file's bytes is to be had.
    public enum Piece: Sendable, Equatable {
        /// In the data file.
        case local(ByteRange)
        /// In the base object.
        case base(ObjectVersion, ByteRange)
        /// In a part of an upload: to be had when that is completed.
        case inTransit(ByteRange)

        public var range: ByteRange {
            switch self {
            case .local(let range): range
            case .base(_, let range): range
            case .inTransit(let range): range
            }
        }
    }

    /// What `UploadQueue` is doing with the file.
    enum UploadPhase: Sendable, Equatable {
        /// Nothing; → queued.
        case idle
        /// A worker waits for its turn, or for the next try; → uploading, idle.
        case queued
        /// A worker sends a snapshot; → queued, idle.
        case uploading
    }

    struct State {
        var contents: StagedContents
        /// Nil once the file has no place on the disk any more: what happens then is known to this process alone.
        var journal: Journal?
        /// That journal, emptied, for the file that has the place next.
        var spareJournal: Journal?
        /// Counts changes of any kind; what the last completed upload contained.
        var generation: UInt64 = 1
        var publishedGeneration: UInt64 = 0

        var phase = UploadPhase.idle
        /// Changes made while a snapshot is being sent, so that its success is booked right.
        var dirtySinceSnapshot = ByteRangeSet()
        var baseLimitSinceSnapshot = Int.max
        /// A byte of the snapshot was overwritten: what is still to be read for it would be a mix.
        var snapshotIsStale = false
        var staleAttempts = 0
        /// Removed: never uploaded again.
        var abandoned = false
        /// Why the file takes no change any more: another client replaced its base, and the rest of it is gone.
        var lost: StagingError?
        /// The last try to upload failed, and how often in a row.
        var failure: UploadFailure?
        /// Of the snapshot being sent: its length, and how much the store has acknowledged.
        var snapshotBytes = 0
        var sentBytes = 0
        /// When bytes of it began to be sent (monotonic nanoseconds), and what the store had of it then.
        var sendingSince: (nanoseconds: UInt64, sentBytes: Int)?
        /// Told at the end of the next attempt.
        var waiters: [OneShot<UploadOutcome>] = []
        /// Somebody waits: no lingering, no back-off.
        var isUrgent = false
        /// Nothing may be sent: its key is being changed.
        var isHeld = false
        /// The worker, while the phase is not idle, and what it waits for before it begins.
        var worker: Task<Void, Never>?
        var turn: OneShot<Void>?
        /// When the file first had to wait for its upload; monotonic nanoseconds.
        var pendingSince: UInt64?
        /// Under which key the store had nothing, and when it was asked; monotonic nanoseconds.
        var absence: (key: ObjectKey, askedAt: UInt64)?
        var stream = PartStream()
        /// How often the store has lost the upload since the last success.
        var lostUploadCount = 0
        /// How often the store has refused a condition that held, since the last success.
        var vainRefusalCount = 0
        /// What the area counts of this file.
        var countedBytes = 0
        /// Ranges of the data file that are being read, and are not given up meanwhile.
        var localReads: [ByteRange] = []

        var identity: StagedIdentity { contents.identity }
    }

    /// The name of the files in the staging directory, without suffix.
    public let id: String
    let dataPath: String
    let journalPath: String
    let descriptor: Int32
    private let directory: String
    /// Where its files go when it is gone; nil when they are to be removed.
    private let spares: SpareFiles?
    /// A leaf lock. The file's own local writes happen under it (microseconds into the page cache), because the map and
    /// the bytes must change together against `materialise`; no network, reply or log ever does.
    let state: Lock<State>
    /// What connections have taken of the requests under way, beyond what the store has acknowledged.
    let bytesOnTheirWay = Atomic<Int>(0)
    unowned let area: StagingArea

    init(_ pair: StagingPair, spares: SpareFiles?, area: StagingArea, contents: StagedContents) {
        id = pair.id
        directory = pair.directory
        descriptor = pair.data
        self.spares = spares
        self.area = area
        dataPath = StagingPair.dataPath(directory, id)
        journalPath = StagingPair.journalPath(directory, id)
        state = Lock(
            State(contents: contents, journal: pair.journal, publishedGeneration: contents.isChanged ? 0 : 1))
        state.withLock { count(&$0) }
    }

    deinit {
        guard let spares, let journal = state.withLock({ $0.spareJournal }) else {
            close(descriptor)
            return
        }
        let pair = StagingPair(id: id, directory: directory, data: descriptor, journal: journal)
        if !spares.put(pair) { pair.remove() }
    }

    /// Gives up the place on the disk: a process that finds it finds nothing. The bytes stay readable through this object.
    func leaveDisk() {
        let isSpare = state.withLock { state in
            guard let journal = state.journal else { return false }
            state.journal = nil
            if spares != nil, journal.clear() { state.spareJournal = journal }
            return state.spareJournal != nil
        }
        guard !isSpare else { return }
        // The journal first: data without a journal is nothing, a journal without data would be damage.
        area.disk.remove(journalPath)
        area.disk.remove(dataPath)
    }

    // MARK: What it is

    /// Where it is in the state directory, the same for every mount that recovers it: session and name.
    public var place: String { "\(directory.pathComponents().last ?? "")/\(id)" }

    public var key: ObjectKey { state.withLock { $0.identity.key } }
    /// The file's length in bytes.
    public var byteCount: Int { state.withLock { $0.identity.byteCount } }
    public var properties: ObjectProperties { state.withLock { $0.identity.properties } }
    public var base: ObjectVersion? { state.withLock { $0.identity.base } }
    public var failure: UploadFailure? { state.withLock { $0.failure } }
    /// Bytes of the data file that are not in the bucket.
    public var dirtyByteCount: Int { state.withLock { $0.contents.dirtyByteCount } }
    /// Whether anything (data, length or properties) is not in the bucket yet.
    public var needsUpload: Bool { state.withLock { $0.publishedGeneration < $0.generation && !$0.abandoned } }

    /// The version in the bucket, when everything of this file is in it.
    public var publishedVersion: ObjectVersion? {
        state.withLock { $0.publishedGeneration == $0.generation && $0.phase == .idle ? $0.identity.base : nil }
    }

    // MARK: Reading

    /// Where the bytes of `range` are, in order. The range is cut at the end of the file.
    public func pieces(_ range: ByteRange) -> [Piece] {
        state.withLock { state in
            guard let range = range.intersection(ByteRange(0, state.identity.byteCount)) else { return [] }
            let contents = state.contents
            var result: [Piece] = []
            func append(_ remote: ByteRange) {
                for gap in contents.freed.isEmpty ? [remote] : contents.freed.gaps(in: remote) {
                    if let base = contents.identity.base { result.append(.base(base, gap)) }
                }
                if contents.freed.isEmpty { return }
                result += contents.freed.intersection(remote).map { .inTransit($0) }
                result.sort { $0.range.lowerBound < $1.range.lowerBound }
            }
            var position = range.lowerBound
            for part in contents.local.intersection(range) {
                if part.lowerBound > position { append(ByteRange(position, part.lowerBound)) }
                result.append(.local(part))
                position = part.upperBound
            }
            if position < range.upperBound { append(ByteRange(position, range.upperBound)) }
            assert(result.reduce(0) { $0 + $1.range.count } == range.count, "every byte has a home")
            return result
        }
    }

    /// Reads bytes that are `.local`. Short only when the data file itself is damaged, which is an error.
    public func readLocal(into buffer: UnsafeMutableRawBufferPointer, at offset: Int) throws(StagingError) {
        var done = 0
        while done < buffer.count {
            let count = pread(descriptor, buffer.baseAddress! + done, buffer.count - done, off_t(offset + done))
            if count < 0 {
                let code = errno
                if code == EINTR { continue }
                throw .disk(code: code, action: "reading \(dataPath)")
            }
            guard count > 0 else {
                throw .disk(code: EIO, action: "reading \(dataPath): shorter than its journal says")
            }
            done += count
        }
    }

    /// As above, filling a whole array.
    public func readLocal(into bytes: inout [UInt8], at offset: Int) throws(StagingError) {
        let result = bytes.withUnsafeMutableBytes { buffer in
            Result { () throws(StagingError) in try readLocal(into: buffer, at: offset) }
        }
        try result.get()
    }

    // MARK: Changing

    /// Writes at `offset`, extending the file with zeros up to it where needed. Returns when data and journal are with
    /// the kernel: kill -9 loses nothing of it. The returned count is short only when the disk filled up on the way.
    /// - Throws: `.inTransit` when the bytes must come back from the store first.
    public func write(_ bytes: UnsafeRawBufferPointer, at offset: Int) throws(StagingError) -> Int {
        try state.withLock { state throws(StagingError) in
            if let lost = state.lost { throw lost }
            let old = state.identity.byteCount
            let wanted = ByteRange(offset: offset, count: bytes.count)
            if state.contents.isInTransit(wanted) { throw .inTransit }
            if wanted.lowerBound < state.snapshotBytes, state.phase == .uploading { state.snapshotIsStale = true }
            state.stream.changed(wanted)
            do throws(StagingError) {
                // Parts that hold older bytes of the data file count no more, whatever happens next. Of what the data file
                // does not hold yet the journal is told once it does: until then the base has it.
                let told = wanted.upperBound <= old ? state.contents.sentDirty(wanted) : []
                for range in told { try state.record(.wrote(range)) }
                let done = try area.disk.write(bytes, to: descriptor, at: offset, dataPath)
                // A write behind the end makes a hole, which reads as zeros from the sparse data file.
                let written = ByteRange(offset: offset, count: done)
                let covered = offset > old ? ByteRange(old, written.upperBound) : written
                if told != [covered], state.contents.mustTell(covered) {
                    do throws(StagingError) {
                        try state.record(.wrote(covered))
                    } catch {
                        // Bytes behind the end would come to light when the file is extended later.
                        if written.upperBound > old { area.disk.truncate(descriptor, to: old) }
                        throw error
                    }
                }
                state.contents.apply(.wrote(covered))
                state.dirtySinceSnapshot.insert(covered)
                didChange(&state)
                return done
            } catch {
                if case .disk = error { state.noteFailed(wanted) }
                throw error
            }
        }
    }

    /// Cuts or extends (with zeros) the file.
    /// - Throws: `.inTransit` when bytes must come back from the store first.
    public func truncate(to byteCount: Int) throws(StagingError) {
        try state.withLock { state throws(StagingError) in
            if let lost = state.lost { throw lost }
            let old = state.identity.byteCount
            guard byteCount != old else {
                // Nothing is missing behind this length.
                return state.forgetFailed(from: byteCount)
            }
            // A part that is cut in the middle must be whole here.
            if byteCount > 0, byteCount < old, state.contents.isInTransit(ByteRange(byteCount - 1, byteCount)),
                state.contents.isInTransit(ByteRange(byteCount, byteCount + 1))
            {
                throw .inTransit
            }
            if byteCount < state.snapshotBytes, state.phase == .uploading { state.snapshotIsStale = true }
            // Journal first: if we die in between, the replay cuts the data file.
            try state.record(.truncated(byteCount))
            guard area.disk.truncate(descriptor, to: byteCount) else {
                let code = errno
                // It is not, and no later record may stand behind that one. Without room for it now, the next change makes it.
                state.journal?.distrust()
                do throws(StagingError) { try state.rewriteJournal() } catch {}
                throw .disk(code: code, action: "truncating \(dataPath)")
            }
            state.stream.changed(ByteRange(min(old, byteCount), max(old, byteCount)))
            state.contents.apply(.truncated(byteCount))
            state.forgetFailed(from: byteCount)
            if byteCount < old {
                state.dirtySinceSnapshot.remove(ByteRange(byteCount, max(old, byteCount)))
                state.baseLimitSinceSnapshot = min(state.baseLimitSinceSnapshot, byteCount)
            } else {
                state.dirtySinceSnapshot.insert(ByteRange(old, byteCount))
            }
            didChange(&state)
        }
    }

    /// After each change that the journal has: counts it, and keeps the journal short.
    private func didChange(_ state: inout State) {
        state.generation += 1
        count(&state)
        // If that fails, the long one stays.
        if state.journal?.isWorthRewriting == true { do throws(StagingError) { try state.rewriteJournal() } catch {} }
    }

    /// Tells the area how much of this file is on the disk and not in the bucket.
    func count(_ state: inout State) {
        let bytes = state.abandoned ? 0 : state.contents.dirtyByteCount - state.contents.freedByteCount
        area.count(bytes - state.countedBytes)
        state.countedBytes = bytes
    }

    /// Replaces the object's properties (attributes among them).
    public func setProperties(_ properties: ObjectProperties) throws(StagingError) {
        try state.withLock { state throws(StagingError) in
            if let lost = state.lost { throw lost }
            guard properties != state.identity.properties else { return }
            try state.record(.properties(properties))
            state.contents.apply(.properties(properties))
            didChange(&state)
        }
    }

    /// Gives a file that was never published another key. Only between `UploadQueue.settle` and the next submission.
    public func rekey(_ key: ObjectKey, condition: WriteCondition) throws(StagingError) {
        try state.withLock { state throws(StagingError) in
            precondition(state.phase == .idle, "rekey during an upload")
            precondition(state.identity.base == nil || state.identity.baseByteCount == 0, "rekey of a file with a base")
            try state.become { $0.becomeNew(key, condition: condition) }
            state.stream = PartStream()
            state.generation += 1
        }
        area.abortOrphans(of: self)
    }

    /// What is fetched at once to be put into the data file, in bytes, and how many of these side by side: what a part lacks
    /// should cost about one round trip.
    private static let fetchBytes = 1 << 20
    private static let fetchCountMax = 8

    /// Fetches what `range` lacks locally, so that it can be read from the data file. The bytes stay clean.
    /// - Parameter fetch: reads a range of the base object.
    public func materialise(
        _ range: ByteRange,
        fetch: @escaping @Sendable (ObjectVersion, ByteRange) async throws(StoreError) -> [UInt8]
    ) async throws(StagingError) {
        if pieces(range).allSatisfy({ if case .local = $0 { true } else { false } }) { return }
        var failure: StagingError?
        await withTaskGroup(of: StagingError?.self) { group in
            var position = range.lowerBound
            func startNext() {
                guard failure == nil, position < range.upperBound else { return }
                let step = ByteRange(position, min(position + Self.fetchBytes, range.upperBound))
                position = step.upperBound
                group.addTask {
                    do throws(StagingError) { try await self.materialise(step: step, fetch) } catch { return error }
                    return nil
                }
            }
            for _ in 0..<Self.fetchCountMax { startNext() }
            for await error in group {
                failure = failure ?? error
                startNext()
            }
        }
        if let failure { throw failure }
    }

    private func materialise(
        step: ByteRange, _ fetch: (ObjectVersion, ByteRange) async throws(StoreError) -> [UInt8]
    ) async throws(StagingError) {
        for piece in pieces(step) {
            if case .inTransit = piece { throw .inTransit }
            guard case .base(let version, let wanted) = piece else { continue }
            let bytes: [UInt8]
            do throws(StoreError) { bytes = try await fetch(version, wanted) } catch { throw .store(error) }
            try state.withLock { state throws(StagingError) in
                // What was written, or cut off, while the bytes were on their way stays as it is now.
                guard state.identity.base == version,
                    let live = wanted.intersection(ByteRange(0, state.identity.baseByteCount))
                else { return }
                for gap in state.contents.local.gaps(in: live) {
                    try writeFetched(bytes, of: wanted, gap: gap)
                    state.contents.fetched(gap)
                }
            }
        }
    }

    private func writeFetched(_ bytes: [UInt8], of wanted: ByteRange, gap: ByteRange) throws(StagingError) {
        let result = bytes.withUnsafeBytes { bytes in
            Result { () throws(StagingError) in
                let start = gap.lowerBound - wanted.lowerBound
                let piece = UnsafeRawBufferPointer(rebasing: bytes[start..<start + gap.count])
                return try area.disk.write(piece, to: descriptor, at: gap.lowerBound, dataPath)
            }
        }
        guard try result.get() == gap.count else { throw .disk(code: ENOSPC, action: "writing \(dataPath)") }
    }

    // MARK: The end

    /// Marks the file as removed: it is never uploaded again. Its bytes stay readable and writable until the last
    /// reference goes; the journal and the names of the files go now, or when its upload has been given up.
    public func abandon() {
        let waiters = state.withLock { state in
            state.abandoned = true
            count(&state)
            return state.takeWaiters()
        }
        area.forget(self)
        // Nothing is left to be sent, so nothing is missing in the store.
        for waiter in waiters { waiter.set(.published(generation: .max)) }
    }
}

extension StagedFile.State {
    /// Appends to the journal what `contents` is about to become.
    mutating func record(_ record: JournalRecord) throws(StagingError) {
        guard !abandoned, let journal else { return }
        if journal.isClosed { try rewriteJournal() }
        try journal.append(record)
    }

    /// Writes the journal anew. Not of an abandoned file: its journal is removed, and must not come back without data.
    func rewriteJournal() throws(StagingError) {
        guard !abandoned else { return }
        try journal?.rewrite(contents.records)
    }

    /// Makes the contents others that no record describes, once the journal has them: if it cannot, the file stays what it is.
    mutating func become(_ change: (inout StagedContents) -> Void) throws(StagingError) {
        var changed = contents
        change(&changed)
        if !abandoned { try journal?.rewrite(changed.records) }
        contents = changed
    }

    /// A write that failed leaves the file in a state that no program made. Without room for a record of that, the
    /// journal goes on without: the file is not sent while this process lives.
    mutating func noteFailed(_ range: ByteRange) {
        // What is being sent is stopped, if it still can be.
        if phase == .uploading { snapshotIsStale = true }
        contents.apply(.failed(range))
        do throws(StagingError) { try record(.failed(range)) } catch {}
    }

    /// What could not be written behind the end of the file is not wanted any more.
    mutating func forgetFailed(from byteCount: Int) {
        guard let end = contents.failed.ranges.last?.upperBound, end > byteCount else { return }
        contents.forgetFailed(from: byteCount)
        do throws(StagingError) { try rewriteJournal() } catch {}
    }
}

/// Why the last upload of a file failed.
public struct UploadFailure: Sendable, Equatable {
    public let error: StagingError
    /// How many tries have failed since the last success.
    public let tries: Int

    public init(error: StagingError, tries: Int) {
        self.error = error
        self.tries = tries
    }
}

/// How one attempt to upload ended.
public enum UploadOutcome: Sendable, Equatable {
    case published(generation: UInt64)
    case failed(StagingError)
}
