// Brings staged files to the store: one worker per file, bounded in number, retried until it succeeds.

public import Base
internal import Glibc
public import Logging
public import ObjectModel
public import ObjectStore
internal import Synchronization

/// The uploader of one mount. Thread-safe.
///
/// A file that `submit` was called for is sent as soon as there is room, in order of submission; if that fails it stays
/// staged and is tried again with growing pauses until it succeeds or is settled.
public final class UploadQueue: Sendable {
    public struct Configuration: Sendable {
        /// Files sent at once.
        public var fileCountMax = 64
        /// Parts sent at once, over all files, and as many copied by the server.
        public var partCountMax = 16
        /// Part size asked for by the user, in bytes; nil chooses by the file's size.
        public var partBytes: Int?
        /// The longest file that is sent by one request, in bytes.
        public var singlePutBytes = UploadPlan.singlePutBytes
        /// How long a file must be before parts of it are sent while it is written, in bytes.
        public var aheadBytesMin = 32 << 20
        /// The pause before a change of properties alone is sent: chmod, chown and utimens come in bursts.
        public var propertiesLingerNanoseconds: UInt64 = 500_000_000
        /// The first pause after a failure, and the longest.
        public var retryNanoseconds: UInt64 = 2_000_000_000
        public var retryNanosecondsMax: UInt64 = 120_000_000_000
        /// The longest while the store does not answer at all.
        public var outageRetryNanosecondsMax: UInt64 = 10_000_000_000
        /// The name that conflict copies carry.
        public var hostName = "host"

        public init() {}
    }

    /// Called after each upload that succeeded, outside all locks.
    public typealias Published = @Sendable (StagedFile, ObjectVersion) -> Void
    /// Called before what a file holds begins to be sent, outside all locks: the last time to set its properties.
    public typealias Prepared = @Sendable (StagedFile) -> Void
    /// Called when a file lost against another client and was saved under another key.
    public typealias Conflicted = @Sendable (_ file: StagedFile, _ lost: ObjectKey, _ savedAs: ObjectKey) -> Void

    let store: any ObjectStore
    let area: StagingArea
    let configuration: Configuration
    let time: any TimeSource
    let log: Logger
    let fetch: @Sendable (ObjectVersion, ByteRange) async throws(StoreError) -> [UInt8]
    private let files: AsyncLimiter
    let parts: AsyncLimiter
    let partCopies: AsyncLimiter
    let layout: PartLayout
    let observers = Lock((prepared: [Prepared](), published: [Published](), conflicted: [Conflicted]()))
    /// Holds the uploads of files back that were just closed, or renamed after that.
    private let closes: BurstGate
    private let proven = Atomic<Bool>(false)
    private let failures = Atomic<Int>(0)

    /// - Parameter fetch: reads base bytes (through the block cache) where an upload needs them.
    public init(
        store: any ObjectStore, area: StagingArea, configuration: Configuration, time: any TimeSource, log: Logger,
        fetch: @escaping @Sendable (ObjectVersion, ByteRange) async throws(StoreError) -> [UInt8]
    ) {
        self.store = store
        self.area = area
        self.configuration = configuration
        self.time = time
        self.log = log
        self.fetch = fetch
        closes = BurstGate(
            Burst(pauseNanoseconds: 50_000_000, holdNanosecondsMax: 500_000_000), time: time)
        files = AsyncLimiter(limit: configuration.fileCountMax)
        parts = AsyncLimiter(limit: configuration.partCountMax)
        partCopies = AsyncLimiter(limit: configuration.partCountMax)
        layout = PartLayout(
            partBytes: configuration.partBytes, capabilities: store.capabilities,
            aheadBytesMin: configuration.aheadBytesMin)
        area.onOrphaned { [weak self] orphaned in self?.abort(orphaned) }
    }

    /// Sets who hears of uploads; before the first submission.
    public func observe(
        prepared: @escaping Prepared = { _ in }, published: @escaping Published, conflicted: @escaping Conflicted
    ) {
        observers.withLock {
            $0.prepared.append(prepared)
            $0.published.append(published)
            $0.conflicted.append(conflicted)
        }
    }

    /// Whether the bucket is known to take our writes: an upload succeeded and none has failed since.
    /// While it is not, close() must wait for its upload.
    public var isProven: Bool { proven.load(ordering: .relaxed) }

    /// Tries to upload a file that failed; each of them is tried again.
    public var failureCount: Int { failures.load(ordering: .relaxed) }

    // MARK: Asking for uploads

    /// Sees to it that the file is uploaded soon. Does nothing when there is nothing to send.
    /// - Parameter mayWait: it is a file that was closed, and perhaps one of many: until they have been, for a moment.
    public func submit(_ file: StagedFile, mayWait: Bool = false) {
        submit(file, urgent: false, mayWait: mayWait)
    }

