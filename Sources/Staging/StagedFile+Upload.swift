// The upload's view of a staged file: snapshots, and what their success or failure means.

internal import Base
public import ObjectModel
public import ObjectStore
internal import Synchronization

/// A file as it was when an upload of it began.
struct UploadSnapshot: Sendable {
    let generation: UInt64
    let identity: StagedIdentity
    let dirty: ByteRangeSet

    /// What publishing it leaves in the bucket: with these properties, which a multipart upload was begun with.
    func mark(_ properties: ObjectProperties) -> PublicationMark {
        PublicationMark(byteCount: identity.byteCount, metadata: properties.metadata)
    }
}

/// What an upload has brought to the store.
struct Publication: Sendable {
    let version: ObjectVersion
    /// What the object has.
    let properties: ObjectProperties
    /// The multipart upload that was completed for it; nil where it was none.
    let upload: UploadReference?
}

extension StagedFile {
    /// Freezes what an upload will send; queued → uploading. Nil when there is nothing to send any more.
    func beginSnapshot() -> UploadSnapshot? {
        state.withLock { state in
            precondition(state.phase == .queued, "a snapshot is begun by the file's one worker")
            guard !state.abandoned, state.publishedGeneration < state.generation else { return nil }
            state.phase = .uploading
            state.snapshotIsStale = false
            state.dirtySinceSnapshot = ByteRangeSet()
            state.baseLimitSinceSnapshot = Int.max
            state.snapshotBytes = state.identity.byteCount
            state.sentBytes = 0
            return UploadSnapshot(generation: state.generation, identity: state.identity, dirty: state.contents.dirty)
        }
    }

    /// Whether bytes of the snapshot were overwritten since it began.
    var snapshotIsStale: Bool { state.withLock { $0.snapshotIsStale } }

    func addSentBytes(_ count: Int) {
        state.withLock { $0.sentBytes += count }
    }

    /// Bytes of it begin to be sent, at a monotonic time; parts that are sent ahead began earlier.
    func beginSending(at nanoseconds: UInt64) {
        state.withLock { state in
            if state.sendingSince == nil { state.sendingSince = (nanoseconds, state.acknowledgedBytes) }
        }
    }

    /// Nothing of it is being sent any more.
    func endSending() {
        state.withLock { $0.sendingSince = nil }
    }

    /// A request that may publish is about to be sent. The journal knows, so that after kill -9 the next
    /// mount does not take our own object for another client's; without room for that even in the reserve, it would: the
    /// upload goes on all the same, as it is what makes room.
    /// Returns whether one like it was sent before, whose outcome is not known.
    func beginPublication(_ mark: PublicationMark) -> Bool {
        state.withLock { state in
            let wasSent = state.contents.uncertain.contains(mark)
            guard !wasSent || state.journal?.isClosed == true else { return true }
            state.contents.apply(.sending(mark))
            do throws(StagingError) { try recordFromReserve(.sending(mark), &state) } catch {
                state.journal?.distrust()
            }
            return wasSent
        }
    }

    /// The publishing request has certainly done nothing.
    func refutePublication(_ mark: PublicationMark) {
        state.withLock { state in state.contents.forget(mark) }
    }

    /// Whether the key may hold bytes of this file that no answer has confirmed.
    public var publicationIsUncertain: Bool { state.withLock { !$0.contents.uncertain.isEmpty } }

    /// Whether an object may stand under the key: the base, one of ours whose answer was lost, or one that this file
    /// replaces once it is uploaded.
    public var keyMayHoldObject: Bool {
        state.withLock {
            $0.identity.base != nil || !$0.contents.uncertain.isEmpty || $0.identity.condition != .ifAbsent
        }
    }

    /// What the next upload is conditional on.
    public var condition: WriteCondition { state.withLock { $0.identity.condition } }

    /// The store, asked then, had nothing under the key of this new file; monotonic nanoseconds.
    public func noteAbsence(askedAt: UInt64) {
        state.withLock { $0.absence = ($0.identity.key, askedAt) }
    }

