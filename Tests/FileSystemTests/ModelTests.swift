// Random calls against the model, in sequences of their own seed.

import FoundationEssentials
import Glibc
import MemoryStore
import Testing

@testable import FileSystem

/// Seeds of the normal run; `PAIL_MODEL_SEEDS=FIRST-LAST` sets others.
let modelSeeds: ClosedRange<Int> = {
    let bounds = ProcessInfo.processInfo.environment["PAIL_MODEL_SEEDS"]?.split(separator: "-").compactMap { Int($0) }
    guard let bounds, bounds.count == 2, bounds[0] <= bounds[1] else { return 1...100 }
    return bounds[0]...bounds[1]
}()

@Suite(.timeLimit(.minutes(10)), .serialized)
struct ModelTests {
    /// Any sequence of calls shows what a local disk would show, and leaves it in the bucket.
    @Test(arguments: modelSeeds)
    func behavesLikeALocalTree(seed: Int) async {
        let calls = RandomCall.sequence(seed: UInt64(seed), count: 40)
        guard let first = await ModelRun.run(calls) else { return }
        let (short, last) = await shrink(calls) { await ModelRun.run($0) }
        Issue.record("seed \(seed): \(first)\nshrunk: \(last.map { "\($0)" } ?? "not at all")\n\(script(short))")
    }

    /// With a store that fails: a call that failed has happened or has not, what fsync has acknowledged is there, and
    /// nothing is absent because the store did not say.
    @Test(arguments: modelSeeds)
    func losesNothingWhenTheStoreFails(seed: Int) async {
        let calls = RandomCall.sequence(seed: UInt64(seed) &+ 1_000_000, count: 40)
        guard let first = await ModelRun.run(calls, faultSeed: UInt64(seed)) else { return }
        let (short, last) = await shrink(calls) { await ModelRun.run($0, faultSeed: UInt64(seed)) }
        Issue.record("seed \(seed): \(first)\nshrunk: \(last.map { "\($0)" } ?? "not at all")\n\(script(short))")
    }

    /// With a disk that is full now and then: a call that failed for want of room does what it should once there is room,
    /// removing needs none, and nothing else is lost.
    @Test(arguments: modelSeeds)
    func losesNothingWhenTheDiskIsFull(seed: Int) async {
        let calls = RandomCall.sequence(seed: UInt64(seed) &+ 2_000_000, count: 40)
        guard let first = await ModelRun.run(calls, diskSeed: UInt64(seed)) else { return }
        let (short, last) = await shrink(calls) { await ModelRun.run($0, diskSeed: UInt64(seed)) }
        Issue.record("seed \(seed): \(first)\nshrunk: \(last.map { "\($0)" } ?? "not at all")\n\(script(short))")
    }
}
