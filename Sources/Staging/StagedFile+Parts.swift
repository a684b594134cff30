// The parts of a staged file's multipart upload: begun, acknowledged, made stale by writes, and their local bytes freed.

internal import Base
public import ObjectModel
internal import ObjectStore

extension StagedFile {
    // MARK: The upload

    /// The upload that is open under the file's key.
    var openUpload: OpenUpload? {
        state.withLock { state in
            guard let upload = state.contents.upload, upload.reference.key == state.identity.key else { return nil }
            return upload
        }
    }

    /// Books an upload that was just begun. Returns false when the file has no use for it any more.
    func beginUpload(_ reference: UploadReference, properties: ObjectProperties) -> Bool {
        state.withLock { state in
            guard !state.abandoned, state.contents.upload == nil, reference.key == state.identity.key else {
                return false
            }
            // Without room for the record, the parts are sent again after a restart. No later record may stand without it:
            // bytes that are freed would be in parts that nobody knows.
            do throws(StagingError) { try state.record(.uploading(reference, properties)) } catch {
                state.journal?.distrust()
            }
            state.contents.apply(.uploading(reference, properties))
            state.contents.confirmNewUpload()
            return true
        }
    }

    /// The store has told which parts it holds.
    func confirmUpload(_ listed: [UploadedPart]) {
        state.withLock { state in
            state.contents.confirmUpload(listed)
            do throws(StagingError) { try state.rewriteJournal() } catch {}
        }
    }

    /// The store does not know the upload any more, or has other bytes in a part than it acknowledged, seen by the file's
    /// worker. It begins another one, and this one is given up; where bytes of the file are in it alone, the store is asked
    /// what it has. Returns false when this happens again and again.
    func loseUpload() -> Bool {
        let isLost = state.withLock { state in
            guard state.lostUploadCount < 3 else { return false }
            state.lostUploadCount += 1
            state.phase = .queued
            state.snapshotBytes = 0
            if state.contents.freed.isEmpty {
                state.contents.orphanUpload()
            } else {
                state.contents.doubtUpload()
            }
            do throws(StagingError) { try state.rewriteJournal() } catch {}
            return true
        }
        if isLost { area.abortOrphans(of: self) }
        return isLost
    }

    /// The upload replaces another version than the one that the file was made from, seen by the file's worker: that one is
    /// kept elsewhere.
    func replace(_ condition: WriteCondition) {
        state.withLock { state in
            state.phase = .queued
            state.snapshotBytes = 0
            state.contents.identity.condition = condition
            do throws(StagingError) { try state.rewriteJournal() } catch {}
        }
    }

    /// Whether bytes of the file were in parts that the store does not hold any more.
    var isMissingFreedBytes: Bool {
        state.withLock { state in
            guard !state.contents.freed.isEmpty else { return false }
            let held = ByteRangeSet((state.contents.upload?.parts.values).map { $0.map(\.range) } ?? [])
            return !state.contents.freed.ranges.allSatisfy { held.contains($0) }
        }
    }

    /// Gives the open upload up, if it may be: what is in it is here, too.
    func orphanUpload() {
        let hasOrphan = state.withLock { state in
            guard state.contents.upload != nil, state.contents.freed.isEmpty else { return false }
            state.contents.orphanUpload()
            do throws(StagingError) { try state.rewriteJournal() } catch {}
            return true
        }
        if hasOrphan { area.abortOrphans(of: self) }
    }

    // MARK: Parts

    /// The planned parts that are neither in the store nor on their way.
    func missingParts(_ planned: [UploadPlan.Part]) -> [(part: UploadPlan.Part, number: Int)] {
        state.withLock { state in
            planned.enumerated().compactMap { index, part in
                let number = index + 1
                if state.contents.upload?.has(part, number: number) == true { return nil }
                if state.stream.inFlight[number]?.part == part { return nil }
                return (part, number)
            }
        }
    }

