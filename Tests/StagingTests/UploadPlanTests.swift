// How a file is sent: tables, and rules that hold for any file.

import Base
import MemoryStore
import ObjectModel
import ObjectStore
import Staging
import Testing

@Suite(.timeLimit(.minutes(3)))
struct UploadPlanTests {
    private static let mebi = 1 << 20

    private func plan(_ byteCount: Int, dirty: [ByteRange], base: Int?, partBytes: Int? = nil) -> UploadPlan {
        UploadPlan.make(
            byteCount: byteCount, dirty: ByteRangeSet(dirty),
            base: base.map { (version(of: $0), min($0, byteCount)) }, capabilities: StoreCapabilities(),
            partBytes: partBytes)
    }

    private func version(of byteCount: Int) -> ObjectVersion {
        ObjectVersion(key: MemoryStore.objectKey("base"), etag: ETag("e")!, byteCount: byteCount)
    }

    @Test func nothingButPropertiesIsACopy() {
        #expect(plan(100, dirty: [], base: 100) == .copy)
        #expect(plan(0, dirty: [], base: 0) == .copy)
    }

    @Test(arguments: [0, 1, 4096, UploadPlan.singlePutBytes])
    func smallFilesAreOnePut(byteCount: Int) {
        #expect(plan(byteCount, dirty: [ByteRange(0, byteCount)], base: nil) == .put)
    }

    @Test func aTruncatedFileIsNoCopy() {
        #expect(plan(50, dirty: [ByteRange(40, 50)], base: 40) == .put)
        #expect(plan(50, dirty: [], base: 60) == .put)
    }

    @Test func aLargeNewFileIsCutIntoUsualParts() throws {
        let byteCount = 100 * Self.mebi
        guard case .multipart(let parts) = plan(byteCount, dirty: [ByteRange(0, byteCount)], base: nil) else {
            Issue.record("not a multipart upload")
            return
        }
        let usual = parts.dropLast().allSatisfy { part in part.range.count == UploadPlan.usualPartBytes }
        #expect(usual)
        #expect(parts.allSatisfy { part in part.source == .staged })
    }

    @Test func fourKibibytesInsideFiveGibibytesSendLittle() throws {
        let byteCount = 5 << 30
        guard
            case .multipart(let parts) = plan(
                byteCount, dirty: [ByteRange(offset: 1 << 30, count: 4096)], base: byteCount)
        else {
            Issue.record("not a multipart upload")
            return
        }
        let sent = parts.filter { $0.source == .staged }.reduce(0) { $0 + $1.range.count }
        #expect(sent <= 20_000_000)
    }

    @Test func anAppendSendsOnlyTheEnd() throws {
        let base = 5 << 30
        guard
            case .multipart(let parts) = plan(base + 4096, dirty: [ByteRange(base, base + 4096)], base: base)
        else {
            Issue.record("not a multipart upload")
            return
        }
        let sent = parts.filter { $0.source == .staged }.reduce(0) { $0 + $1.range.count }
        #expect(sent <= 20_000_000)
    }

    /// The server copies side by side, so that there are several; but no more than it takes.
    @Test(arguments: [
        (base: 20, largest: 16), (base: 100, largest: 16), (base: 512, largest: 32), (base: 1 << 10, largest: 64),
        (base: 2 << 10, largest: 128), (base: 5 << 10, largest: 128),
    ])
    func whatIsCopiedIsCutForTheServer(base: Int, largest: Int) throws {
        let byteCount = base * Self.mebi
        guard
            case .multipart(let parts) = plan(
                byteCount + 4096, dirty: [ByteRange(byteCount, byteCount + 4096)], base: byteCount)
        else {
            Issue.record("not a multipart upload")
            return
        }
        let copied = parts.filter { $0.source == .base }.map(\.range.count)
        // The last may have taken a remainder that is too short for a part.
        #expect(copied.dropLast().allSatisfy { $0 == largest * Self.mebi })
        #expect(copied.max()! < (largest + 5) * Self.mebi)
    }

