// What a hit costs, and how fast a cold stream gets over connections that feel like S3's.
// `swift run -c release block-cache-benchmark [DIRECTORY]`; with a directory only the disk tier, in it.

import Base
import BlockCache
import Glibc
import ObjectModel
import ObjectStore

let kib = 1024
let mib = 1 << 20
let clock = SystemTime()

func version(_ byteCount: Int) -> ObjectVersion {
    ObjectVersion(key: ObjectKey("object")!, etag: ETag("etag")!, byteCount: byteCount)
}

func text(_ value: Double, _ digits: Int) -> String {
    let scale = pow(10, Double(digits))
    return "\((value * scale).rounded() / scale)"
}

func nanoseconds(_ body: () async throws -> Void) async rethrows -> Double {
    let start = clock.monotonicNanoseconds
    try await body()
    return Double(clock.monotonicNanoseconds - start)
}

/// Reads `[from, to)` in order.
func stream(_ cache: BlockCache, _ stream: ReadStream, _ from: Int, _ to: Int, _ readBytes: Int) async throws {
    var offset = from
    while offset < to {
        let count = min(readBytes, to - offset)
        _ = try await cache.read(stream, range: ByteRange(offset: offset, count: count))
        offset += count
    }
}

/// Nanoseconds that this thread has computed: other programs on the machine do not count.
func threadNanoseconds() -> UInt64 {
    var value = timespec()
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &value)
    return UInt64(value.tv_sec) * 1_000_000_000 + UInt64(value.tv_nsec)
}

/// Hits of one thread: nanoseconds of processor time each.
func hits(_ cache: BlockCache, _ version: ObjectVersion, readBytes: Int, count: Int, copies: Bool) -> Double {
    let stream = ReadStream(version: version)
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: readBytes, alignment: 4096)
    defer { buffer.deallocate() }
    let start = threadNanoseconds()
    var offset = 0
    var missCount = 0
    for _ in 0..<count {
        let answer = cache.read(stream, range: ByteRange(offset: offset, count: readBytes)) { _ in }
        if case .hit(let slices) = answer {
            if copies { slices.copy(into: buffer) }
        } else {
            missCount += 1
        }
        offset = (offset + readBytes) % version.byteCount
    }
    precondition(missCount == 0, "the object was not all in memory")
    return Double(threadNanoseconds() - start) / Double(count)
}

func measureHits() async throws {
    let object = version(256 * mib)
    let pool = BufferPool(limitBytes: 512 * mib, bufferBytes: 128 * kib)
    let cache = BlockCache(store: RelayStore(firstByteMilliseconds: 0, bytesPerSecond: nil), pool: pool)
    try await stream(cache, ReadStream(version: object), 0, object.byteCount, mib)
    print("hits          ns each   with copy, GB/s   two threads, ns each")
    for readBytes in [4 * kib, 128 * kib, mib] {
        let count = readBytes == mib ? 200_000 : 1_000_000
        let alone = hits(cache, object, readBytes: readBytes, count: count, copies: false)
        let copied = hits(cache, object, readBytes: readBytes, count: 4_000_000_000 / readBytes / 2, copies: true)
        let both = await withTaskGroup(of: Double.self) { group in
            for _ in 0..<2 {
                group.addTask { hits(cache, object, readBytes: readBytes, count: count, copies: false) }
            }
            return await group.reduce(0, +) / 2
        }
        print(
            "\(ByteCount.describe(readBytes))  \(text(alone, 0))  \(text(Double(readBytes) / copied, 1))",
            terminator: "")
        print("  \(text(both, 0))")
    }
}

func measureStreams() async throws {
    print("cold stream, 30 ms and 90 MB/s per connection, 1 GiB in reads of 128 KiB")
    print("memory    first read ms   seconds   MB/s   GETs   peak   fetched twice or in vain")
    for memory in [64 * mib, 256 * mib, 512 * mib, 1024 * mib] {
        let object = version(1024 * mib)
        let store = RelayStore(firstByteMilliseconds: 30, bytesPerSecond: 90e6)
        let cache = BlockCache(store: store, pool: BufferPool(limitBytes: memory, bufferBytes: 128 * kib))
        let handle = ReadStream(version: object)
        let first = try await nanoseconds { try await stream(cache, handle, 0, 128 * kib, 128 * kib) }
        let rest = try await nanoseconds { try await stream(cache, handle, 128 * kib, object.byteCount, 128 * kib) }
        let seconds = (first + rest) / 1e9
        let counts = store.counts
        print(
            "\(ByteCount.describe(memory))  \(text(first / 1e6, 1))  \(text(seconds, 2))",
            " \(text(Double(object.byteCount) / seconds / 1e6, 0))  \(counts.count)  \(counts.peak)",
            " \(ByteCount.describe(counts.bytes - object.byteCount))")
    }
    let store = RelayStore(firstByteMilliseconds: 30, bytesPerSecond: 90e6)
    let pieces = 128
    let ideal = try await nanoseconds {
        let pool = BufferPool(limitBytes: 1024 * mib, bufferBytes: 128 * kib)
        let cache = BlockCache(store: store, pool: pool)
        try await withThrowingTaskGroup(of: Void.self) { group in
            for piece in 0..<pieces {
                group.addTask {
                    let range = ByteRange(offset: piece * 8 * mib, count: 8 * mib)
                    _ = try await cache.read(version(1024 * mib), range: range)
                }
            }
            try await group.waitForAll()
        }
    }
    print("the limit: 32 GETs of 8 MiB at once, \(text(ideal / 1e9, 2)) s")
}

