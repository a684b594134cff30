// Multipart uploads: sent ahead while a file is written, gone on with after failures and restarts, given up when orphaned.

internal import Base
internal import Logging
internal import ObjectModel
internal import ObjectStore

extension UploadQueue {
    // MARK: For a snapshot

    /// Sees to it that every planned part is in the store; what is there already is not sent again. Returns the upload,
    /// what it was begun with, and its parts.
    func sendParts(
        _ planned: [UploadPlan.Part], of file: StagedFile, _ identity: StagedIdentity
    ) async throws(StoreError) -> (UploadID, ObjectProperties, [UploadedPart]) {
        // Whatever sends ahead begins nothing new while there is a snapshot; the upload it is beginning is ours, too.
        if file.openUpload == nil { await file.streamTask?.value }
        let upload = try await openUpload(of: file, properties: identity.properties)
        while true {
            try await send(file.missingParts(planned), of: file, base: identity.base, upload.reference)
            await file.streamTask?.value
            if let parts = file.sentParts(planned) {
                guard !file.snapshotIsStale else { throw stale(identity.key) }
                return (upload.reference.id, upload.properties, parts)
            }
            if Task.isCancelled { throw StoreError(.cancelled, operation: "UploadPart", key: identity.key) }
            // A part was changed while it was being sent, or its own sender has failed.
            if file.snapshotIsStale { throw stale(identity.key) }
            guard file.openUpload?.reference == upload.reference else { throw stale(identity.key) }
        }
    }

    private func stale(_ key: ObjectKey) -> StoreError {
        StoreError(.sourceFailed, operation: "UploadPart", key: key, message: "the file is being changed")
    }

    /// The upload that is open for the file, confirmed by the store if it is an earlier process's, else a new one.
    private func openUpload(
        of file: StagedFile, properties: ObjectProperties
    ) async throws(StoreError) -> OpenUpload {
        if let upload = file.openUpload {
            if upload.isConfirmed, !upload.parts.isEmpty || file.streamTask != nil || upload.properties == properties {
                return upload
            }
            if !upload.isConfirmed {
                file.confirmUpload(try await store.listParts(upload.reference.id, key: upload.reference.key))
                if file.isMissingFreedBytes {
                    throw StoreError(
                        .notFound, operation: "ListParts", key: file.key, code: StoreError.noSuchUpload,
                        message: "parts that held bytes of the file are gone")
                }
            }
            if let confirmed = file.openUpload, !confirmed.parts.isEmpty || confirmed.properties == properties {
                return confirmed
            }
        }
        file.orphanUpload()
        let key = file.key
        // To its end, also when the file is removed meanwhile: an upload whose answer was not awaited has no name to be given
        // up by.
        let id = try await Self.shielded { [store] () async throws(StoreError) in
            try await store.createUpload(key, properties: properties)
        }
        let reference = UploadReference(id: id, key: key)
        guard file.beginUpload(reference, properties: properties), let upload = file.openUpload else {
            abort(OrphanedUploads(uploads: [reference]) { _ in })
            throw StoreError(.cancelled, operation: "CreateMultipartUpload", key: key)
        }
        return upload
    }

    private typealias NumberedPart = (part: UploadPlan.Part, number: Int)

    /// What the server copies takes nothing of our line, so that none of it waits for what is sent, nor the other way round.
    private func send(
        _ missing: [NumberedPart], of file: StagedFile, base: ObjectVersion?, _ upload: UploadReference
    ) async throws(StoreError) {
        var failure: StoreError?
        await withTaskGroup(of: StoreError?.self) { group in
            for (source, places) in [(UploadPlan.Part.Source.staged, parts), (.base, partCopies)] {
                let some = missing.filter { $0.part.source == source }
                group.addTask { await self.send(some, places, of: file, base: base, upload) }
            }
            for await error in group {
                guard let error, failure == nil else { continue }
                failure = error
                group.cancelAll()
            }
        }
        if let failure { throw failure }
    }

    private func send(
        _ missing: [NumberedPart], _ places: AsyncLimiter, of file: StagedFile, base: ObjectVersion?,
        _ upload: UploadReference
    ) async -> StoreError? {
        await withTaskGroup(of: StoreError?.self) { group in
            var failure: StoreError?
            var rest = missing[...]
            func startNext() {
                guard let (part, number) = rest.popFirst() else { return }
                group.addTask { await places.run { await self.send(part, number, of: file, base: base, upload) } }
            }
            for _ in 0..<min(configuration.partCountMax, missing.count) { startNext() }
            for await error in group {
                if let error, failure == nil {
                    failure = error
                    group.cancelAll()
                }
                if failure == nil { startNext() }
            }
            return failure
        }
    }

    /// Sends one part and books it. Nil also when another task is sending the part of that number.
    private func send(
        _ part: UploadPlan.Part, _ number: Int, of file: StagedFile, base: ObjectVersion?, _ upload: UploadReference
    ) async -> StoreError? {
        do throws(StoreError) {
            // Fetched before the part is claimed: what is fetched does not change it.
            if part.source == .staged { try await materialise(file, part.range) }
        } catch {
            return error
        }
        guard file.beginPart(part, number: number) else { return nil }
        return await sendBegun(part, number, of: file, base: base, upload)
    }