    /// Whether every planned part is in the store as the file has it; the parts then, for the completion.
    func sentParts(_ planned: [UploadPlan.Part]) -> [UploadedPart]? {
        state.withLock { state in
            guard let upload = state.contents.upload else { return nil }
            var result: [UploadedPart] = []
            for (index, part) in planned.enumerated() {
                guard upload.has(part, number: index + 1), let sent = upload.parts[index + 1] else { return nil }
                result.append(UploadedPart(number: sent.number, etag: sent.etag, byteCount: sent.range.count))
            }
            return result
        }
    }

    /// Claims a part for sending; false when somebody else is sending another one of that number.
    func beginPart(_ part: UploadPlan.Part, number: Int) -> Bool {
        state.withLock { state in
            guard state.stream.inFlight[number] == nil else { return false }
            state.stream.begin(part, number: number)
            return true
        }
    }

    func isStale(part number: Int) -> Bool {
        state.withLock { $0.stream.inFlight[number]?.isStale ?? true }
    }

    /// Books the end of a part: with the ETag that the store gave it, or nil when it failed.
    /// - Parameter mayArrive: whether the store may still take the body of a request that failed.
    func endPart(
        _ part: UploadPlan.Part, number: Int, etag: ETag?, mayArrive: Bool = true, of upload: UploadReference
    ) {
        let waiters: [OneShot<Void>] = state.withLock { state in
            let isFresh = state.stream.end(number: number)
            defer { state.stream.waiters = [] }
            guard !state.abandoned, state.contents.upload?.reference == upload else { return state.stream.waiters }
            guard let etag, isFresh else {
                if mayArrive { state.contents.contestPart(number) }
                return state.stream.waiters
            }
            let sent = SentPart(number: number, range: part.range, source: part.source, etag: etag)
            do throws(StagingError) { try state.record(.sent(sent)) } catch { state.journal?.distrust() }
            state.contents.apply(.sent(sent))
            return state.stream.waiters
        }
        for waiter in waiters { waiter.set(()) }
    }

    // MARK: Sending ahead

    /// Whether a task must be started that sends parts ahead; its owner is told the task by `start`, under the lock.
    func startStream(isUrgent: Bool, layout: PartLayout, _ start: () -> Task<Void, Never>) {
        state.withLock { state in
            guard state.stream.task == nil, state.mayStream,
                state.stream.next(of: state.contents, isUrgent: isUrgent, layout: layout) != nil
            else { return }
            state.stream.task = start()
        }
    }

    /// Claims the next part to be sent ahead.
    func beginStreamPart(isUrgent: Bool, layout: PartLayout) -> (part: UploadPlan.Part, number: Int)? {
        state.withLock { state in
            guard state.mayStream, let next = state.stream.next(of: state.contents, isUrgent: isUrgent, layout: layout)
            else { return nil }
            state.stream.begin(next.part, number: next.number)
            return next
        }
    }

    /// Ends the task that sends ahead, unless another part has become whole meanwhile.
    /// - Parameter mustEnd: it was told to: another one may go on.
    func endStream(isBroken: Bool, mustEnd: Bool, layout: PartLayout) -> Bool {
        state.withLock { state in
            if isBroken { state.stream.isBroken = true }
            if !mustEnd, state.mayStream,
                state.stream.next(of: state.contents, isUrgent: false, layout: layout) != nil
            {
                return false
            }
            state.stream.task = nil
            return true
        }
    }

    var streamTask: Task<Void, Never>? { state.withLock { $0.stream.task } }

    /// Waits until a part of it has ended, or none is on its way any more; false when none is now.
    func waitForPart() async -> Bool {
        let waiter: OneShot<Void>? = state.withLock { state in
            guard !state.stream.inFlight.isEmpty || state.stream.task != nil else { return nil }
            let waiter = OneShot<Void>()
            state.stream.waiters.append(waiter)
            return waiter
        }
        guard let waiter else { return false }
        await waiter.wait()
        return true
    }

    /// Tells who waits for a part that none is on its way.
    func wakePartWaiters() {
        let waiters = state.withLock { state in
            defer { state.stream.waiters = [] }
            return state.stream.waiters
        }
        for waiter in waiters { waiter.set(()) }
    }