    /// Whether the store was asked so shortly before `now`, and had nothing there.
    func isSeenAbsent(_ key: ObjectKey, now: UInt64) -> Bool {
        let absence = state.withLock { $0.absence }
        guard let absence, absence.key == key, absence.askedAt <= now else { return false }
        return now - absence.askedAt < Self.absenceNanosecondsMax
    }

    /// As long as a HEAD and what follows it may take on a far or busy server.
    private static let absenceNanosecondsMax: UInt64 = 500_000_000

    /// A write at `offset` has failed before it came here: there was no room for it, or the store did not answer.
    public func noteFailedWrite(at offset: Int) {
        state.withLock { state in state.noteFailed(ByteRange(offset: offset, count: 1)) }
    }

    /// Whether a write has failed: what is staged is no state that a program made, and is not sent.
    public var isIncomplete: Bool { state.withLock { !$0.contents.failed.isEmpty && !$0.abandoned } }

    /// Takes an object that stands under the key for the base if a request of ours, whose answer was lost, wrote it.
    /// What differs from it is dirty already: `dirty` holds everything since an older base.
    /// - Parameter hasUploadEnded: whether the store does not know the open upload any more. As long as it does, an earlier
    ///   request made the object, which has none of the upload's bytes.
    func rebase(ontoOwn info: ObjectInfo, hasUploadEnded: Bool) -> Bool {
        let isOwn = state.withLock { state in
            guard state.identity.base != info.version,
                let mark = state.contents.uncertain.first(where: { $0.isMark(of: info) })
            else { return false }
            state.phase = .queued
            state.snapshotBytes = 0
            let isOfUpload =
                hasUploadEnded && state.contents.upload.map { $0.properties.metadata == mark.metadata } ?? false
            state.contents.rebase(info.version, isOfUpload: isOfUpload)
            count(&state)
            do throws(StagingError) { try state.rewriteJournal() } catch {}
            return true
        }
        area.abortOrphans(of: self)
        return isOwn
    }

    /// Books a published snapshot: the new object is the base of what follows. Returns who waited for it.
    /// A journal that cannot be rewritten stays as it was, which would at worst upload the same bytes again.
    func finishSnapshot(_ snapshot: UploadSnapshot, _ published: Publication) -> [OneShot<UploadOutcome>] {
        let (waiters, hasNewOrphan): ([OneShot<UploadOutcome>], Bool) = state.withLock { state in
            state.phase = .queued
            state.publishedGeneration = snapshot.generation
            let version = published.version
            let isPropertiesMissing = published.properties != state.identity.properties
            if isPropertiesMissing, state.generation == snapshot.generation { state.generation += 1 }
            // What was extended since has no base bytes and is dirty; everything else may be read from either home.
            let orphanCount = state.contents.orphans.count
            state.contents.published(
                version, by: published.upload, baseByteCount: min(version.byteCount, state.baseLimitSinceSnapshot),
                since: state.dirtySinceSnapshot, isChanged: state.publishedGeneration < state.generation)
            state.stream.restart()
            state.failure = nil
            state.staleAttempts = 0
            state.lostUploadCount = 0
            state.vainRefusalCount = 0
            state.snapshotBytes = 0
            state.pendingSince = nil
            count(&state)
            // Those of before are in the journal, and being given up.
            let hasNewOrphan = state.contents.orphans.count > orphanCount
            if state.contents.isChanged || hasNewOrphan {
                do throws(StagingError) { try state.rewriteJournal() } catch {}
            } else if !state.abandoned {
                state.journal?.closePublished()
            }
            return (state.takeWaiters(), hasNewOrphan)
        }
        if hasNewOrphan { area.abortOrphans(of: self) }
        area.reserve.fill()
        return waiters
    }

    /// Books a failed attempt. A stale snapshot, or a worker that was told to stop, is no failure of the store: the
    /// waiters go on waiting.
    func finishSnapshot(failed error: StagingError, wasStopped: Bool) -> [OneShot<UploadOutcome>] {
        state.withLock { state in
            state.phase = .queued
            state.snapshotBytes = 0
            if wasStopped, case .store(let cause) = error, cause.kind == .cancelled { return [] }
            if state.snapshotIsStale, case .store(let cause) = error, cause.kind == .sourceFailed {
                state.staleAttempts += 1
                return []
            }
            state.failure = UploadFailure(error: error, tries: (state.failure?.tries ?? 0) + 1)
            // There is room now, perhaps, for what the journal missed.
            if state.journal?.isClosed == true { do throws(StagingError) { try state.rewriteJournal() } catch {} }
            return state.takeWaiters()
        }
    }