    /// Many small changes of a large object are no more parts than there may be (of which there are fewer here, for the time
    /// that the test takes), and much of it is still copied.
    @Test(arguments: [(count: 600, spacing: 12), (600, 20), (800, 12)])
    func regression_scatteredChangesFitIntoTheParts(count: Int, spacing: Int) throws {
        let byteCount = count * spacing * Self.mebi
        let dirty = (0..<count).map { ByteRange(offset: ($0 * spacing + spacing / 2) * Self.mebi, count: 4096) }
        var capabilities = StoreCapabilities()
        capabilities.partCountMax = 1000
        let changed = ByteRangeSet(dirty)
        guard
            case .multipart(let parts) = UploadPlan.make(
                byteCount: byteCount, dirty: changed, base: (version(of: byteCount), byteCount),
                capabilities: capabilities)
        else {
            Issue.record("not a multipart upload")
            return
        }
        #expect(parts.count <= 1000)
        #expect(parts.first?.range.lowerBound == 0 && parts.last?.range.upperBound == byteCount)
        let isContiguous = zip(parts, parts.dropFirst()).allSatisfy { $0.range.upperBound == $1.range.lowerBound }
        #expect(isContiguous)
        let isLegal = parts.dropLast().allSatisfy { $0.range.count >= 5 * Self.mebi && $0.range.count <= 5 << 30 }
        #expect(isLegal)
        let isClean = parts.allSatisfy { $0.source == .staged || changed.intersection($0.range).isEmpty }
        #expect(isClean)
        let sent = parts.filter { $0.source == .staged }.reduce(0) { $0 + $1.range.count }
        #expect(sent < byteCount * 3 / 4, "\(sent * 100 / byteCount) %")
    }

    @Test func fiveTebibytesFitIntoTheParts() throws {
        let byteCount = 5 << 40
        guard case .multipart(let parts) = plan(byteCount, dirty: [ByteRange(0, byteCount)], base: nil) else {
            Issue.record("not a multipart upload")
            return
        }
        #expect(parts.count <= 10_000)
        #expect(parts.allSatisfy { $0.range.count <= 5 << 30 })
    }

    /// Seeded random files: parts cover the file once, in order; each but the last is at least 5 MiB; a copied part
    /// holds no dirty byte and lies within the base.
    @Test(arguments: 1...200)
    func partsAreLegal(seed: Int) {
        var random = SplitMix64(seed: UInt64(seed))
        let base = Int.random(in: 0...(200 * Self.mebi), using: &random)
        let byteCount = Int.random(in: max(17 * Self.mebi, base / 2)...(300 * Self.mebi), using: &random)
        var dirty = ByteRangeSet()
        for _ in 0..<Int.random(in: 0...12, using: &random) {
            let offset = Int.random(in: 0..<byteCount, using: &random)
            dirty.insert(
                ByteRange(offset, min(byteCount, offset + Int.random(in: 1...(20 * Self.mebi), using: &random))))
        }
        let baseLimit = min(base, byteCount)
        if byteCount > baseLimit { dirty.insert(ByteRange(baseLimit, byteCount)) }
        guard
            case .multipart(let parts) = UploadPlan.make(
                byteCount: byteCount, dirty: dirty, base: (version(of: base), baseLimit),
                capabilities: StoreCapabilities())
        else {
            #expect(dirty.isEmpty, "seed \(seed)")
            return
        }
        #expect(parts.first?.range.lowerBound == 0, "seed \(seed)")
        #expect(parts.last?.range.upperBound == byteCount, "seed \(seed)")
        let isContiguous = zip(parts, parts.dropFirst()).allSatisfy { $0.range.upperBound == $1.range.lowerBound }
        #expect(isContiguous, "seed \(seed)")
        let shortest = parts.dropLast().map(\.range.count).min() ?? .max
        #expect(shortest >= 5 * Self.mebi, "seed \(seed)")
        for part in parts where part.source == .base {
            #expect(dirty.intersection(part.range).isEmpty, "seed \(seed)")
            #expect(part.range.upperBound <= baseLimit, "seed \(seed)")
        }
    }
}
