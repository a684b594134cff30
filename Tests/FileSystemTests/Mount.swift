// A filesystem over a store in memory, with a state directory that outlives it.

import Base
import BlockCache
import FoundationEssentials
import Glibc
import Logging
import MemoryStore
import ObjectModel
import ObjectStore
import Staging

@testable import FileSystem

/// One mount of a bucket, driven as the kernel would drive it (see `Mount+Calls.swift`). `remount` and `kill` end the
/// filesystem and begin another one on the same store and state directory.
///
/// SAFETY: `@unchecked Sendable`: a test replaces the filesystem only while nothing else uses the mount.
final class Mount: @unchecked Sendable {
    let store: MemoryStore
    let time: TickingTime
    private(set) var directory: String
    private let configure: (inout FileSystemConfiguration) -> Void
    private let stagingLimitBytes: Int?
    private let bucketIdentity: String
    private let memoryBlockCount: Int
    private let remembers: Bool
    /// What stands between the mount and the store, if anything.
    private let between: (any ObjectStore)?
    private let disk: StagingDisk
    private let cacheDisk: CacheDisk?
    private let isSmall: Bool
    /// Directories that the kernel still knows after they were made, and how many of them it does.
    var kept: [UInt64] = []
    var keptDirectoriesMax = 0
    private let process: DyingProcess?
    /// The multipart uploads whose begin a mount of this has heard of, and is to end: see `CuttableStore`.
    let begunUploads = Lock<Set<UploadID>>([])

    private(set) var line: CuttableStore
    private(set) var cache: BlockCache
    private(set) var area: StagingArea
    private(set) var queue: UploadQueue
    /// Nil unless `remembers`.
    private(set) var attributes: AttributeStore?
    private(set) var fileSystem: FileSystem
    /// What the last start found of other buckets.
    private(set) var leftovers: [StagingLeftover] = []
    /// And what of its own bucket it found damaged.
    private(set) var damaged: [String] = []
    private let ownsDirectory: Bool

    static let blockBytes = 4096
    /// A block of the disk, so that parts can be given up.
    private static let smallPartBytes = 4096

    /// - Parameters:
    ///   - directory: a state directory to share with another mount; nil makes one.
    ///   - memoryBlockCount: the memory budget of reading, in blocks.
    ///   - remembers: whether names and attributes are kept over mounts.
    ///   - between: a store before `store`, which passes on what it gets.
    ///   - disk: what staging is written to.
    ///   - cacheDisk: has the disk tier of each start; nil: what is read is kept in memory only.
    ///   - isSmall: files of more than 4 KiB are sent in parts of 4 KiB, those of 8 KiB and more while they are written.
    ///   - process: what the mount is served by; its disk is staging's.
    init(
        store: MemoryStore = MemoryStore(), time: TickingTime = TickingTime(), directory: String? = nil,
        stagingLimitBytes: Int? = nil, bucketIdentity: String = "memory bucket", memoryBlockCount: Int = 1024,
        between: (any ObjectStore)? = nil, remembers: Bool = false, disk: StagingDisk = StagingDisk(),
        cacheDisk: CacheDisk? = nil, isSmall: Bool = false, process: DyingProcess? = nil,
        _ configure: @escaping (inout FileSystemConfiguration) -> Void = { _ in }
    ) throws {
        self.store = store
        self.time = time
        self.directory = directory ?? Self.newPath()
        ownsDirectory = directory == nil
        self.configure = configure
        self.stagingLimitBytes = stagingLimitBytes
        self.bucketIdentity = bucketIdentity
        self.memoryBlockCount = memoryBlockCount
        self.between = between
        self.disk = disk
        self.process = process
        self.cacheDisk = cacheDisk
        self.isSmall = isSmall
        self.remembers = remembers
        if isSmall {
            var capabilities = store.capabilities
            capabilities.partBytesMin = Self.smallPartBytes
            store.setCapabilities(capabilities)
        }
        try FileManager.default.createDirectory(atPath: self.directory, withIntermediateDirectories: true)
        (line, cache, area, queue, attributes, fileSystem) = try Self.start(
            between ?? store, process, begunUploads, time, self.directory, stagingLimitBytes, bucketIdentity,
            memoryBlockCount, remembers, process?.disk ?? disk, cacheDisk, isSmall, configure)
        (leftovers, damaged) = fileSystem.recover()
    }