    /// The store has refused the upload and has what it is conditional on, seen by the file's worker. Returns whether to try
    /// again at once: not when this happens again and again.
    func tryAgainAfterRefusal() -> Bool {
        state.withLock { state in
            guard state.vainRefusalCount < 3 else { return false }
            state.vainRefusalCount += 1
            state.phase = .queued
            state.snapshotBytes = 0
            return true
        }
    }

    /// Makes the file a new object under another key: how the loser of a conflict keeps its bytes.
    /// All bytes must be local.
    func becomeConflictCopy(_ key: ObjectKey) throws(StagingError) {
        try state.withLock { state throws(StagingError) in
            try state.become { $0.becomeNew(key, condition: .ifAbsent) }
            state.stream = PartStream()
            count(&state)
        }
        area.abortOrphans(of: self)
    }
}

extension StagedFile {
    /// Whether another client replaced the base and the file could not be kept whole: it takes no change any more.
    public var isLost: Bool { state.withLock { $0.lost != nil } }

    /// Refuses every change from here on, with `error`; returns what the file is.
    func lose(to error: StagingError) -> UploadSnapshot {
        state.withLock { state in
            state.lost = error
            return UploadSnapshot(generation: state.generation, identity: state.identity, dirty: state.contents.dirty)
        }
    }

    /// Says in the journal that the file is about to lose its key, or (nil) that it did not.
    public func note(_ departure: Departure?) {
        state.withLock { state in
            guard state.contents.departure != departure, !state.abandoned else { return }
            // Without room for the record, a mount that has to do without it keeps more than was asked for.
            do throws(StagingError) { try state.record(.departing(departure)) } catch {}
            state.contents.apply(.departing(departure))
        }
    }

    /// How an earlier mount was about to take the key from the file.
    public var departure: Departure? { state.withLock { $0.contents.departure } }

    /// Takes `lose` back: its data could not be kept elsewhere yet.
    func unlose() {
        state.withLock { $0.lost = nil }
    }

    /// Ends the life of a lost file whose data is kept elsewhere: its journal goes, nothing of it is sent any more. What is
    /// local stays readable. Returns who waited for its upload.
    func giveUpLost() -> [OneShot<UploadOutcome>] {
        let waiters = state.withLock { state in
            state.abandoned = true
            count(&state)
            return state.takeWaiters()
        }
        area.forget(self)
        return waiters
    }
}

extension StagedFile.State {
    mutating func takeWaiters() -> [OneShot<UploadOutcome>] {
        defer { waiters = [] }
        return waiters
    }
}

/// A range of a staged file as the body of a request. Refuses to go on once the snapshot is stale, so that a published
/// body is never a mix of two states.
final class StagedBody: BodySource {
    private let file: StagedFile
    private let range: ByteRange
    /// Of a part; nil for a whole snapshot.
    private let partNumber: Int?
    private let sentBytes = Atomic<Int>(0)

    init(_ file: StagedFile, range: ByteRange, partNumber: Int? = nil) {
        self.file = file
        self.range = range
        self.partNumber = partNumber
    }

    var byteCount: Int { range.count }

    func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int) -> Bool {
        do throws(StagingError) {
            try file.readLocal(into: buffer, at: range.lowerBound + offset)
        } catch {
            return false
        }
        // After the read: a write marks snapshot and part stale before it changes a byte.
        return !(partNumber.map { file.isStale(part: $0) } ?? file.snapshotIsStale)
    }

    func noteSent(upTo offset: Int) {
        let before = sentBytes.exchange(offset, ordering: .relaxed)
        file.bytesOnTheirWay.add(offset - before, ordering: .relaxed)
    }

    /// None of it is on its way any more: the store has it, or the request has failed.
    func end() { noteSent(upTo: 0) }
}

extension StagedFile {
    /// Keeps a file that was just begun from being sent until `UploadQueue.resume`.
    public func beginHeld() {
        state.withLock { $0.isHeld = true }
    }
}

