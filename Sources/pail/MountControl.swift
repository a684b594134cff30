// What the control socket of a mount offers.

internal import Base
internal import BlockCache
internal import Commands
internal import Control
internal import FileSystem
internal import FuseAdapter
internal import Glibc
internal import ObjectModel
internal import ObjectStore
internal import S3Protocol
internal import Staging
internal import Synchronization

/// Answers status, flush and drain for a mount.
final class MountControl: ControlDelegate {
    private let mount: MountService
    private let startedAt: Timestamp
    private let startedNanoseconds: UInt64
    private let drainCount = Atomic<Int>(0)
    private let isHandingOver = Atomic(false)
    private let time = SystemTime()
    private let found = Lock<(leftovers: [MountStatus.Leftover], atNanoseconds: UInt64)?>(nil)
    private static let leftoversNanoseconds: UInt64 = 10_000_000_000

    init(_ mount: MountService) {
        self.mount = mount
        startedAt = time.now
        startedNanoseconds = time.monotonicNanoseconds
    }

    func status() async -> MountStatus { snapshot() }

    /// The figures for Prometheus. Any thread.
    func metrics() -> MountMetrics {
        MountMetrics(
            status: snapshot(), requestLatencies: mount.requestLatencies.histograms,
            operationLatencies: Dictionary(
                mount.traffic.figures.map { ($0.operation, $0.latency) }, uniquingKeysWith: { first, _ in first }),
            residentBytes: ProcessFacts.residentBytes(), waitingCount: mount.traffic.waiting().count,
            uploadFailureCount: mount.fileSystem.uploadFailureCount)
    }

    /// The state now. Any thread; asks nobody.
    private func snapshot() -> MountStatus {
        let now = time.monotonicNanoseconds
        let pending = mount.fileSystem.pendingUploads
        var status = MountStatus(
            version: Version.current, pid: getpid(), mountpoint: mount.plan.mountpoint,
            source: "\(mount.plan.location)",
            endpoint: "\(mount.store.endpoint)", region: mount.store.region,
            startedAt: MountStatus.timeText(secondsSince1970: startedAt.seconds),
            uptimeSeconds: Int((now - startedNanoseconds) / 1_000_000_000))
        status.state = drainCount.load(ordering: .relaxed) > 0 ? .draining : .mounted
        status.program = ProcessFacts.program
        status.isSupervised = mount.place != nil
        status.isReadOnly = mount.plan.isReadOnly
        if case .unreachable(let since) = mount.store.reachability {
            status.unreachableSeconds = Int((now &- min(now, since)) / 1_000_000_000)
        }
        status.dirtyFiles = pending.count
        status.dirtyBytes = pending.reduce(0) { $0 + $1.dirtyByteCount }
        status.failedUploads = pending.count { $0.progress.failure != nil }
        status.uploads =
            pending.sorted { ($0.progress.pendingSince ?? .max) < ($1.progress.pendingSince ?? .max) }
            .map { upload($0, now: now) }
        status.leftovers = leftovers(at: now)
        status.damaged = mount.leftovers.damaged
        status.oldestDirtySeconds = pending.compactMap(\.progress.pendingSince).min().map {
            Int((now &- min(now, $0)) / 1_000_000_000)
        }
        status.renames = mount.fileSystem.renameProgress.map {
            MountStatus.Rename(
                from: Self.relative($0.from), to: Self.relative($0.to), objectsCopied: $0.copiedCount,
                objectsTotal: $0.totalCount, isResumed: $0.isResumed)
        }
        let cache = mount.cache.statistics
        status.cache = MountStatus.Cache(
            memoryBytes: mount.pool.leasedBytes, memoryLimit: mount.pool.bufferCountMax * mount.pool.bufferBytes,
            hits: cache.hits, misses: cache.misses, bytesFetched: cache.bytesFetched, disk: diskStatus())
        status.connections = MountStatus.Connections(
            max: mount.plan.connectionsMax ?? StoreOfPlan.connectionsMax, reading: cache.requestsInFlight,
            readingMax: cache.requestsInFlightMax)
        let prefetch = mount.fileSystem.prefetchStatistics
        status.prefetch = MountStatus.Prefetch(
            files: prefetch.prefetched, used: prefetch.used, wasted: prefetch.wasted)
        let latencies = mount.requestLatencies.histograms
        for (operation, counter) in mount.store.counters.operations {
            var figures = MountStatus.Requests(
                count: counter.requestCount, errors: counter.failureCount,
                bytes: counter.bodyBytesSent + counter.bodyBytesReceived, hedged: counter.hedgeCount,
                hedgesWon: counter.hedgeWonCount, stalled: counter.stallCount)
            figures.retries = counter.retryCount
            figures.p50Seconds = latencies[operation.rawValue]?.seconds(0.5)
            figures.p99Seconds = latencies[operation.rawValue]?.seconds(0.99)
            status.requests[operation.rawValue] = figures
        }
        addTraffic(to: &status)
        status.lastErrors = mount.errors.newest
        return status
    }