    deinit {
        if ownsDirectory { try? FileManager.default.removeItem(atPath: directory) }
    }

    /// Paths that were given out. The last mounts of a process may still be in the hands of their tasks when it ends.
    private static let paths: Lock<[String]> = {
        atexit { for path in Mount.paths.withLock({ $0 }) { try? FileManager.default.removeItem(atPath: path) } }
        return Lock([])
    }()

    static func newPath() -> String {
        let path =
            FileManager.default.temporaryDirectory.path
            + "/pail-files-\(String(UInt64.random(in: .min ... .max), radix: 16))"
        paths.withLock { $0.append(path) }
        return path
    }

    private static func start(
        _ store: any ObjectStore, _ process: DyingProcess?, _ begunUploads: Lock<Set<UploadID>>, _ time: TickingTime,
        _ directory: String,
        _ limitBytes: Int?, _ bucketIdentity: String, _ memoryBlockCount: Int, _ remembers: Bool, _ disk: StagingDisk,
        _ cacheDisk: CacheDisk?, _ isSmall: Bool, _ configure: (inout FileSystemConfiguration) -> Void
    ) throws -> (CuttableStore, BlockCache, StagingArea, UploadQueue, AttributeStore?, FileSystem) {
        let silent = Logger(label: "test", factory: { _ in SwiftLogNoOpLogHandler() })
        let line = CuttableStore(store, of: process) { id in begunUploads.withLock { _ = $0.insert(id) } }
        let pool = BufferPool(limitBytes: memoryBlockCount * blockBytes, bufferBytes: blockBytes)
        let area = try StagingArea(
            stateDirectory: directory, bucketIdentity: bucketIdentity, limitBytes: limitBytes, disk: disk)
        // As for the uploads below: real time.
        var batches = RemovalQueue.Configuration()
        batches.retryNanoseconds = 1_000_000
        batches.retryNanosecondsMax = 5_000_000
        let removals = RemovalQueue(
            store: line, area: area, configuration: batches, time: SystemTime(), log: silent)
        let settled = SettledStore(line, removals)
        let tier = cacheDisk?.makeTier()
        tier?.start()
        let cache = BlockCache(store: settled, pool: pool, disk: tier)
        var uploads = UploadQueue.Configuration()
        uploads.propertiesLingerNanoseconds = 0
        if isSmall {
            uploads.partBytes = smallPartBytes
            uploads.singlePutBytes = smallPartBytes
            uploads.aheadBytesMin = 2 * smallPartBytes
        }
        // The queue waits in real time: a pause that the simulated clock skips would be a loop.
        uploads.retryNanoseconds = 1_000_000
        uploads.retryNanosecondsMax = 5_000_000
        let queue = UploadQueue(
            store: settled, area: area, configuration: uploads, time: SystemTime(), log: silent
        ) { version, range throws(StoreError) in try await cache.read(version, range: range).array }
        var late = MarkerQueue.Configuration()
        (late.pauseNanoseconds, late.holdNanosecondsMax) = (1_000_000, 5_000_000)
        (late.retryNanoseconds, late.retryNanosecondsMax) = (1_000_000, 5_000_000)
        let markers = MarkerQueue(store: settled, area: area, configuration: late, time: SystemTime(), log: silent)
        let attributes =
            remembers
            ? AttributeStore(
                configuration: AttributeStoreConfiguration(directory: "\(directory)/names", bucket: bucketIdentity),
                time: time, report: { _ in })
            : nil
        var configuration = FileSystemConfiguration()
        configuration.uid = 1000
        configuration.gid = 1000
        configure(&configuration)
        let fileSystem = FileSystem(
            store: settled, cache: cache, area: area, queue: queue, markers: markers, removals: removals,
            attributes: attributes,
            configuration: configuration, time: time, log: silent)
        return (line, cache, area, queue, attributes, fileSystem)
    }

    private func startAgain() throws {
        kept = []
        (line, cache, area, queue, attributes, fileSystem) = try Self.start(
            between ?? store, process, begunUploads, time, directory, stagingLimitBytes, bucketIdentity,
            memoryBlockCount, remembers, process?.disk ?? disk, cacheDisk, isSmall, configure)
        (leftovers, damaged) = fileSystem.recover()
    }

    /// Ends the mount in good order, pending data or not, and mounts again.
    func remount() async throws {
        await fileSystem.shutDown()
        await attributes?.drain()
        forgetUnnamedUploads()
        try startAgain()
    }