func measureFirstReads() async throws {
    let store = RelayStore(firstByteMilliseconds: 30, bytesPerSecond: 90e6)
    let cache = BlockCache(store: store, pool: BufferPool(limitBytes: 256 * mib, bufferBytes: 128 * kib))
    let spent = try await nanoseconds {
        for number in 0..<20 {
            let object = ObjectVersion(key: ObjectKey("\(number)")!, etag: ETag("e")!, byteCount: 1024 * mib)
            _ = try await cache.read(ReadStream(version: object), range: ByteRange(0, 16 * kib))
        }
    }
    print("first 16 KiB of 20 objects: \(text(spent / 20e6, 1)) ms and \(Double(store.counts.count) / 20) GETs each")
    let before = store.counts
    let handle = ReadStream(version: version(4096 * mib))
    var offset = 77 * mib
    let random = try await nanoseconds {
        for _ in 0..<50 {
            _ = try await cache.read(handle, range: ByteRange(offset: offset, count: 4 * kib))
            offset = (offset &* 1_103_515_245 &+ 12345 * 4096) % (4095 * mib) / 4096 * 4096
        }
    }
    let bytes = store.counts.bytes - before.bytes
    print("random 4 KiB: \(text(random / 50e6, 1)) ms and \(ByteCount.describe(bytes / 50)) each")
}

/// A directory for the disk part: the first argument, else a fresh one below /var/tmp.
func cacheDirectory() -> String {
    if CommandLine.arguments.count > 1 { return CommandLine.arguments[1] }
    var template = Array("/var/tmp/pail-cache-benchmark-XXXXXX".utf8CString)
    return template.withUnsafeMutableBufferPointer { String(cString: mkdtemp($0.baseAddress!)) }
}

/// Makes the kernel forget what it has of files; only root can.
func dropKernelCache() -> Bool {
    sync()
    guard let file = fopen("/proc/sys/vm/drop_caches", "w") else { return false }
    return fputs("3\n", file) >= 0 && fclose(file) == 0
}

func diskCache(_ directory: String, _ store: RelayStore, limit: Int = 4096 * mib) -> BlockCache {
    var configuration = DiskCacheConfiguration(directory: directory, bucket: "benchmark")
    configuration.limitBytes = limit
    // As a mount with 1 GiB of memory has it.
    configuration.writeQueueBytesMax = 128 * mib
    let tier = DiskTier(configuration: configuration, blockBytes: 128 * kib) { print($0) }
    tier.start()
    return BlockCache(store: store, pool: BufferPool(limitBytes: 512 * mib, bufferBytes: 128 * kib), disk: tier)
}

func measureDisk() async throws {
    let directory = cacheDirectory()
    defer { _ = try? DiskCacheContents.clear(directory: directory) }
    print("disk tier in \(directory)")
    let object = version(1024 * mib)
    for isKept in [false, true] {
        let store = RelayStore(firstByteMilliseconds: 30, bytesPerSecond: 90e6)
        let pool = BufferPool(limitBytes: 512 * mib, bufferBytes: 128 * kib)
        let cache = isKept ? diskCache(directory, store) : BlockCache(store: store, pool: pool)
        let seconds = try await nanoseconds {
            try await stream(cache, ReadStream(version: object), 0, object.byteCount, 128 * kib)
        }
        let drained = await nanoseconds { await cache.disk?.drain(timeoutNanoseconds: 60_000_000_000) }
        let skipped = cache.disk?.statistics.writesSkipped ?? 0
        print(
            "cold stream of 1 GiB, \(isKept ? "with" : "without") disk: \(text(seconds / 1e9, 2)) s,",
            "then \(text(drained / 1e9, 2)) s writing, \(skipped) blocks not written")
    }
    // What was too much for the disk at first.
    for _ in 0..<3 {
        let cache = diskCache(directory, RelayStore(firstByteMilliseconds: 0, bytesPerSecond: 30e6))
        try await stream(cache, ReadStream(version: object), 0, object.byteCount, 128 * kib)
        await cache.disk?.drain(timeoutNanoseconds: 60_000_000_000)
    }
    for name in ["dropped", "dropped", "warm", "warm"] {
        let isDropped = name == "dropped" && dropKernelCache()
        let store = RelayStore(firstByteMilliseconds: 30, bytesPerSecond: 90e6)
        let cache = diskCache(directory, store)
        let spent = try await nanoseconds {
            try await stream(cache, ReadStream(version: object), 0, object.byteCount, 128 * kib)
        }
        let gets = store.counts.count
        print(
            "re-read, kernel's cache \(isDropped ? "dropped" : "warm"):",
            "\(text(Double(object.byteCount) / spent, 2)) GB/s, \(gets) GETs")
    }
    for isCold in [true, false] {
        let store = RelayStore(firstByteMilliseconds: 0, bytesPerSecond: nil)
        let cache = diskCache(directory, store)
        let spent = try await nanoseconds {
            for number in 0..<500 {
                let small = ObjectVersion(key: ObjectKey("s\(number)")!, etag: ETag("e")!, byteCount: 16 * kib)
                _ = try await cache.read(ReadStream(version: small), range: ByteRange(0, 16 * kib))
            }
        }
        await cache.disk?.drain(timeoutNanoseconds: 60_000_000_000)
        print("500 objects of 16 KiB, \(isCold ? "first" : "from disk"): \(text(spent / 500e3, 0)) us each")
    }
}

if CommandLine.arguments.count > 1 {
    try await measureDisk()
    exit(0)
}
try await measureHits()
try await measureFirstReads()
try await measureStreams()
try await measureDisk()
