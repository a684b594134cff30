// A cache over an in-memory store, with an object of known bytes.

import Base
import BlockCache
import Glibc
import MemoryStore
import ObjectModel
import ObjectStore
import Testing

let blockBytes = 4096

struct Fixture {
    let store: MemoryStore
    let pool: BufferPool
    let cache: BlockCache

    /// - Parameter blockCount: the memory budget in blocks.
    init(
        blockCount: Int = 1024, blockBytes: Int = blockBytes, seed: UInt64 = 1,
        _ configure: (inout BlockCacheConfiguration) -> Void = { _ in }
    ) {
        store = MemoryStore(seed: seed)
        store.requireIfMatch = true
        pool = BufferPool(limitBytes: blockCount * blockBytes, bufferBytes: blockBytes)
        var configuration = BlockCacheConfiguration()
        configure(&configuration)
        cache = BlockCache(store: store, pool: pool, configuration: configuration, time: SimulatedTime())
    }

    /// Writes an object; its bytes tell their position and version.
    @discardableResult
    func write(_ byteCount: Int, at key: String = "k", salt: UInt64 = 0) -> ObjectVersion {
        store.write(Self.bytes(byteCount, salt: salt), at: key)
        return store.info(at: key)!.version
    }

    /// Bytes with a prime period, so that a block never looks like its neighbour.
    static func bytes(_ byteCount: Int, salt: UInt64 = 0) -> [UInt8] {
        let period = 65_537
        var dice = Dice(state: salt)
        let words = (0..<period / 8 + 1).map { _ in dice.next() }
        return [UInt8](unsafeUninitializedCapacity: byteCount) { buffer, count in
            words.withUnsafeBytes { words in
                for start in stride(from: 0, to: byteCount, by: period) {
                    memcpy(buffer.baseAddress! + start, words.baseAddress!, min(period, byteCount - start))
                }
            }
            count = byteCount
        }
    }

    /// The ranges of the GETs so far, in the order of arrival.
    var ranges: [ByteRange] {
        store.requestLog.filter { $0.operation == .getObject }.map { $0.range! }
    }

    /// Lets the held GET that begins at `offset` go on, once it has come: those of one read come in any order.
    func resumeGet(at offset: Int) async {
        while !store.resumeOne(.getObject, where: { $0.range?.lowerBound == offset }) { await Task.yield() }
    }

    /// Returns when no GET is under way and none can start any more.
    func settle() async {
        while cache.statistics.requestsInFlight > 0 { await Task.yield() }
    }

    /// Reads, and expects the bytes of the version.
    func expectRead(
        _ stream: ReadStream, _ range: ByteRange, of bytes: [UInt8], sourceLocation: SourceLocation = #_sourceLocation
    ) async throws {
        let slices = try await cache.read(stream, range: range)
        #expect(slices.isEqual(bytes, range), "range \(range)", sourceLocation: sourceLocation)
    }
}

extension ReadSlices {
    /// Whether these are the bytes of the range.
    func isEqual(_ bytes: [UInt8], _ range: ByteRange) -> Bool {
        guard byteCount == range.count else { return false }
        var offset = range.lowerBound
        return bytes.withUnsafeBytes { bytes in
            allSatisfy { slice in
                defer { offset += slice.count }
                return memcmp(bytes.baseAddress! + offset, slice.bytes.baseAddress!, slice.count) == 0
            }
        }
    }
}

/// A small seeded generator, the same everywhere.
struct Dice: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var value = state
        value = (value ^ (value >> 30)) &* 0xbf58_476d_1ce4_e5b9
        value = (value ^ (value >> 27)) &* 0x94d0_49bb_1331_11eb
        return value ^ (value >> 31)
    }
}