    /// Whether it waits for its upload, or has one under way.
    var isWaitingForUpload: Bool { state.withLock { $0.phase != .idle } }

    // MARK: Room

    /// Whether bytes of `range` are in the store only, in an upload that is not completed.
    public func isInTransit(_ range: ByteRange) -> Bool { state.withLock { $0.contents.isInTransit(range) } }

    /// Whether any byte is.
    public var hasBytesInTransit: Bool { state.withLock { !$0.contents.freed.isEmpty } }

    /// Gives local bytes up that are in acknowledged parts of a file that is being sent ahead, and returns how many. They
    /// are read again from the object, once the upload is completed.
    func freeSentParts(layout: PartLayout) -> Int {
        state.withLock { state in
            // A held file is about to get another key, which an upload cannot.
            guard state.phase == .idle, !state.isHeld, !state.abandoned, state.identity.baseByteCount == 0,
                let upload = state.contents.upload, upload.isConfirmed, upload.reference.key == state.identity.key
            else { return 0 }
            var freedBytes = 0
            var offset = 0
            for number in 1...max(1, upload.parts.keys.max() ?? 1) {
                let range = layout.range(number: number, offset: offset)
                offset = range.upperBound
                // Only parts that any longer file has, too: the last one changes when the file grows.
                guard upload.has(.init(range: range, source: .staged), number: number), upload.isSettled(number),
                    state.contents.local.contains(range), !state.isBeingRead(range)
                else { continue }
                do throws(StagingError) { try recordFromReserve(.freed(range), &state) } catch { break }
                state.contents.apply(.freed(range))
                area.disk.punch(range, of: descriptor)
                freedBytes += range.count
            }
            if freedBytes > 0 {
                count(&state)
                area.reserve.fill()
            }
            return freedBytes
        }
    }

    /// Journals what is to make room, with room of the reserve where a full disk has none.
    func recordFromReserve(_ record: JournalRecord, _ state: inout State) throws(StagingError) {
        do throws(StagingError) {
            try state.record(record)
        } catch {
            guard error.isDiskFull, area.reserve.release() else { throw error }
            try state.record(record)
        }
    }

    /// Gives local bytes up that the base object has, too, and returns how many.
    func freeClean() -> Int {
        state.withLock { state in
            guard state.phase == .idle, !state.abandoned, state.identity.base != nil, state.contents.freed.isEmpty
            else { return 0 }
            var freedBytes = 0
            for range in state.contents.local.intersection(ByteRange(0, state.identity.baseByteCount)) {
                for clean in state.contents.dirty.gaps(in: range) where !state.isBeingRead(clean) {
                    state.contents.dropClean(clean)
                    area.disk.punch(clean, of: descriptor)
                    freedBytes += clean.count
                }
            }
            return freedBytes
        }
    }

    // MARK: Orphans

    /// Uploads in the store that nobody will complete.
    var orphans: [UploadReference] { state.withLock { $0.contents.orphans } }

    /// The store has given one up.
    func forgetOrphan(_ reference: UploadReference) {
        state.withLock { state in
            state.contents.forgetOrphan(reference)
            do throws(StagingError) { try state.rewriteJournal() } catch {}
        }
    }

    /// The uploads to be given up when the file is not wanted any more: all that it has. Its journal is theirs, if there are any.
    func leaveUploads() -> (identity: StagedIdentity, uploads: [UploadReference]) {
        state.withLock { state in
            let uploads = state.contents.orphans + (state.contents.upload.map { [$0.reference] } ?? [])
            if !uploads.isEmpty { state.journal = nil }
            return (state.identity, uploads)
        }
    }
}

extension StagedFile.State {
    /// Whether parts may be sent ahead: no worker has the file, and nothing forbids it.
    var mayStream: Bool {
        phase == .idle && !isHeld && !abandoned && lost == nil && contents.isChanged
            && (contents.upload == nil || contents.upload!.isConfirmed)
    }
}
