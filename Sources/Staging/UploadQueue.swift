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
        /// Parts sent at once, over all files.
        public var partCountMax = 16
        /// Part size asked for by the user, in bytes; nil chooses by the file's size.
        public var partBytes: Int?
        /// The pause before a change of properties alone is sent: chmod, chown and utimens come in bursts.
        public var propertiesLingerNanoseconds: UInt64 = 500_000_000
        /// The first pause after a failure, and the longest.
        public var retryNanoseconds: UInt64 = 2_000_000_000
        public var retryNanosecondsMax: UInt64 = 120_000_000_000
        /// The name that conflict copies carry.
        public var hostName = "host"

        public init() {}
    }

    /// Called after each upload that succeeded, outside all locks.
    public typealias Published = @Sendable (StagedFile, ObjectVersion) -> Void
    /// Called when a file lost against another client and was saved under another key.
    public typealias Conflicted = @Sendable (_ file: StagedFile, _ lost: ObjectKey, _ savedAs: ObjectKey) -> Void

    let store: any ObjectStore
    let area: StagingArea
    let configuration: Configuration
    let time: any TimeSource
    let log: Logger
    let fetch: @Sendable (ObjectVersion, ByteRange) async throws(StoreError) -> [UInt8]
    private let files: AsyncLimiter
    private let parts: AsyncLimiter
    let observers = Lock((published: [Published](), conflicted: [Conflicted]()))
    private let proven = Atomic<Bool>(false)

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
        files = AsyncLimiter(limit: configuration.fileCountMax)
        parts = AsyncLimiter(limit: configuration.partCountMax)
    }

    /// Sets who hears of finished uploads; before the first submission.
    public func observe(published: @escaping Published, conflicted: @escaping Conflicted) {
        observers.withLock {
            $0.published.append(published)
            $0.conflicted.append(conflicted)
        }
    }

    /// Whether the bucket is known to take our writes: an upload succeeded and none has failed since.
    /// While it is not, close() must wait for its upload.
    public var isProven: Bool { proven.load(ordering: .relaxed) }

    // MARK: Asking for uploads

    /// Sees to it that the file is uploaded soon. Does nothing when there is nothing to send.
    public func submit(_ file: StagedFile) {
        submit(file, urgent: false)
    }

    private func submit(_ file: StagedFile, urgent: Bool) {
        file.state.withLock { state in
            guard state.publishedGeneration < state.generation, !state.abandoned else { return }
            if urgent { state.isUrgent = true }
            if state.pendingSince == nil { state.pendingSince = time.monotonicNanoseconds }
            guard state.phase == .idle, !state.isHeld else { return }
            state.phase = .queued
            state.worker = Task { await self.work(file) }
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
        let worker = file.state.withLock { $0.worker }
        worker?.cancel()
        await worker?.value
    }

    /// Settles the file and keeps it from being sent until `resume`.
    public func hold(_ file: StagedFile) async {
        file.state.withLock { $0.isHeld = true }
        await settle(file)
    }

    /// Ends a `hold`; what waits for the file's upload is served now.
    public func resume(_ file: StagedFile) {
        let mustSend = file.state.withLock { state in
            state.isHeld = false
            return !state.waiters.isEmpty || state.pendingSince != nil
        }
        if mustSend { submit(file) }
    }

    // MARK: One file's worker

    private func work(_ file: StagedFile) async {
        var tries = 0
        while !Task.isCancelled {
            if tries == 0 { await linger(file) }
            let again = await files.run { await self.attempt(file) }
            guard again, !Task.isCancelled else { break }
            tries = file.failure?.tries ?? 0
            if tries > 0 { await backOff(file, tries: tries) }
        }
        // Who still waits when the worker was cancelled is served by the next submission, or by `abandon`.
        let mustGoOn = file.state.withLock { state in
            state.phase = .idle
            state.worker = nil
            state.isUrgent = false
            return !Task.isCancelled && state.publishedGeneration < state.generation && !state.abandoned
        }
        if mustGoOn { submit(file) }
    }

    /// One try. Returns whether another is needed.
    private func attempt(_ file: StagedFile) async -> Bool {
        guard let snapshot = file.beginSnapshot() else {
            // Nothing to send: whoever waits is answered by what is published.
            let (waiters, generation) = file.state.withLock { ($0.takeWaiters(), $0.publishedGeneration) }
            for waiter in waiters { waiter.set(.published(generation: generation)) }
            return false
        }
        let waiters: [OneShot<UploadOutcome>]
        let outcome: UploadOutcome
        do throws(StagingError) {
            let version = try await publish(file, snapshot)
            proven.store(true, ordering: .relaxed)
            waiters = file.finishSnapshot(snapshot, published: version)
            outcome = .published(generation: snapshot.generation)
            for observer in observers.withLock({ $0.published }) { observer(file, version) }
        } catch {
            var error = error
            if case .conflict = error {
                switch await findOther(file, snapshot.identity.key) {
                case .own: return true
                case .foreign: break
                // Who has changed the object is not known: that is no conflict yet.
                case .unknown(let cause): error = .store(cause)
                }
            }
            if case .conflict = error, let saved = await saveConflict(file, snapshot) {
                waiters = saved.waiters
                outcome = .failed(.conflict(savedAs: saved.key))
            } else {
                waiters = file.finishSnapshot(failed: error, wasStopped: Task.isCancelled)
                outcome = .failed(error)
                if !Task.isCancelled, file.failure != nil {
                    proven.store(false, ordering: .relaxed)
                    log.error("upload failed, data kept: \(error)", metadata: ["key": "\(snapshot.identity.key)"])
                }
            }
        }
        for waiter in waiters { waiter.set(outcome) }
        return file.needsUpload
    }

    private enum Other {
        /// An earlier request of ours was done and its answer lost. The file stands on that object now, to be sent again.
        case own
        case foreign
        case unknown(StoreError)
    }

    /// The condition of an upload did not hold: who has changed the object?
    private func findOther(_ file: StagedFile, _ key: ObjectKey) async -> Other {
        guard file.publicationIsUncertain else { return .foreign }
        do throws(StoreError) {
            return file.rebase(ontoOwn: try await store.head(key)) ? .own : .foreign
        } catch {
            return error.kind == .notFound ? .foreign : .unknown(error)
        }
    }

    func publish(_ file: StagedFile, _ snapshot: UploadSnapshot) async throws(StagingError) -> ObjectVersion {
        let identity = snapshot.identity
        let wasUncertain = file.isUncertain(snapshot)
        let plan = UploadPlan.make(
            byteCount: identity.byteCount, dirty: snapshot.dirty,
            base: identity.base.map { ($0, identity.baseByteCount) }, capabilities: store.capabilities,
            partBytes: configuration.partBytes)
        do throws(StoreError) {
            let etag: ETag
            switch plan {
            case .copy:
                file.beginPublication(snapshot)
                etag = try await Self.shielded { [store] () async throws(StoreError) in
                    try await store.copy(
                        CopyRequest(
                            source: identity.base!, destination: identity.key, properties: identity.properties))
                }
            case .put:
                try await materialise(file, ByteRange(0, identity.byteCount))
                if file.snapshotIsStale { throw StoreError(.sourceFailed, operation: "PutObject", key: identity.key) }
                file.beginPublication(snapshot)
                etag = try await Self.shielded { [store] () async throws(StoreError) in
                    try await store.put(
                        PutRequest(
                            key: identity.key,
                            body: identity.byteCount == 0
                                ? nil : StagedBody(file, range: ByteRange(0, identity.byteCount)),
                            properties: identity.properties, condition: identity.condition))
                }
                file.addSentBytes(identity.byteCount)
            case .multipart(let planned):
                etag = try await publishParts(file, snapshot, planned)
            }
            return ObjectVersion(key: identity.key, etag: etag, byteCount: identity.byteCount)
        } catch {
            // Only these leave open whether the store did it.
            switch error.kind {
            case .timedOut, .cancelled, .unreachable, .serverFault, .malformedResponse: break
            default: file.refutePublication(snapshot, wasUncertain: wasUncertain)
            }
            if error.kind == .preconditionFailed, identity.condition != .none || identity.base != nil {
                throw .conflict(savedAs: nil)
            }
            throw .store(error)
        }
    }

    private func publishParts(
        _ file: StagedFile, _ snapshot: UploadSnapshot, _ planned: [UploadPlan.Part]
    ) async throws(StoreError) -> ETag {
        let identity = snapshot.identity
        let upload = try await store.createUpload(identity.key, properties: identity.properties)
        var uploaded: [UploadedPart] = []
        var failure: StoreError?
        await withTaskGroup(of: Result<UploadedPart, StoreError>.self) { group in
            var next = 0
            func startNext() {
                guard next < planned.count else { return }
                let (part, number) = (planned[next], next + 1)
                next += 1
                group.addTask {
                    await self.parts.run { await self.send(part, number: number, of: file, identity, upload) }
                }
            }
            for _ in 0..<min(configuration.partCountMax, planned.count) { startNext() }
            for await result in group {
                switch result {
                case .success(let part): uploaded.append(part)
                case .failure(let error):
                    if failure == nil { failure = error }
                    group.cancelAll()
                }
                if failure == nil { startNext() }
            }
        }
        do throws(StoreError) {
            if let failure { throw failure }
            if file.snapshotIsStale, Task.isCancelled {
                throw StoreError(.cancelled, operation: "UploadPart", key: identity.key)
            }
            file.beginPublication(snapshot)
            let parts = uploaded.sorted { $0.number < $1.number }
            return try await Self.shielded { [store] () async throws(StoreError) in
                try await store.completeUpload(
                    upload, key: identity.key, parts: parts, condition: identity.condition)
            }
        } catch {
            // Parts that nobody completes would cost money for ever. Detached: the worker may be cancelled by now.
            await Task.detached { [store, log] in
                do throws(StoreError) { try await store.abortUpload(upload, key: identity.key) } catch {
                    log.warning("a multipart upload could not be aborted: \(error)")
                }
            }.value
            throw error
        }
    }

    private func send(
        _ part: UploadPlan.Part, number: Int, of file: StagedFile, _ identity: StagedIdentity, _ upload: UploadID
    ) async -> Result<UploadedPart, StoreError> {
        do throws(StoreError) {
            let etag: ETag
            switch part.source {
            case .base:
                etag = try await store.uploadPartCopy(
                    upload, key: identity.key, number: number, source: identity.base!, range: part.range)
            case .staged:
                try await materialise(file, part.range)
                if file.snapshotIsStale { throw StoreError(.sourceFailed, operation: "UploadPart", key: identity.key) }
                etag = try await store.uploadPart(
                    upload, key: identity.key, number: number, body: StagedBody(file, range: part.range))
            }
            file.addSentBytes(part.range.count)
            return .success(UploadedPart(number: number, etag: etag, byteCount: part.range.count))
        } catch {
            return .failure(error)
        }
    }

    /// Runs a request that publishes to its end, also when the worker is told to stop meanwhile: a request that was cut
    /// off may still take effect after whatever is done next (the DELETE of an unlink, say), and bring the file back.
    private static func shielded<Value: Sendable>(
        _ request: @escaping @Sendable () async throws(StoreError) -> Value
    ) async throws(StoreError) -> Value {
        let task = Task { () async -> Result<Value, StoreError> in
            do throws(StoreError) { return .success(try await request()) } catch { return .failure(error) }
        }
        return try await task.value.get()
    }

    private func materialise(_ file: StagedFile, _ range: ByteRange) async throws(StoreError) {
        do throws(StagingError) {
            try await file.materialise(range, fetch: fetch)
        } catch {
            switch error {
            case .store(let cause): throw cause
            default: throw StoreError(.sourceFailed, operation: "staging", key: file.key, message: error.description)
            }
        }
    }

    // MARK: Pauses

    /// Properties alone wait a moment for more of their kind.
    private func linger(_ file: StagedFile) async {
        let isPropertiesOnly = file.state.withLock {
            $0.dirty.isEmpty && $0.identity.base?.byteCount == $0.identity.byteCount
        }
        guard isPropertiesOnly else { return }
        await pause(file, nanoseconds: configuration.propertiesLingerNanoseconds)
    }

    private func backOff(_ file: StagedFile, tries: Int) async {
        let growing = configuration.retryNanoseconds << UInt64(min(tries - 1, 10))
        let bounded = min(growing, configuration.retryNanosecondsMax)
        await pause(file, nanoseconds: UInt64.random(in: bounded / 2...bounded))
    }

    /// Sleeps in short steps, and no longer once somebody waits for the file.
    private func pause(_ file: StagedFile, nanoseconds: UInt64) async {
        let until = time.monotonicNanoseconds &+ nanoseconds
        while time.monotonicNanoseconds < until {
            let isUrgent = file.state.withLock { state in
                defer { state.isUrgent = false }
                return state.isUrgent
            }
            if isUrgent || Task.isCancelled { return }
            try? await time.sleep(nanoseconds: min(100_000_000, until &- time.monotonicNanoseconds))
        }
    }
}