    private func submit(_ file: StagedFile, urgent: Bool, mayWait: Bool = false) {
        file.state.withLock { state in
            guard state.publishedGeneration < state.generation, !state.abandoned else { return }
            if urgent {
                state.isUrgent = true
                state.turn?.set(())
            }
            if state.pendingSince == nil { state.pendingSince = time.monotonicNanoseconds }
            guard state.phase == .idle, !state.isHeld else { return }
            state.phase = .queued
            let mayWait = mayWait && !state.isUrgent && state.identity.byteCount <= configuration.singlePutBytes
            state.turn = mayWait ? closes.holdBack() : nil
            state.worker = Task { [turn = state.turn] in
                await turn?.wait()
                await self.work(file)
            }
        }
    }

    /// Returns when everything the file holds now is in the bucket, or throws why the try failed. For a file whose base was
    /// lost in a conflict, it throws each time.
    public func flush(_ file: StagedFile) async throws(StagingError) {
        let wanted = file.state.withLock { $0.generation }
        while true {
            let waiter = OneShot<UploadOutcome>()
            let isDone = file.state.withLock { state in
                if state.publishedGeneration >= wanted { return true }
                state.waiters.append(waiter)
                return false
            }
            if isDone { return }
            submit(file, urgent: true)
            let (isAbandoned, lost) = file.state.withLock { ($0.abandoned, $0.lost) }
            if let lost { throw lost }
            if isAbandoned { return }
            switch await waiter.wait() {
            case .published(let generation): if generation >= wanted { return }
            case .failed(let error): throw error
            }
        }
    }

    /// Stops the file's upload, if one is going on, and waits until it has stopped; a request that publishes is let go to
    /// its end. Afterwards nothing is sent for the
    /// file until it is submitted again; `publicationIsUncertain` tells whether the key may hold its bytes.
    public func settle(_ file: StagedFile) async {
        let (tasks, turn) = file.state.withLock { ([$0.worker, $0.stream.task], $0.turn) }
        for task in tasks { task?.cancel() }
        turn?.set(())
        for task in tasks { await task?.value }
    }

    /// Settles the file and keeps it from being sent until `resume`.
    public func hold(_ file: StagedFile) async {
        file.state.withLock { $0.isHeld = true }
        await settle(file)
    }

    /// Ends a `hold`; what waits for the file's upload is served now.
    public func resume(_ file: StagedFile) {
        let (mustSend, isAwaited) = file.state.withLock { state in
            state.isHeld = false
            return (!state.waiters.isEmpty || state.pendingSince != nil, !state.waiters.isEmpty)
        }
        // A file that is written under one name and renamed is one of many, often.
        if mustSend { submit(file, mayWait: !isAwaited) }
    }

    // MARK: One file's worker

    private func work(_ file: StagedFile) async {
        var tries = 0
        while !Task.isCancelled {
            if tries == 0 { await linger(file) }
            // Before a place is taken: the copies need places of their own.
            let failure = await flushCopies(of: file)
            let again = await files.run { await self.attempt(file, after: failure) }
            guard again, !Task.isCancelled else { break }
            tries = file.failure?.tries ?? 0
            if tries > 0 { await backOff(file, tries: tries) }
        }
        // Who still waits when the worker was cancelled is served by the next submission, or by `abandon`.
        let mustGoOn = file.state.withLock { state in
            state.phase = .idle
            state.worker = nil
            state.turn = nil
            state.isUrgent = false
            return !Task.isCancelled && state.publishedGeneration < state.generation && !state.abandoned
        }
        if mustGoOn { submit(file) }
    }

    /// The files that stand on the object which this one is to replace: they must be uploaded before.
    private func copies(of file: StagedFile) -> [StagedFile] {
        area.files(standingOn: file.key.bytes).filter { $0 !== file }
    }

    private func flushCopies(of file: StagedFile) async -> StagingError? {
        for copy in copies(of: file) {
            do throws(StagingError) {
                try await flush(copy)
            } catch {
                // The conflict of a copy, which is kept elsewhere then, is none of this file.
                guard case .conflict = error else { return error }
                guard copy.standsOn != nil else { continue }
                return .store(
                    StoreError(
                        .preconditionFailed, operation: "CopyObject", key: copy.key,
                        message: "a copy of the object that is to be replaced could not be kept yet"))
            }
        }
        return nil
    }