extension StagedFile {
    /// The version in the store when it has everything of this file, seen from within the upload that brought it there.
    public var publishedIfComplete: ObjectVersion? {
        state.withLock { $0.publishedGeneration == $0.generation && $0.phase != .uploading ? $0.identity.base : nil }
    }

    /// Whether an upload of it is under way.
    public var isBeingSent: Bool { state.withLock { $0.phase == .uploading } }

    /// Waits until the upload under way, if there is one, has ended.
    public func waitForAttempt() async {
        let waiter: OneShot<UploadOutcome>? = state.withLock { state in
            guard state.phase == .uploading else { return nil }
            let waiter = OneShot<UploadOutcome>()
            state.waiters.append(waiter)
            return waiter
        }
        _ = await waiter?.wait()
    }

    /// Whether writes have made snapshots stale so often that the next one must be let through.
    public var isContended: Bool { state.withLock { $0.staleAttempts >= 3 && $0.phase == .uploading } }

    /// Waits until the upload under way has ended, when `isContended`.
    public func waitWhileContended() async {
        let waiter: OneShot<UploadOutcome>? = state.withLock { state in
            guard state.staleAttempts >= 3, state.phase == .uploading else { return nil }
            let waiter = OneShot<UploadOutcome>()
            state.waiters.append(waiter)
            return waiter
        }
        _ = await waiter?.wait()
    }
}

extension StagedFile {
    /// The base object was moved by this mount: the file now stands on, and is uploaded to, another key.
    /// Only while no upload of it runs.
    public func moveBase(to version: ObjectVersion) throws(StagingError) {
        try state.withLock { state throws(StagingError) in
            precondition(state.phase != .uploading, "the base moved during an upload")
            do throws(StagingError) {
                try state.become { $0.moveBase(to: version) }
            } catch {
                // Of a file that has nothing pending nobody needs the journal before its next change, which writes it whole.
                guard !state.contents.isChanged else { throw error }
                state.contents.moveBase(to: version)
                state.journal?.distrust()
            }
        }
        area.abortOrphans(of: self)
    }
}

/// Where the upload of a file stands.
public struct UploadProgress: Sendable, Equatable {
    public enum Phase: Sendable, Equatable { case open, waiting, sending }

    public let phase: Phase
    /// Of the attempt under way: how much the store has acknowledged or a connection has taken, of how much.
    public let sentBytes: Int
    public let totalBytes: Int
    public let failure: UploadFailure?
    /// When the data began to wait; monotonic nanoseconds.
    public let pendingSince: UInt64?
    /// When bytes of it began to be sent, monotonic nanoseconds, and how many the store had then; nil while none is.
    public let sendingSince: UInt64?
    public let sentBytesBefore: Int

    /// How fast it goes, on average since it began; nil when that cannot be said yet.
    public func bytesPerSecond(at nanoseconds: UInt64) -> Int? {
        guard let sendingSince, nanoseconds > sendingSince, sentBytes > sentBytesBefore else { return nil }
        return Int(Double(sentBytes - sentBytesBefore) / (Double(nanoseconds - sendingSince) / 1e9))
    }
}

extension StagedFile {
    public var progress: UploadProgress {
        let onTheirWay = bytesOnTheirWay.load(ordering: .relaxed)
        return state.withLock { state in
            let phase: UploadProgress.Phase =
                switch state.phase {
                case .idle: .open
                case .queued: .waiting
                case .uploading: .sending
                }
            return UploadProgress(
                phase: phase, sentBytes: min(state.acknowledgedBytes + max(0, onTheirWay), state.identity.byteCount),
                totalBytes: state.identity.byteCount,
                failure: state.failure, pendingSince: state.pendingSince,
                sendingSince: state.sendingSince?.nanoseconds, sentBytesBefore: state.sendingSince?.sentBytes ?? 0)
        }
    }
}

extension StagedFile.State {
    /// What the store has acknowledged of the upload under way.
    fileprivate var acknowledgedBytes: Int {
        contents.upload?.sentByteCount ?? (phase == .uploading ? sentBytes : 0)
    }
}
