// A staging area in a temporary directory over an in-memory store.

import Base
import FoundationEssentials
import Glibc
import Logging
import MemoryStore
import ObjectModel
import ObjectStore

@testable import Staging

/// Makes a staging area and its queue; removes the directory at the end.
final class StagingFixture: Sendable {
    let directory: String
    let store: MemoryStore
    let area: StagingArea
    let queue: UploadQueue
    let conflicts = Lock<[ObjectKey]>([])
    private let isSmall: Bool

    /// - Parameters:
    ///   - through: what the queue sends its requests through; `store` itself by default.
    ///   - isSmall: multipart uploads begin at 256 KiB, with parts of 64 KiB.
    ///   - disk: what takes the files.
    ///   - fileCountMax: files sent at once.
    ///   - partCountMax: parts sent at once, and copied at once.
    ///   - aheadCount: for how many new files those on the disk are made ahead.
    init(
        store: MemoryStore = MemoryStore(), directory: String? = nil, limitBytes: Int? = nil,
        through: (any ObjectStore)? = nil, isSmall: Bool = false, time: any TimeSource = SystemTime(),
        disk: StagingDisk = StagingDisk(), fileCountMax: Int = 64, partCountMax: Int = 16,
        aheadCount: Int = 0
    ) throws {
        self.store = store
        let sent = through ?? store
        self.directory =
            directory ?? FileManager.default.temporaryDirectory.path
            + "/pail-staging-\(UInt64.random(in: .min ... .max))"
        try FileManager.default.createDirectory(atPath: self.directory, withIntermediateDirectories: true)
        area = try StagingArea(
            stateDirectory: self.directory, bucketIdentity: "memory bucket", limitBytes: limitBytes, disk: disk,
            aheadCount: aheadCount)
        var configuration = UploadQueue.Configuration()
        configuration.partBytes = 64 << 10
        configuration.fileCountMax = fileCountMax
        configuration.partCountMax = partCountMax
        configuration.propertiesLingerNanoseconds = 0
        if isSmall {
            var capabilities = store.capabilities
            capabilities.partBytesMin = 64 << 10
            store.setCapabilities(capabilities)
            configuration.singlePutBytes = 256 << 10
            configuration.aheadBytesMin = 512 << 10
        }
        self.isSmall = isSmall
        configuration.retryNanoseconds = 10_000_000
        queue = UploadQueue(
            store: sent, area: area, configuration: configuration, time: time,
            log: Logger(label: "test", factory: { _ in SwiftLogNoOpLogHandler() })
        ) { version, range throws(StoreError) in
            let sink = CollectingSink()
            _ = try await sent.get(GetRequest(key: version.key, etag: version.etag, range: range), into: sink)
            return sink.bytes
        }
        queue.observe(
            published: { _, _ in }, conflicted: { [conflicts] _, _, saved in conflicts.withLock { $0.append(saved) } })
    }

    /// A second area on the same directory, as the next mount would open it.
    func successor() throws -> StagingFixture {
        try StagingFixture(store: store, directory: directory, isSmall: isSmall)
    }

    /// Makes what an ended mount of the same bucket may leave: one file's journal and, if it has any, data. Returns where.
    func leaveSession(journal: Data, data: Data?) throws -> String {
        let session = directory + "/staging/1-old"
        try FileManager.default.createDirectory(atPath: session, withIntermediateDirectories: true)
        try Data("memory bucket\n".utf8).write(to: URL(fileURLWithPath: session + "/owner"))
        try journal.write(to: URL(fileURLWithPath: session + "/1.journal"))
        try data?.write(to: URL(fileURLWithPath: session + "/1.data"))
        return session
    }

    /// What another mount would find had this one been killed now.
    func copyOfSession() throws -> StagingFixture {
        let copy = FileManager.default.temporaryDirectory.path + "/pail-staging-\(UInt64.random(in: .min ... .max))"
        try FileManager.default.copyItem(atPath: directory, toPath: copy)
        return try StagingFixture(store: store, directory: copy, isSmall: isSmall)
    }

    func removeDirectory() {
        try? FileManager.default.removeItem(atPath: directory)
    }

    func newFile(_ key: String, condition: WriteCondition = .ifAbsent) throws -> StagedFile {
        try area.create(
            StagedIdentity(
                key: MemoryStore.objectKey(key), base: nil, baseByteCount: 0, byteCount: 0, condition: condition,
                properties: ObjectProperties()),
            isChanged: true)
    }

    func change(_ key: String) throws -> StagedFile {
        let info = store.info(at: key)!
        return try area.create(
            StagedIdentity(
                key: info.key, base: info.version, baseByteCount: info.version.byteCount,
                byteCount: info.version.byteCount, condition: .ifMatch(info.version.etag), properties: info.properties),
            isChanged: false)
    }
}

extension StagedFile {
    func write(_ bytes: [UInt8], at offset: Int) throws {
        let count = try bytes.withUnsafeBytes { try write($0, at: offset) }
        precondition(count == bytes.count)
    }

    /// The whole file as a reader would see it.
    func contents(_ fixture: StagingFixture) async throws -> [UInt8] {
        var result: [UInt8] = []
        for piece in pieces(ByteRange(0, byteCount)) {
            switch piece {
            case .local(let range):
                var bytes = [UInt8](repeating: 0, count: range.count)
                try readLocal(into: &bytes, at: range.lowerBound)
                result += bytes
            case .base(let version, let range):
                let sink = CollectingSink()
                _ = try await fixture.store.get(
                    GetRequest(key: version.key, etag: version.etag, range: range), into: sink)
                result += sink.bytes
            case .inTransit: throw StagingError.inTransit
            }
        }
        return result
    }
}

/// A clock on the wall that stands still: what happens, happens in the same millisecond.
struct StandingClock: TimeSource {
    private let system = SystemTime()
    let now = Timestamp(seconds: 1_700_000_000)
    var monotonicNanoseconds: UInt64 { system.monotonicNanoseconds }
    func sleep(nanoseconds: UInt64) async throws { try await system.sleep(nanoseconds: nanoseconds) }
}

/// Bytes of which no block is like another, the same for the same seed.
func scrambled(_ count: Int, seed: Int) -> [UInt8] {
    var random = SplitMix64(seed: UInt64(seed))
    var result = [UInt8](repeating: 0, count: count)
    result.withUnsafeMutableBytes { buffer in
        for offset in stride(from: 0, to: count - 7, by: 8) {
            buffer.storeBytes(of: random.next(), toByteOffset: offset, as: UInt64.self)
        }
    }
    return result
}
