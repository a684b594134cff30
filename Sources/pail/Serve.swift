// The life of a mount, in the process that serves it.

internal import Base
internal import BlockCache
internal import CLinux
internal import Commands
internal import Control
internal import FileSystem
internal import FuseAdapter
internal import Glibc
internal import HTTPTransport
internal import Logging
internal import Mounts
internal import ObjectModel
internal import ObjectStore
internal import S3Protocol
internal import Staging

/// Serves the mount of a plan until it is unmounted or the process is asked to end (`DaemonProcess.endRequested`).
///
/// Says exactly once on `ready` that the mount answers, or why it cannot be. Returns the exit code; by then nothing is
/// mounted any more, and what could not be uploaded is staged for the next mount.
/// - Parameter place: what a supervisor gave; nil where there is none.
func serve(plan: MountPlan, ready: ReadyPipe, place: ServingPlace? = nil) async -> Int32 {
    // glibc gives each thread that allocates an arena of its own, up to eight a core, and each keeps what was freed in it:
    // memory outside of the budget, in proportion to the machine. What allocates much here is not hot.
    pail_limit_malloc_arenas(4)
    let mount: MountService
    do throws(MountFailure) {
        mount = try await MountService.start(plan, ready: ready, place: place)
    } catch {
        if plan.isMountpointTemporary { rmdir(plan.mountpoint) }
        ready.fail(error)
        return ExitStatus.failed.rawValue
    }
    return await mount.run(ready: ready)
}

/// Everything that one mount consists of, put together.
final class MountService: Sendable {
    /// Of the store's capacity to answer a mount: a wrong endpoint must be told within ten seconds.
    static let checkNanoseconds: UInt64 = 8_000_000_000
    /// How long a mount waits to learn whether what the last one was removing when it was killed is gone.
    static let departureNanosecondsMax: UInt64 = 5_000_000_000
    /// How long an ending daemon goes on when no byte and no file of what is pending comes to the store any more.
    static let finalStillNanoseconds: UInt64 = 30_000_000_000
    /// How long it waits until what was read is on disk; what is not by then is read again next time.
    static let diskDrainNanoseconds: UInt64 = 5_000_000_000
    /// The kernel's own read-ahead of the mount. Larger than the default 128 KiB, so that its reads come in pieces as large
    /// as a request may be; doc/design/reading.md has the measurement.
    static let kernelReadAheadKibibytes = 512

    let plan: MountPlan
    let store: S3Store
    let pool: BufferPool
    let cache: BlockCache
    let fileSystem: FileSystem
    let stagingDirectory: String
    let leftovers: (foreign: [StagingLeftover], damaged: [String])
    let errors: RecentErrors
    let requestLatencies: RequestLatencies
    let traffic: FuseTraffic
    let session: FuseSession
    /// Nil without a supervisor.
    let place: ServingPlace?
    let log: Logger
    private let transport: HTTPTransport
    private let control: Lock<ControlServer?>
    private let metrics = Lock<MetricsServer?>(nil)

    private init(
        plan: MountPlan, store: S3Store, transport: HTTPTransport, pool: BufferPool, cache: BlockCache,
        fileSystem: FileSystem, stagingDirectory: String, leftovers: (foreign: [StagingLeftover], damaged: [String]),
        session: FuseSession, errors: RecentErrors,
        requestLatencies: RequestLatencies, traffic: FuseTraffic, place: ServingPlace?, log: Logger
    ) {
        self.place = place
        self.requestLatencies = requestLatencies
        self.traffic = traffic
        self.plan = plan
        self.store = store
        self.transport = transport
        self.pool = pool
        self.cache = cache
        self.fileSystem = fileSystem
        self.stagingDirectory = stagingDirectory
        self.leftovers = leftovers
        self.session = session
        self.errors = errors
        self.log = log
        control = Lock(nil)
    }

