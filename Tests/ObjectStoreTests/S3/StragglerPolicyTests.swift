// What is usual, and what is late.

import S3Protocol
import Testing

@testable import ObjectStore

@Suite(.timeLimit(.minutes(3)))
struct StragglerPolicyTests {
    static func milliseconds(_ value: Double) -> UInt64 { UInt64(value * 1e6) }

    static let quantiles: [(samples: [Double], fraction: Double, from: Double, to: Double)] = [
        ([10], 0.99, 10, 12),
        ([0], 0.5, 1, 1),
        ([0.2, 0.4, 0.9], 0.99, 1, 1),
        (Array(repeating: 10, count: 99) + [1000], 0.99, 10, 12),
        (Array(repeating: 10, count: 98) + [1000, 1000], 0.99, 1000, 1200),
        (Array(repeating: 10, count: 50) + Array(repeating: 40, count: 50), 0.5, 10, 12),
        (Array(repeating: 10, count: 50) + Array(repeating: 40, count: 50), 0.9, 40, 48),
        ([1_000_000], 0.5, 50_000, 70_000),
    ]

    @Test(arguments: quantiles)
    func quantile(_ samples: [Double], _ fraction: Double, _ from: Double, _ to: Double) throws {
        var estimate = LatencyEstimate()
        for sample in samples { estimate.add(nanoseconds: Self.milliseconds(sample)) }
        let value = try #require(estimate.quantileNanoseconds(fraction, samplesMin: 1))
        #expect((Self.milliseconds(from)...Self.milliseconds(to)).contains(value), "\(value)")
    }

    @Test func nothingIsSaidOfFewSamples() {
        var estimate = LatencyEstimate()
        #expect(estimate.quantileNanoseconds(0.5, samplesMin: 0) == nil)
        estimate.add(nanoseconds: 5)
        #expect(estimate.quantileNanoseconds(0.5, samplesMin: 2) == nil)
    }

    @Test func theOldIsForgotten() throws {
        var estimate = LatencyEstimate()
        for _ in 0..<10_000 { estimate.add(nanoseconds: Self.milliseconds(1000)) }
        for _ in 0..<10_000 { estimate.add(nanoseconds: Self.milliseconds(10)) }
        #expect(estimate.sampleCount < LatencyEstimate.sampleCountMax)
        let value = try #require(estimate.quantileNanoseconds(0.99, samplesMin: 1))
        #expect(value < Self.milliseconds(20))
    }

    /// Begins as many reads as the samples of what is usual come from.
    func policy(_ operation: S3Operation, count: Int, firstByte: Double, pause: Double = 0) -> StragglerPolicy {
        var policy = StragglerPolicy()
        for _ in 0..<count {
            _ = policy.begin(operation, attempt: 1, stallMillisecondsMax: 20_000)
            policy.noteFirstByte(operation, nanoseconds: Self.milliseconds(firstByte))
            policy.notePause(operation, nanoseconds: Self.milliseconds(pause))
        }
        return policy
    }

    @Test(arguments: [
        (39, 100.0, nil as ClosedRange<Double>?), (40, 100.0, 100...120), (1000, 100.0, 100...120),
        (1000, 2.0, 50...50), (1000, 5000.0, 5000...6000),
    ])
    func hedgesAreSentAtThe99thPercentile(_ count: Int, _ firstByte: Double, _ late: ClosedRange<Double>?) {
        var policy = policy(.getObject, count: count, firstByte: firstByte)
        let patience = policy.begin(.getObject, attempt: 1, stallMillisecondsMax: 20_000)
        #expect((patience.hedgeNanoseconds == nil) == (late == nil))
        if let value = patience.hedgeNanoseconds, let late {
            #expect(late.contains(Double(value) / 1e6), "\(value)")
        }
        // Of other operations nothing is known by that.
        #expect(policy.begin(.headObject, attempt: 1, stallMillisecondsMax: 20_000).hedgeNanoseconds == nil)
    }

    @Test func oneReadInTwentyIsHedgedAtMost() {
        var policy = policy(.getObject, count: 100, firstByte: 10)
        while policy.takeHedge(.getObject) {}
        var hedges = 0
        for _ in 0..<10_000 {
            let patience = policy.begin(.getObject, attempt: 1, stallMillisecondsMax: 20_000)
            if patience.hedgeNanoseconds != nil, policy.takeHedge(.getObject) { hedges += 1 }
        }
        #expect((480...500).contains(hedges), "\(hedges)")
    }