    func flush(
        path: String, progress: @escaping @Sendable (Control.UploadProgress) -> Void
    ) async throws(ControlError) {
        let reporter = report(progress, below: path)
        defer { reporter.cancel() }
        do throws(FileSystemError) {
            try await mount.fileSystem.flush(path: path)
        } catch {
            throw ControlError(.uploadFailed, error.cause ?? "\(error.kind)")
        }
    }

    func drain(
        progress: @escaping @Sendable (Control.UploadProgress) -> Void
    ) async throws(ControlError) -> DrainResult {
        drainCount.add(1, ordering: .relaxed)
        defer { drainCount.subtract(1, ordering: .relaxed) }
        let reporter = report(progress, below: "")
        defer { reporter.cancel() }
        return DrainResult(await mount.fileSystem.drain { _ in })
    }

    func refresh(path: String) async throws(ControlError) {
        mount.fileSystem.refresh(path: path)
    }

    func upgrade(program: String) async throws(ControlError) {
        guard isHandingOver.compareExchange(expected: false, desired: true, ordering: .relaxed).exchanged else {
            throw ControlError(.stopping, "another program is about to go on")
        }
        do throws(ControlError) {
            try mount.prepareHandOver(to: program)
        } catch {
            isHandingOver.store(false, ordering: .relaxed)
            throw error
        }
        Task {
            // The answer goes to the client first. One that does not get it finds out as well.
            try? await time.sleep(nanoseconds: 20_000_000)
            await mount.handOver()
        }
    }

    /// What other mounts left staged, looked up now and then: they may have been mounted again meanwhile.
    private func leftovers(at now: UInt64) -> [MountStatus.Leftover] {
        let known = found.withLock { $0 }
        if let known, now &- known.atNanoseconds < Self.leftoversNanoseconds { return known.leftovers }
        let fresh = StagedRest.ofOthers(than: mount.stagingDirectory).map(MountStatus.Leftover.init)
        found.withLock { $0 = (fresh, now) }
        return fresh
    }

    /// Tells how much is left at and below a path, a few times a second.
    private func report(
        _ progress: @escaping @Sendable (Control.UploadProgress) -> Void, below path: String
    ) -> Task<Void, Never> {
        Task {
            var rate = RateEstimate()
            var sent = 0
            var before: Int?
            while !Task.isCancelled {
                let pending = mount.fileSystem.pendingUploads(below: path)
                let left = pending.reduce(0) { $0 + max(0, $1.dirtyByteCount - $1.progress.sentBytes) }
                sent += max(0, (before ?? left) - left)
                before = left
                rate.add(sent, at: time.monotonicNanoseconds)
                progress(
                    Control.UploadProgress(
                        filesLeft: pending.count, bytesLeft: left, bytesPerSecond: Int(rate.perSecond ?? 0),
                        lastError: pending.lazy.compactMap { $0.progress.failure.map { "\($0.error)" } }.first))
                try? await time.sleep(nanoseconds: 250_000_000)
            }
        }
    }