    /// Checks the store, opens the state directory and mounts. When this throws, nothing is left behind.
    static func start(
        _ plan: MountPlan, ready: ReadyPipe, place: ServingPlace?
    ) async throws(MountFailure) -> MountService {
        let log = Logger(label: "mount")
        let requestLog = Logger(label: "s3")
        let errors = RecentErrors()
        let requestLatencies = RequestLatencies()
        let (store, transport) = StoreOfPlan.make(plan) { record in
            errors.note(record)
            requestLatencies.note(record)
            requestLog.debug(
                "\(record.operation.rawValue) \(record.key?.string ?? "") \(record.status ?? 0)\(record.failure.map { " \($0)" } ?? "") in \(record.durationNanoseconds / 1000) us, try \(record.attempt), request \(record.requestID ?? "-")"
            )
        }
        ready.stage("asking \(store.endpoint) for \(plan.location)")
        // A mount that is there already goes on, whatever the store says now.
        if !plan.isOffline, place?.isSuccessor != true { try await check(store, plan, ready) }
        // What files are read from and sent to; the S3 store itself stays for its figures.
        let bucket: any ObjectStore = plan.isOffline ? OfflineStore(capabilities: store.capabilities) : store

        let area: StagingArea
        try StateDirectory.make(plan.stateDirectory)
        do throws(StagingError) {
            area = try StagingArea(
                stateDirectory: plan.stateDirectory,
                bucketIdentity: stagingIdentity(plan),
                mountpoint: plan.mountpoint,
                limitBytes: plan.stagingBytesMax,
                aheadCount: 256)
        } catch {
            throw MountFailure("\(error)", remedy: "choose another --state-dir")
        }
        let time = SystemTime()
        let removals = RemovalQueue(store: bucket, area: area, time: time, log: Logger(label: "remove"))
        let files = SettledStore(bucket, removals)
        // doc/design/reading.md says why 32 KiB.
        let pool = BufferPool(limitBytes: plan.memoryBytes, bufferBytes: 32 << 10)
        var cacheConfiguration = BlockCacheConfiguration()
        cacheConfiguration.requestCountMax = max(
            2, min(32, (plan.connectionsMax ?? StoreOfPlan.connectionsMax) * 2 / 3))
        cacheConfiguration.beginningBlockCount = 4
        let disk = diskTier(plan, pool)
        disk?.start()
        let cache = BlockCache(store: files, pool: pool, disk: disk, configuration: cacheConfiguration, time: time)
        var uploads = UploadQueue.Configuration()
        uploads.partBytes = plan.partBytes
        uploads.hostName = hostName()
        let queue = UploadQueue(
            store: files, area: area, configuration: uploads, time: time, log: Logger(label: "upload")
        ) { version, range throws(StoreError) in try await cache.read(version, range: range).array }
        let markers = MarkerQueue(store: files, area: area, time: time, log: Logger(label: "marker"))
        let attributes = attributeStore(plan, time)
        let fileSystem = FileSystem(
            store: files, cache: cache, area: area, queue: queue, markers: markers, removals: removals,
            attributes: attributes,
            configuration: configuration(plan, firstNodeNumber: place?.firstNodeNumber), time: time,
            log: Logger(label: "files"))
        // Offline, what waits for its upload stays where it is, for a mount that can send it.
        let leftovers =
            plan.isOffline
            ? (foreign: [], damaged: []) : fileSystem.recover(sends: place?.isSuccessor != true)
        let settling = Task { await fileSystem.settleDepartures() }
        let limit = Task {
            try? await time.sleep(nanoseconds: departureNanosecondsMax)
            settling.cancel()
        }
        await settling.value
        limit.cancel()
        for leftover in leftovers.foreign.map(MountStatus.Leftover.init) {
            ready.notice(
                "\(Message.count(leftover.files, "file")) of another bucket (\(leftover.source)) wait in \(leftover.directory ?? ""); mount that bucket to upload them"
            )
        }
        let traffic = FuseTraffic(time: time, isTracing: { LogOutput.shared.isDebugging })
        let session = FuseSession(
            fileSystem: fileSystem, options: fuseOptions(plan), traffic: traffic, ledger: place?.ledger,
            generation: place?.generation ?? 0, time: time, log: Logger(label: "fuse"))
        // Two on one another would both say that they are there, and answer by one socket.
        if place?.isSuccessor != true,
            let other = (try? MountTable.current())?.mount(at: ByteString(plan.mountpoint)), other.isPail
        {
            await fileSystem.shutDown()
            transport.shutdown()
            throw MountFailure("\(other.source) was mounted there meanwhile", remedy: "choose another directory")
        }
        do throws(FuseError) {
            if let place, place.isSuccessor {
                try await session.succeed(on: Supervisor.deviceDescriptor)
                place.tellThatItServes()
                fileSystem.sendRecovered()
            } else {
                if let place { session.onBegun { place.keep($0) } }
                try session.mount()
            }
        } catch {
            await fileSystem.shutDown()
            transport.shutdown()
            throw MountFailure(error.description, remedy: "see `pail doctor` for what FUSE needs")
        }
        return MountService(
            plan: plan, store: store, transport: transport, pool: pool, cache: cache, fileSystem: fileSystem,
            stagingDirectory: area.sessionDirectory, leftovers: leftovers, session: session, errors: errors,
            requestLatencies: requestLatencies, traffic: traffic, place: place, log: log)
    }

