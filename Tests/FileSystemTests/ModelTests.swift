// Random calls against the model, in sequences of their own seed.

import FoundationEssentials
import Glibc
import MemoryStore
import Testing

@testable import FileSystem

/// Seeds of the normal run; `PAIL_MODEL_SEEDS=FIRST-LAST` sets others.
let modelSeeds: ClosedRange<Int> = {
    let bounds = ProcessInfo.processInfo.environment["PAIL_MODEL_SEEDS"]?.split(separator: "-").compactMap { Int($0) }
    guard let bounds, bounds.count == 2, bounds[0] <= bounds[1] else { return 1...80 }
    return bounds[0]...bounds[1]
}()

@Suite(.timeLimit(.minutes(10)), .serialized)
struct ModelTests {
    /// Any sequence of calls shows what a local disk would show, and leaves it in the bucket. With every second seed, here
    /// and below, by multipart uploads and at the limit of the staging.
    @Test(arguments: modelSeeds)
    func behavesLikeALocalTree(seed: Int) async {
        await check(seed, RandomCall.sequence(seed: UInt64(seed), count: 40)) {
            await ModelRun.run($0, isSmall: seed % 2 == 0)
        }
    }

    /// With a store that fails: a call that failed has happened or has not, what fsync has acknowledged is there, and
    /// nothing is absent because the store did not say.
    @Test(arguments: modelSeeds)
    func losesNothingWhenTheStoreFails(seed: Int) async {
        await check(seed, RandomCall.sequence(seed: UInt64(seed) &+ 1_000_000, count: 40)) {
            await ModelRun.run($0, faultSeed: UInt64(seed), isSmall: seed % 2 == 0)
        }
    }

    /// Two mounts of one bucket that are used in turn.
    @Test(arguments: modelSeeds)
    func twoMountsShowTheSame(seed: Int) async {
        await check(seed, RandomCall.sequence(seed: UInt64(seed) &+ 3_000_000, count: 40)) {
            await ModelRun.run($0, turnSeed: UInt64(seed), isSmall: seed % 2 == 0)
        }
    }

    /// With a disk that is full now and then: a call that failed for want of room does what it should once there is room,
    /// removing needs none, and nothing else is lost.
    @Test(arguments: modelSeeds)
    func losesNothingWhenTheDiskIsFull(seed: Int) async {
        await check(seed, RandomCall.sequence(seed: UInt64(seed) &+ 2_000_000, count: 40)) {
            await ModelRun.run($0, diskSeed: UInt64(seed), isSmall: seed % 2 == 0)
        }
    }

    /// Both at once.
    @Test(arguments: modelSeeds)
    func losesNothingWhenStoreAndDiskFail(seed: Int) async {
        await check(seed, RandomCall.sequence(seed: UInt64(seed) &+ 4_000_000, count: 40)) {
            await ModelRun.run($0, faultSeed: UInt64(seed), diskSeed: UInt64(seed) &+ 1, isSmall: seed % 2 == 0)
        }
    }

    /// Names that no path can spell, that are too long for one, that are no text, or that look like each other, and another
    /// client who makes and removes such: by turns on one mount, with a store that fails, and on two mounts.
    @Test(arguments: modelSeeds)
    func strangeNamesAreLikeOthers(seed: Int) async {
        let calls = RandomCall.sequence(seed: UInt64(seed) &+ 5_000_000, count: 40, meddles: true)
        await check(seed, calls) {
            await ModelRun.run(
                $0, faultSeed: seed % 3 == 1 ? UInt64(seed) : nil, turnSeed: seed % 3 == 2 ? UInt64(seed) : nil,
                isSmall: seed % 2 == 0, spelling: Spelling(seed: UInt64(seed)))
        }
    }

    /// Records the first difference of a run, and the shortest calls that lead to one.
    private func check(
        _ seed: Int, _ calls: [RandomCall], _ run: @escaping @Sendable ([RandomCall]) async -> Difference?
    ) async {
        guard let first = await run(calls) else { return }
        let (short, last) = await shrink(calls, fails: run)
        Issue.record("seed \(seed): \(first)\nshrunk: \(last.map { "\($0)" } ?? "not at all")\n\(script(short))")
    }
}
