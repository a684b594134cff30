// The disk tier: its threads, its state, and how it begins and ends. Reading, writing and making room are in files of
// their own.

public import Base
internal import ObjectModel

/// Keeps blocks in files, so that they outlive memory and the mount. Thread-safe.
///
/// Nothing here ever fails a read: what the disk does not give comes from the store. All calls to the file system are
/// made on threads of its own, but those of `start`.
public final class DiskTier: Sendable {
    let configuration: DiskCacheConfiguration
    let blockBytes: Int
    let calls: DiskCalls
    let time: any TimeSource
    private let report: @Sendable (String) -> Void

    private let readers: WorkThreads
    let writer: WorkThreads
    private let scanner: WorkThreads

    struct PendingWrite {
        let version: ObjectVersion
        let index: Int
        let block: Block
    }

    struct State {
        /// Nil while the directory cannot be opened.
        var directory: BlockDirectory?
        var queue = SegmentQueue()
        var reading = DiskHealth(purpose: "reading")
        var writing = DiskHealth(purpose: "writing")
        var pending: [PendingWrite] = []
        /// Of the pending blocks and those being written.
        var pendingBytes = 0
        var isWriting = false
        var isScanning = false
        /// Whether it was told that there is no room.
        var isRoomless = false
        /// Told when nothing is left to write, and some of them only once no scan runs either.
        var idleSignals: [(signal: OneShot<Void>, waitsForScan: Bool)] = []
        var statistics = DiskCacheStatistics()
    }

    // A leaf lock: no call and no release of a block happens under it.
    let state = Lock(State())

    /// - Parameters:
    ///   - blockBytes: of the memory tier.
    ///   - report: gets a line for the log when the disk begins or ceases to fail.
    public convenience init(
        configuration: DiskCacheConfiguration, blockBytes: Int, time: any TimeSource = SystemTime(),
        report: @escaping @Sendable (String) -> Void
    ) {
        self.init(configuration: configuration, blockBytes: blockBytes, time: time, calls: DiskCalls(), report: report)
    }

    init(
        configuration: DiskCacheConfiguration, blockBytes: Int, time: any TimeSource, calls: DiskCalls,
        report: @escaping @Sendable (String) -> Void
    ) {
        precondition(configuration.limitBytes > 0 && (0..<100).contains(configuration.freePercent), "limits of a cache")
        self.configuration = configuration
        self.blockBytes = blockBytes
        self.calls = calls
        self.time = time
        self.report = report
        readers = WorkThreads(
            name: "pail-disk-read", threadCount: configuration.readThreadCount,
            queueCountMax: configuration.readQueueMax)
        writer = WorkThreads(name: "pail-disk-write", threadCount: 1, queueCountMax: 1)
        scanner = WorkThreads(name: "pail-disk-scan", threadCount: 1, queueCountMax: 1)
    }

    /// Opens the directory, so that the first read finds what is there, and begins the scan.
    public func start() {
        open()
        scan()
    }

    public var statistics: DiskCacheStatistics { state.withLock { $0.statistics } }

    /// Waits until every block that was handed over is written or dropped, but not longer than this.
    public func drain(timeoutNanoseconds: UInt64) async {
        let signal = OneShot<Void>()
        state.withLock { state in
            guard state.isWriting else {
                signal.set(())
                return
            }
            state.idleSignals.append((signal, waitsForScan: false))
        }
        let timer = Task { [time] in
            try? await time.sleep(nanoseconds: timeoutNanoseconds)
            signal.set(())
        }
        await signal.wait()
        timer.cancel()
    }

    // MARK: For the other parts

    /// Runs a job that reads; false when the disk is not to be asked now: missing, failing, or too busy.
    func submitRead(_ job: @escaping @Sendable () -> Void) -> Bool {
        guard directory() != nil, state.withLock({ $0.reading.mayTry(at: time.monotonicNanoseconds) }) else {
            return false
        }
        return readers.submit(job)
    }

    /// The open directory. When there is none it is tried again, now and then and elsewhere.
    func directory() -> BlockDirectory? {
        let now = time.monotonicNanoseconds
        let (directory, isDue) = state.withLock { ($0.directory, $0.writing.mayTry(at: now)) }
        if directory == nil, isDue { scan() }
        return directory
    }

    func identity(_ version: ObjectVersion, segment: Int) -> SegmentIdentity {
        SegmentIdentity(bucket: configuration.bucket, version: version, blockBytes: blockBytes, number: segment)
    }

    var nowSeconds: UInt32 { UInt32(clamping: time.now.seconds) }

    /// Notes the outcome of a direction; logs when it changes.
    func note(_ health: WritableKeyPath<State, DiskHealth>, _ error: DiskError?) {
        let now = time.monotonicNanoseconds
        let line: String? = state.withLock { state in
            if let error, error.isMissing { state.directory = nil }
            return error.map { state[keyPath: health].failed($0.text, at: now) } ?? state[keyPath: health].worked()
        }
        if let line { say(line) }
    }

    func say(_ text: String) {
        report("disk cache \(configuration.directory): \(text)")
    }

    // MARK: Opening and scanning

    private func open() {
        do throws(DiskError) {
            let directory = try BlockDirectory(path: configuration.directory, isMade: true, calls: calls)
            state.withLock { $0.directory = directory }
        } catch {
            note(\.writing, error)
        }
    }

    /// Looks through all files, elsewhere: learns their sizes and their order, removes what is none of the cache's, and
    /// sets the sum right.
    func scan() {
        let isFirst = state.withLock { state in
            defer { state.isScanning = true }
            return !state.isScanning
        }
        guard isFirst else { return }
        let isTaken = scanner.submit { [self] in
            if state.withLock({ $0.directory == nil }) { open() }
            if let directory = state.withLock({ $0.directory }) { scan(directory) }
            wakeIdle { $0.isScanning = false }
        }
        if !isTaken { wakeIdle { $0.isScanning = false } }
    }

    /// Tells those who wait for idleness, when it is reached.
    func wakeIdle(_ change: (inout State) -> Void) {
        let signals: [OneShot<Void>] = state.withLock { state in
            change(&state)
            guard !state.isWriting else { return [] }
            let isScanning = state.isScanning
            defer { state.idleSignals.removeAll { !isScanning || !$0.waitsForScan } }
            return state.idleSignals.filter { !isScanning || !$0.waitsForScan }.map(\.signal)
        }
        for signal in signals { signal.set(()) }
    }

    private func scan(_ directory: BlockDirectory) {
        let before = (try? directory.changeUsage { $0 }) ?? 0
        do throws(DiskError) {
            let census = try SegmentCensus(directory, isCleaning: true)
            state.withLock { state in
                state.queue.adopt(
                    census.segments.sorted { $0.bornSeconds < $1.bornSeconds }.map {
                        ($0.name, $0.storedBytes, $0.isFound)
                    })
                state.statistics.corruptBlocks += census.foreignCount
                state.statistics.bytesStored = census.storedBytes
            }
            // What was added while it ran may be counted twice, never left out. On a disk that cannot be written to
            // there is no sum, and nobody who needs it.
            _ = try? directory.changeUsage { census.storedBytes + max(0, $0 - before) }
        } catch {
            note(\.reading, error)
        }
    }
}