    /// Serves until the mount is gone.
    func run(ready: ReadyPipe) async -> Int32 {
        let ended = OneShot<Void>()
        NamedThread.start("pail-fuse") { [session] in
            session.serve()
            ended.set(())
        }
        startControl(ready)
        session.raiseReadAhead(kibibytes: Self.kernelReadAheadKibibytes)
        if !ready.succeed() { unmount() }
        log.notice("mounted \(plan.location) at \(plan.mountpoint)")
        DaemonProcess.endRequested.observe { _ in
            Task {
                await self.drainFinally()
                self.unmount()
            }
        }
        await ended.wait()
        // Whoever unmounted by hand has not waited for the uploads; here they get their time.
        await drainFinally()
        await fileSystem.shutDown()
        // Not before: what was being sent has ended only now, one way or the other.
        let left = fileSystem.pendingUploads
        await cache.disk?.drain(timeoutNanoseconds: Self.diskDrainNanoseconds)
        await fileSystem.attributes?.drain()
        control.withLock { $0 }?.stop(left: DrainResult(left, reason: "not uploaded yet"))
        metrics.withLock { $0 }?.stop()
        transport.shutdown()
        if plan.isMountpointTemporary { rmdir(plan.mountpoint) }
        log.notice("unmounted \(plan.mountpoint)")
        if !left.isEmpty {
            log.error("\(left.count) files are not in the bucket yet; the next mount of it uploads them")
            return ExitStatus.failed.rawValue
        }
        return ExitStatus.done.rawValue
    }

    // MARK: Parts

    private static func check(_ store: S3Store, _ plan: MountPlan, _ ready: ReadyPipe) async throws(MountFailure) {
        let outcome: Result<Void, StoreError> = await withTaskGroup(of: Result<Void, StoreError>?.self) { group in
            group.addTask {
                do throws(StoreError) {
                    try await store.check(
                        prefix: ByteString(plan.location.prefix),
                        retry: RetryPolicy(
                            deadlineNanoseconds: 4_000_000_000, unreachableDeadlineNanoseconds: 1_000_000_000))
                    return .success(())
                } catch {
                    return .failure(error)
                }
            }
            group.addTask {
                let time = SystemTime()
                let deadline = time.monotonicNanoseconds + checkNanoseconds
                while time.monotonicNanoseconds < deadline, !Task.isCancelled {
                    if ready.isAbandoned || DaemonProcess.endRequested.current != nil {
                        return .failure(StoreError(.cancelled, operation: "ListObjectsV2"))
                    }
                    try? await time.sleep(nanoseconds: 100_000_000)
                }
                return nil
            }
            let first = await group.next() ?? nil
            group.cancelAll()
            return first
                ?? .failure(StoreError(.timedOut, operation: "ListObjectsV2", message: "no answer within 8 seconds"))
        }
        if case .failure(let error) = outcome { throw MountFailure(error, plan: plan) }
    }

    private static func configuration(_ plan: MountPlan, firstNodeNumber: UInt64?) -> FileSystemConfiguration {
        var result = FileSystemConfiguration()
        if let firstNodeNumber { result.firstNodeNumber = firstNodeNumber }
        result.prefix = ByteString(plan.location.prefix)
        result.ttlNanoseconds = UInt64(plan.ttlMilliseconds) * 1_000_000
        result.attributePolicy = AttributePolicy(rawValue: plan.attributes.rawValue) ?? .adaptive
        result.uid = plan.ownerUID
        result.gid = plan.ownerGID
        result.filePermissions = UInt32(plan.fileMode)
        result.directoryPermissions = UInt32(plan.directoryMode)
        result.isReadOnly = plan.isReadOnly
        result.isOffline = plan.isOffline
        result.prefetchesSiblings = plan.prefetchesSiblings
        result.isWriteThrough = plan.isWriteThrough
        return result
    }

    private static func fuseOptions(_ plan: MountPlan) -> FuseMountOptions {
        var result = FuseMountOptions(mountpoint: plan.mountpoint, source: "\(plan.location)")
        result.isReadOnly = plan.isReadOnly
        result.allowOther = plan.isOtherAllowed
        result.allowRoot = plan.isRootAllowed
        result.kernelOptions = plan.kernel.names
        result.validSeconds = Double(plan.ttlMilliseconds) / 1000
        return result
    }

    /// Tells the bucket from any other, in directories that mounts share.
    private static func bucketIdentity(_ plan: MountPlan) -> String {
        "\(plan.endpoint.map { "\($0)" } ?? "aws") \(plan.location.bucket)"
    }

    /// Whose staged data a mount may upload: not what is to be encrypted by another key than its own, or by none.
    private static func stagingIdentity(_ plan: MountPlan) -> String {
        guard case .customerKey(let key)? = StoreOfPlan.encryption(plan) else { return bucketIdentity(plan) }
        return "\(bucketIdentity(plan)) \(MountStatus.Leftover.keyMark)\(key.fingerprint)"
    }