    /// One try. Returns whether another is needed.
    /// - Parameter failure: why what must be uploaded before this file could not be.
    private func attempt(_ file: StagedFile, after failure: StagingError?) async -> Bool {
        // Begun while this file waited for its place.
        if failure == nil, !copies(of: file).isEmpty { return true }
        prepare(file)
        guard let snapshot = file.beginSnapshot() else {
            // Nothing to send: whoever waits is answered by what is published.
            let (waiters, generation) = file.state.withLock { ($0.takeWaiters(), $0.publishedGeneration) }
            for waiter in waiters { waiter.set(.published(generation: generation)) }
            return false
        }
        file.beginSending(at: time.monotonicNanoseconds)
        defer { file.endSending() }
        let waiters: [OneShot<UploadOutcome>]
        let outcome: UploadOutcome
        do throws(StagingError) {
            if let failure { throw failure }
            if file.isIncomplete { throw .incomplete }
            let published = try await publish(file, snapshot)
            proven.store(true, ordering: .relaxed)
            waiters = file.finishSnapshot(snapshot, published)
            outcome = .published(generation: snapshot.generation)
            for observer in observers.withLock({ $0.published }) { observer(file, published.version) }
        } catch {
            var error = error
            if case .store(let cause) = error, cause.isLostUpload {
                // It may have been completed by a request of ours whose answer was lost.
                switch await findOther(file, snapshot.identity.key) {
                case .own: return true
                case .foreign: if file.loseUpload() { return true }
                case .unknown(let cause): error = .store(cause)
                }
            }
            if case .conflict = error {
                switch await findOther(file, snapshot.identity.key) {
                case .own: return true
                case .foreign:
                    switch await isMet(snapshot.identity) {
                    case .success(false): break
                    // Nobody has changed anything, or has taken it back.
                    case .success(true): if file.tryAgainAfterRefusal() { return true }
                    case .failure(let cause): error = .store(cause)
                    }
                // Who has changed the object is not known: that is no conflict yet.
                case .unknown(let cause): error = .store(cause)
                }
            }
            if case .conflict = error {
                do throws(StoreError) {
                    if try await hasDeparted(file) { return false }
                } catch let cause {
                    error = .store(cause)
                }
            }
            if case .conflict = error, await isToReplaceNothing(snapshot.identity) {
                file.replace(.ifAbsent)
                return true
            }
            if case .conflict = error, file.hasBytesInTransit, await keepOther(file, snapshot.identity.key) {
                return true
            }
            if case .conflict = error, let saved = await saveConflict(file, snapshot) {
                waiters = saved.waiters
                outcome = .failed(.conflict(savedAs: saved.key))
            } else {
                waiters = file.finishSnapshot(failed: error, wasStopped: Task.isCancelled)
                outcome = .failed(error)
                if !Task.isCancelled, file.failure != nil {
                    failures.add(1, ordering: .relaxed)
                    if error != .incomplete { proven.store(false, ordering: .relaxed) }
                    log.error("upload failed, data kept: \(error)", metadata: ["key": "\(snapshot.identity.key)"])
                }
            }
        }
        for waiter in waiters { waiter.set(outcome) }
        return file.needsUpload
    }

    func prepare(_ file: StagedFile) {
        for observer in observers.withLock({ $0.prepared }) { observer(file) }
    }

    private enum Other {
        /// An earlier request of ours was done and its answer lost. The file stands on that object now, to be sent again.
        case own
        case foreign
        case unknown(StoreError)
    }

    /// The condition of an upload did not hold, or the upload is gone: who has changed the object?
    private func findOther(_ file: StagedFile, _ key: ObjectKey) async -> Other {
        guard file.publicationIsUncertain else { return .foreign }
        do throws(StoreError) {
            let found = try await store.head(key)
            return file.rebase(ontoOwn: found, hasUploadEnded: try await hasEnded(file.openUpload)) ? .own : .foreign
        } catch {
            return error.kind == .notFound ? .foreign : .unknown(error)
        }
    }

    /// Whether the store does not know an upload any more: one that was completed is gone.
    private func hasEnded(_ upload: OpenUpload?) async throws(StoreError) -> Bool {
        guard let upload else { return true }
        do throws(StoreError) {
            return try await store.listParts(upload.reference.id, key: upload.reference.key).isEmpty
                && !upload.parts.isEmpty
        } catch {
            guard error.isLostUpload else { throw error }
            return true
        }
    }

    /// Whether the store, asked once more, has just what an upload that it refused is conditional on.
    private func isMet(_ identity: StagedIdentity) async -> Result<Bool, StoreError> {
        do throws(StoreError) {
            let found = try await headIfPresent(identity.key)
            let isMet =
                switch identity.condition {
                case .none: true
                case .ifAbsent: found == nil
                case .ifMatch(let etag): found?.version.etag == etag
                }
            guard isMet, let base = identity.base else { return .success(isMet) }
            if base.key == identity.key { return .success(found?.version == base) }
            return .success(try await headIfPresent(base.key)?.version == base)
        } catch {
            return .failure(error)
        }
    }