    private func addTraffic(to status: inout MountStatus) {
        status.operations = Dictionary(
            mount.traffic.figures.map { figures in
                (
                    figures.operation,
                    MountStatus.Operation(
                        count: Int(figures.latency.count), errors: Int(figures.errorCount),
                        p50Seconds: figures.latency.seconds(0.5), p99Seconds: figures.latency.seconds(0.99))
                )
            }, uniquingKeysWith: { first, _ in first })
        status.waiting = mount.traffic.waiting().prefix(MountStatus.waitingMax).map { waiting in
            MountStatus.Waiting(
                operation: waiting.operation, path: Self.relative(mount.fileSystem.path(waiting.number)),
                pid: waiting.threadID, seconds: Double(waiting.nanoseconds) / 1e9)
        }
        let now = time.monotonicNanoseconds
        status.requestsUnderWay = mount.store.requestsUnderWay.prefix(MountStatus.requestsUnderWayMax).map { request in
            MountStatus.RequestUnderWay(
                operation: request.operation.rawValue, key: request.key?.string, attempt: request.attempt,
                isHedge: request.isHedge,
                seconds: Double(now &- min(now, request.startNanoseconds)) / 1e9)
        }
        status.processes = ProcessFacts.processes(mount.traffic.callerCounts(), countMax: MountStatus.processesMax)
    }

    private func upload(_ pending: PendingUpload, now: UInt64) -> MountStatus.Upload {
        let waited = pending.progress.pendingSince.map { now > $0 ? (now - $0) / 1_000_000_000 : 0 } ?? 0
        var upload = MountStatus.Upload(
            path: Self.relative(pending.path), bytesDone: pending.progress.sentBytes, bytesTotal: pending.byteCount,
            tries: (pending.progress.failure?.tries ?? 0) + (pending.progress.phase == .sending ? 1 : 0),
            lastError: pending.progress.failure.map { "\($0.error)" },
            since: MountStatus.timeText(secondsSince1970: time.now.seconds - Int64(waited)))
        upload.ageSeconds = Int(waited)
        upload.bytesPerSecond = pending.progress.bytesPerSecond(at: now)
        return upload
    }

    private func diskStatus() -> MountStatus.Disk? {
        guard let figures = mount.cache.disk?.statistics else { return nil }
        return MountStatus.Disk(
            directory: mount.plan.cacheDirectory, bytes: figures.bytesStored, limit: mount.plan.cacheBytesMax,
            hits: figures.hits, bytesRead: figures.bytesRead, bytesWritten: figures.bytesWritten,
            writesSkipped: figures.writesSkipped, corruptBlocks: figures.corruptBlocks, evictions: figures.evictions)
    }

    fileprivate static func relative(_ path: String) -> String {
        path.isAbsolutePath ? String(Substring(path.utf8.dropFirst())) : path
    }
}

extension MountStatus.Leftover {
    /// Before the fingerprint of a customer's key in an identity.
    static let keyMark = "sse-c:"

    /// As a user would name it: the identity is endpoint and bucket, and a key's mark where it has one.
    init(_ leftover: StagingLeftover) {
        let words = leftover.bucketIdentity.split(separator: " ").map(String.init)
        self.init(
            source: "s3://\(words.dropFirst().first ?? "")", endpoint: words.first == "aws" ? nil : words.first,
            mountpoint: leftover.mountpoint, directory: leftover.directory, files: leftover.fileCount,
            bytes: leftover.byteCount)
        if words.count > 2, words[2].hasPrefix(Self.keyMark) { needsCustomerKey = true }
    }
}

extension DrainResult {
    /// What is left of a mount.
    /// - Parameter reason: why, where no upload has failed.
    init(_ left: [PendingUpload], reason: String = "changed again since") {
        self.init(
            filesLeft: left.count, bytesLeft: left.reduce(0) { $0 + $1.dirtyByteCount },
            failures: left.prefix(20).map {
                Failure(
                    path: MountControl.relative($0.path),
                    error: $0.progress.failure.map { "\($0.error)" } ?? reason)
            })
    }
}

extension LatencyTable.Histogram {
    /// As a status tells it.
    fileprivate func seconds(_ share: Double) -> Double? { quantileNanoseconds(share).map { Double($0) / 1e9 } }
}