    private static func diskTier(_ plan: MountPlan, _ pool: BufferPool) -> DiskTier? {
        guard plan.cacheBytesMax > 0 else { return nil }
        var configuration = DiskCacheConfiguration(directory: plan.cacheDirectory, bucket: bucketIdentity(plan))
        configuration.limitBytes = plan.cacheBytesMax
        configuration.freePercent = plan.cacheFreePercent
        // What waits to be written is memory that cannot be given back at once.
        configuration.writeQueueBytesMax = pool.bufferCountMax * pool.bufferBytes / 8
        let log = Logger(label: "cache")
        return DiskTier(configuration: configuration, blockBytes: pool.bufferBytes) { log.warning("\($0)") }
    }

    /// What was learnt of names and attributes is kept beside the blocks; without a disk cache it is not kept.
    private static func attributeStore(_ plan: MountPlan, _ time: any TimeSource) -> AttributeStore? {
        guard plan.cacheBytesMax > 0 else { return nil }
        var configuration = AttributeStoreConfiguration(
            directory: "\(plan.cacheDirectory)/\(AttributeStore.directoryName)", bucket: bucketIdentity(plan))
        configuration.limitBytes = min(configuration.limitBytes, max(1 << 20, plan.cacheBytesMax / 8))
        let log = Logger(label: "names")
        return AttributeStore(configuration: configuration, time: time) { log.warning("\($0)") }
    }

    private static func hostName() -> String {
        var buffer = [CChar](repeating: 0, count: 256)
        gethostname(&buffer, buffer.count - 1)
        let name = String(decoding: buffer.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        return name.isEmpty ? "host" : String(name.prefix { $0 != "." })
    }

    private func startControl(_ ready: ReadyPipe) {
        let delegate = MountControl(self)
        startMetrics(delegate, ready)
        do throws(ControlError) {
            let runtime = getenv("XDG_RUNTIME_DIR").map { String(cString: $0) }
            let server = try ControlServer(
                directories: ControlDirectory.candidates(
                    stateDirectory: plan.stateDirectory, runtimeDirectory: runtime),
                mountpoint: plan.mountpoint, delegate: delegate,
                record: MountRecord(pid: getpid(), stagingDirectory: stagingDirectory))
            control.withLock { $0 = server }
        } catch {
            log.error("no control socket, so `pail status` cannot see this mount: \(error)")
            ready.notice("`pail status` will not see this mount: \(error)")
        }
    }

    private func startMetrics(_ delegate: MountControl, _ ready: ReadyPipe) {
        guard let address = plan.metrics else { return }
        do throws(ControlError) {
            let server = try MetricsServer(host: address.host, port: address.port) { delegate.metrics() }
            metrics.withLock { $0 = server }
            log.notice("figures are at http://\(ListenAddress(host: address.host, port: server.port))/metrics")
        } catch {
            log.error("no figures for Prometheus: \(error)")
            ready.notice("no figures for Prometheus: \(error)")
        }
    }

    /// Detaches the mount; the serving loop ends with it.
    private func unmount() {
        let path = plan.mountpoint
        Task {
            // Lazily: a program that still has a file open must not keep an ending daemon.
            _ = await Unmounter().unmount(
                UnmountRequest(mountpoint: ByteString(path), timeoutNanoseconds: 0, whenBusy: .detach))
        }
    }

    /// Brings what is pending to the store: until nothing is left, until all that is left has failed once more, or until
    /// nothing has moved for a while. What is left then stays staged.
    private func drainFinally() async {
        let isOver = OneShot<Void>()
        let drain = Task {
            _ = await fileSystem.drain { _ in }
            isOver.set(())
        }
        let watch = Task {
            let time = SystemTime()
            var before = pendingFigures
            var movedAt = time.monotonicNanoseconds
            while !Task.isCancelled {
                try? await time.sleep(nanoseconds: 500_000_000)
                let now = pendingFigures
                if now != before { (before, movedAt) = (now, time.monotonicNanoseconds) }
                if time.monotonicNanoseconds - movedAt > Self.finalStillNanoseconds { isOver.set(()) }
            }
        }
        await isOver.wait()
        watch.cancel()
        // A try that is under way ends with the mount's use of the state directory.
        drain.cancel()
    }

    /// How many files, and how many bytes of them, are not in the store.
    private var pendingFigures: [Int] {
        let pending = fileSystem.pendingUploads
        return [pending.count, pending.reduce(0) { $0 + $1.dirtyByteCount - $1.progress.sentBytes }]
    }
}
