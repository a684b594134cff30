// Random reads against the model, in sequences of their own seed.

import MemoryStore
import Testing

@Suite(.timeLimit(.minutes(10)), .serialized)
struct ReadModelTests {
    private static let blockCounts = [2, 3, 5, 16, 1024]

    /// Every other sequence is of a mount with a disk cache.
    private func check(seed: Int, faultSeed: UInt64?) async {
        var random = SplitMix64(seed: UInt64(seed) &+ (faultSeed == nil ? 2_000_000 : 3_000_000))
        let hasDisk = !seed.isMultiple(of: 2)
        let steps = (0..<50).map { _ in hasDisk ? RandomRead.randomWithDisk(&random) : RandomRead.random(&random) }
        let diskSeed = hasDisk ? random.next() : nil
        let blockCount = Self.blockCounts[seed % Self.blockCounts.count]
        func run(_ steps: [RandomRead]) async -> Difference? {
            await ReadModelRun.run(steps, blockCount: blockCount, diskSeed: diskSeed, faultSeed: faultSeed)
        }
        guard let first = await run(steps) else { return }
        let (short, last) = await shrink(steps) { await run($0) }
        Issue.record(
            """
            seed \(seed), \(blockCount) blocks\(diskSeed.map { ", disk \($0)" } ?? ""): \(first)
            shrunk: \(last.map { "\($0)" } ?? "not at all")
            \(script(short))
            """)
    }

    /// Whatever is read, and whatever others do to the objects meanwhile: each open file shows one version or an error,
    /// under any budget of memory, from a disk cache of any size, over restarts, and whatever happened to its files.
    @Test(arguments: modelSeeds)
    func showsOneVersion(seed: Int) async {
        await check(seed: seed, faultSeed: nil)
    }

    /// The same with a store that fails and lies, and a disk that fails: a read gives the right bytes or an error, and recovers.
    @Test(arguments: modelSeeds)
    func showsOneVersionOrAnErrorWhenTheStoreFails(seed: Int) async {
        await check(seed: seed, faultSeed: UInt64(seed))
    }
}