    private func sendBegun(
        _ part: UploadPlan.Part, _ number: Int, of file: StagedFile, base: ObjectVersion?, _ upload: UploadReference
    ) async -> StoreError? {
        do throws(StoreError) {
            let etag: ETag
            switch part.source {
            case .base:
                etag = try await store.uploadPartCopy(
                    upload.id, key: upload.key, number: number, source: base!, range: part.range)
            case .staged:
                let body = StagedBody(file, range: part.range, partNumber: number)
                defer { body.end() }
                etag = try await store.uploadPart(upload.id, key: upload.key, number: number, body: body)
            }
            file.endPart(part, number: number, etag: etag, of: upload)
            return nil
        } catch {
            let wasStale = file.isStale(part: number)
            file.endPart(part, number: number, etag: nil, mayArrive: error.isOutcomeOpen, of: upload)
            // The body refused because the part is another now: no failure of the store.
            return wasStale && error.kind == .sourceFailed ? nil : error
        }
    }

    // MARK: Ahead of the snapshot

    /// To be called after writes: a large file that is written from front to back is sent behind the writer.
    public func noteWritten(_ file: StagedFile) {
        stream(file, isUrgent: false)
    }

    func stream(_ file: StagedFile, isUrgent: Bool) {
        file.startStream(isUrgent: isUrgent, layout: layout) {
            Task { await self.sendAhead(file, isUrgent: isUrgent) }
        }
    }

    private func sendAhead(_ file: StagedFile, isUrgent: Bool) async {
        var failure: StoreError?
        file.beginSending(at: time.monotonicNanoseconds)
        prepare(file)
        repeat {
            do throws(StoreError) {
                let upload = try await openUpload(of: file, properties: file.properties)
                failure = await sendAhead(file, upload.reference, isUrgent: isUrgent)
            } catch {
                failure = error
            }
            if let failure, failure.kind != .cancelled {
                // close() and fsync() tell, by the attempt of their own.
                log.debug("parts could not be sent ahead: \(failure)", metadata: ["key": "\(file.key)"])
            }
        } while !file.endStream(isBroken: failure != nil, mustEnd: Task.isCancelled, layout: layout)
        file.wakePartWaiters()
    }

    private func sendAhead(_ file: StagedFile, _ upload: UploadReference, isUrgent: Bool) async -> StoreError? {
        await withTaskGroup(of: StoreError?.self) { group in
            var runningCount = 0
            var failure: StoreError?
            while true {
                while failure == nil, !Task.isCancelled, runningCount < configuration.partCountMax,
                    let (part, number) = file.beginStreamPart(isUrgent: isUrgent, layout: layout)
                {
                    runningCount += 1
                    group.addTask {
                        await self.parts.run { await self.sendBegun(part, number, of: file, base: nil, upload) }
                    }
                }
                guard let outcome = await group.next() else { return failure }
                runningCount -= 1
                if let outcome, failure == nil { failure = outcome }
            }
        }
    }

    // MARK: Room

    /// Gives up local bytes that are in acknowledged parts.
    public func freeSentParts() {
        for file in area.files { _ = file.freeSentParts(layout: layout) }
    }

    /// Gives up all local bytes that are in the store as well, and returns how many.
    public func freeDisk() -> Int {
        area.files.reduce(0) { $0 + $1.freeSentParts(layout: layout) + $1.freeClean() }
    }

    /// Waits until an upload has freed room, or made some to free.
    public func waitForRoom() async throws(StagingError) {
        let pending = area.files.filter(\.needsUpload)
        // Parts publish nothing, so that those of a file that a write is missing from may go, too.
        for file in pending { stream(file, isUrgent: true) }
        for file in pending where await file.waitForPart() { return }
        let complete = pending.filter { !$0.isIncomplete }
        guard !complete.isEmpty else { throw .full(limitBytes: area.limit ?? 0) }
        // Nothing is on its way: whole files then, those that nobody writes any more first.
        var failure: StagingError?
        for file in complete.sorted(by: { $0.isWaitingForUpload && !$1.isWaitingForUpload }) {
            do throws(StagingError) {
                try await flush(file)
                return
            } catch {
                failure = error
            }
        }
        if let failure { throw failure }
    }

    /// For who meets a full disk: waits until a part, or a closed file, that is on its way has ended. False when nothing is, or
    /// it has failed: waiting longer would bring no room.
    public func waitForWhatIsSent() async -> Bool {
        let pending = area.files.filter(\.needsUpload)
        for file in pending { stream(file, isUrgent: true) }
        for file in pending where await file.waitForPart() { return true }
        // Not what somebody still writes: half a file would be published.
        guard let closed = pending.first(where: { $0.isWaitingForUpload && !$0.isIncomplete }) else { return false }
        do throws(StagingError) { try await flush(closed) } catch { return false }
        return true
    }

    // MARK: Orphans

    /// Gives uploads up, in the background; what cannot be reached now is tried again by the next mount.
    func abort(_ orphaned: OrphanedUploads) {
        Task.detached { [self] in
            for upload in orphaned.uploads {
                for attempt in 0..<8 {
                    do throws(StoreError) {
                        try await store.abortUpload(upload.id, key: upload.key)
                        orphaned.forget(upload)
                        break
                    } catch {
                        if attempt == 0 || attempt == 7 {
                            log.warning(
                                "a multipart upload could not be given up\(attempt == 7 ? "; the next mount tries again" : "")",
                                metadata: ["key": "\(upload.key)", "error": "\(error)"])
                        }
                        try? await time.sleep(nanoseconds: configuration.retryNanoseconds << UInt64(attempt))
                    }
                }
            }
        }
    }
}