    /// Brings a snapshot to the store.
    func publish(_ file: StagedFile, _ snapshot: UploadSnapshot) async throws(StagingError) -> Publication {
        let identity = snapshot.identity
        var properties = identity.properties
        let plan = UploadPlan.make(
            byteCount: identity.byteCount, dirty: snapshot.dirty,
            base: identity.base.map { ($0, identity.baseByteCount) }, capabilities: store.capabilities,
            isBaseElsewhere: file.standsOn != nil, partBytes: configuration.partBytes,
            singlePutBytes: configuration.singlePutBytes, isBegun: file.hasBytesInTransit)
        var pending: (mark: PublicationMark, wasUncertain: Bool)?
        func begin() {
            let mark = snapshot.mark(properties)
            pending = (mark, file.beginPublication(mark))
        }
        do throws(StoreError) {
            let etag: ETag
            var completed: UploadReference?
            switch plan {
            case .copy:
                // Of what was sent ahead nothing is left: the file was cut to its empty object.
                file.orphanUpload()
                begin()
                etag = try await Self.shielded { [store] () async throws(StoreError) in
                    try await store.copy(
                        CopyRequest(
                            source: identity.base!, destination: identity.key, properties: identity.properties))
                }
            case .put:
                file.orphanUpload()
                try await materialise(file, ByteRange(0, identity.byteCount))
                if file.snapshotIsStale { throw StoreError(.sourceFailed, operation: "PutObject", key: identity.key) }
                begin()
                let body = identity.byteCount == 0 ? nil : StagedBody(file, range: ByteRange(0, identity.byteCount))
                let isSeenAbsent =
                    identity.condition == .ifAbsent
                    && file.isSeenAbsent(identity.key, now: time.monotonicNanoseconds)
                defer { body?.end() }
                etag = try await Self.shielded { [store] () async throws(StoreError) in
                    try await store.put(
                        PutRequest(
                            key: identity.key, body: body, properties: identity.properties,
                            condition: identity.condition, isSeenAbsent: isSeenAbsent))
                }
                file.addSentBytes(identity.byteCount)
            case .multipart(let planned):
                let (upload, given, parts) = try await sendParts(planned, of: file, identity)
                properties = given
                completed = UploadReference(id: upload, key: identity.key)
                begin()
                etag = try await Self.shielded { [store] () async throws(StoreError) in
                    try await store.completeUpload(
                        upload, key: identity.key, parts: parts, condition: identity.condition)
                }
            }
            return Publication(
                version: ObjectVersion(key: identity.key, etag: etag, byteCount: identity.byteCount),
                properties: properties, upload: completed)
        } catch {
            if let pending, !pending.wasUncertain, !error.isOutcomeOpen { file.refutePublication(pending.mark) }
            if let code = error.localCode { throw .disk(code: code, action: error.message) }
            if error.kind == .preconditionFailed, identity.condition != .none || identity.base != nil {
                throw .conflict(savedAs: nil)
            }
            // Another client removed the object that ours is a change of: no later try finds it.
            if error.kind == .notFound, !error.isLostUpload, let base = identity.base, await isGone(base) {
                throw .conflict(savedAs: nil)
            }
            throw .store(error)
        }
    }

    /// Whether the store says, once more, that a version is not there.
    private func isGone(_ version: ObjectVersion) async -> Bool {
        do throws(StoreError) {
            return try await store.head(version.key).version != version
        } catch {
            return error.kind == .notFound
        }
    }

    /// Runs a request to its end, also when the worker is told to stop meanwhile: a request that publishes and was cut off
    /// may still take effect after whatever is done next (the DELETE of an unlink, say), and bring the file back.
    static func shielded<Value: Sendable>(
        _ request: @escaping @Sendable () async throws(StoreError) -> Value
    ) async throws(StoreError) -> Value {
        let task = Task { () async -> Result<Value, StoreError> in
            do throws(StoreError) { return .success(try await request()) } catch { return .failure(error) }
        }
        return try await task.value.get()
    }

    func materialise(_ file: StagedFile, _ range: ByteRange) async throws(StoreError) {
        do throws(StagingError) {
            try await file.materialise(range, fetch: fetch)
        } catch {
            switch error {
            case .store(let cause): throw cause
            case .disk(let code, let action):
                var failure = StoreError(.sourceFailed, operation: "staging", key: file.key, message: action)
                failure.localCode = code
                throw failure
            default: throw StoreError(.sourceFailed, operation: "staging", key: file.key, message: error.description)
            }
        }
    }
}