    /// Hedges in 3,200 reads that are all late, by what became of each before.
    @Test(arguments: [([true], 160), ([false], 13), ([false, true], 106)])
    func hedgesThatDoNotHelpBecomeRare(_ outcomes: [Bool], _ expected: Int) {
        var policy = policy(.getObject, count: 100, firstByte: 10)
        while policy.takeHedge(.getObject) {}
        var count = 0
        for _ in 0..<3200 {
            guard policy.begin(.getObject, attempt: 1, stallMillisecondsMax: 20_000).hedgeNanoseconds != nil,
                policy.takeHedge(.getObject)
            else { continue }
            policy.noteHedge(.getObject, isWon: outcomes[count % outcomes.count])
            count += 1
        }
        #expect(abs(count - expected) <= 2, "\(count)")
    }

    /// Listings whose hedges never come first are hedged rarely, however often those of HEADs do.
    @Test func regression_hedgesAreDearByKinds() {
        var policy = policy(.headObject, count: 100, firstByte: 10)
        for _ in 0..<100 { policy.noteFirstByte(.listObjectsV2, nanoseconds: 10_000_000) }
        var counts: [S3Operation: Int] = [:]
        for _ in 0..<3200 {
            for operation in [S3Operation.headObject, .listObjectsV2] {
                guard policy.begin(operation, attempt: 1, stallMillisecondsMax: 20_000).hedgeNanoseconds != nil,
                    policy.takeHedge(operation)
                else { continue }
                policy.noteHedge(operation, isWon: operation == .headObject)
                counts[operation, default: 0] += 1
            }
        }
        #expect(counts[.listObjectsV2, default: 0] <= 10 && counts[.headObject, default: 0] >= 250, "\(counts)")
    }

    @Test func savedHedgesAreBounded() {
        var policy = policy(.getObject, count: 10_000, firstByte: 10)
        var count = 0
        while policy.takeHedge(.getObject) { count += 1 }
        #expect(count == StragglerPolicy.hedgesSavedMax)
    }

    @Test(arguments: [
        // Nothing known, in a row, at the configured limit, without one.
        (S3Operation.getObject, 0, 0.0, 1, 20_000, 5000...5000), (.listObjectsV2, 0, 0, 1, 20_000, 10_000...10_000),
        (.getObject, 0, 0, 2, 20_000, 10_000...10_000), (.getObject, 0, 0, 9, 20_000, 20_000...20_000),
        (.getObject, 0, 0, 2, 0, 10_000...10_000), (.getObject, 0, 0, 1, 3000, 3000...3000),
        // A fast link, a slow one.
        (.getObject, 100, 0, 1, 20_000, 2000...2000), (.getObject, 100, 0, 3, 20_000, 8000...8000),
        (.getObject, 100, 1500, 1, 20_000, 6000...7200), (.getObject, 100, 9000, 1, 20_000, 20_000...20_000),
    ])
    func patienceWithSilence(
        _ operation: S3Operation, _ count: Int, _ pause: Double, _ attempt: Int, _ limit: Int,
        _ expected: ClosedRange<Int>
    ) {
        var policy = policy(operation, count: count, firstByte: 10, pause: pause)
        let patience = policy.begin(operation, attempt: attempt, stallMillisecondsMax: limit)
        #expect(expected.contains(patience.stallMilliseconds), "\(patience)")
    }

    @Test func aLinkThatOftenPausesGetsMoreTime() {
        var policy = policy(.getObject, count: 100, firstByte: 10)
        // Given up after two seconds, one in twenty, then one in four.
        for index in 0..<400 {
            policy.notePause(.getObject, nanoseconds: Self.milliseconds(index % 20 == 0 ? 2000 : 0))
        }
        #expect(policy.begin(.getObject, attempt: 1, stallMillisecondsMax: 20_000).stallMilliseconds == 2000)
        for index in 0..<800 { policy.notePause(.getObject, nanoseconds: Self.milliseconds(index % 4 == 0 ? 2000 : 0)) }
        #expect(policy.begin(.getObject, attempt: 1, stallMillisecondsMax: 20_000).stallMilliseconds >= 8000)
    }
}