    /// As kill -9 and a new mount: requests under way lose their answers, nothing is finished, and of the state
    /// directory there is what was in it at that instant.
    /// - Parameter isImageFirst: the state directory is taken as it is now, not as the ending of tasks leaves it; for when
    ///   all requests under way are held, or the process is dead.
    /// - Parameter point: where the process of the new mount dies, in recovering.
    func kill(isImageFirst: Bool = false, again point: CrashPoint? = nil) async throws {
        var image = Self.newPath()
        // What is dead changes nothing any more.
        let isMoved = process?.isDead == true
        if isMoved {
            try FileManager.default.moveItem(atPath: directory, toPath: image)
        } else if isImageFirst {
            try FileManager.default.copyItem(atPath: directory, toPath: image)
        }
        line.cut()
        onKill?()
        // What a process leaves behind ends with it; here its tasks must be ended. They change nothing any more.
        for file in area.files { await queue.settle(file) }
        while line.inFlightCount > 0 { await Task.yield() }
        await attributes?.drain()
        // A file that was published just before is being removed, maybe: then the instant is a little later.
        while !isImageFirst, !isMoved, (try? FileManager.default.copyItem(atPath: directory, toPath: image)) == nil {
            try? FileManager.default.removeItem(atPath: image)
            image = Self.newPath()
        }
        await fileSystem.shutDown()
        closeFiles()
        if !isMoved { try FileManager.default.removeItem(atPath: directory) }
        directory = image
        forgetUnnamedUploads()
        process?.restart(at: point)
        try startAgain()
    }

    /// As the end of a process does: nodes that know each other live on, but not with their descriptors.
    private func closeFiles() {
        for dentry in fileSystem.tree.withLock({ $0.all }) { dentry.node.state.withLock { $0.content = .none } }
    }

    /// Of an upload that was begun, and is in no journal when the process ends (a full disk took none), nobody can know.
    private func forgetUnnamedUploads() {
        let texts = ((try? journals()) ?? []).compactMap { FileManager.default.contents(atPath: $0) }
        begunUploads.withLock { begun in
            begun = begun.filter { id in texts.contains { $0.firstRange(of: Data(id.value.utf8)) != nil } }
        }
    }

    /// The uploads in the store that a mount of this should have completed or given up. In the background: they are waited for.
    func uploadsLeftOpen() async -> [OpenUpload] {
        let deadline = SystemTime().monotonicNanoseconds + 5_000_000_000
        while true {
            let begun = begunUploads.withLock { $0 }
            let left = store.openUploads.filter { begun.contains($0.id) }
            guard !left.isEmpty, SystemTime().monotonicNanoseconds < deadline else { return left }
            try? await Task.sleep(nanoseconds: 1_000_000)
        }
    }

    /// Called by `kill` once nothing reaches the store any more: to let go what a test holds.
    var onKill: (() -> Void)?

    /// The paths of the journals of all staged files, of other mounts' too.
    func journals() throws -> [String] {
        let root = directory + "/staging"
        return try FileManager.default.contentsOfDirectory(atPath: root).flatMap { session in
            try FileManager.default.contentsOfDirectory(atPath: "\(root)/\(session)")
                .filter { $0.hasSuffix(".journal") }.map { "\(root)/\(session)/\($0)" }
        }
    }

    /// What the data files of a state directory take of the disk, in bytes.
    static func dataBlocks(below directory: String) -> Int {
        let root = directory + "/staging"
        return ((try? FileManager.default.subpathsOfDirectory(atPath: root)) ?? []).reduce(0) { total, name in
            var status = stat()
            guard name.hasSuffix(".data"), lstat("\(root)/\(name)", &status) == 0 else { return total }
            return total + Int(status.st_blocks) * 512
        }
    }

    /// Returns when the renames that an earlier mount began are ended, or have failed.
    func resumed() async {
        for task in fileSystem.resumedRenames.withLock({ $0 }) { await task.value }
    }

    /// Lets everything that is believed of the store expire.
    func expire() {
        time.advance(seconds: 61)
    }

    /// Brings everything to the store; returns what could not be brought.
    @discardableResult
    func drain() async -> [PendingUpload] {
        await fileSystem.drain { _ in }
    }

    /// Returns when no request is under way any more that this mount has made.
    func settle() async {
        while line.inFlightCount > 0 || cache.statistics.requestsInFlight > 0 { await Task.yield() }
    }
}
