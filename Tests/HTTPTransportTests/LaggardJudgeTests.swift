// Which bodies are given up, window by window.

import Testing

@testable import HTTPTransport

@Suite(.timeLimit(.minutes(3)))
struct LaggardJudgeTests {
    typealias Body = LaggardJudge.Body

    /// Has seen connections carry `rate` bytes a second.
    func judge(usual rate: Int) -> LaggardJudge {
        var judge = LaggardJudge()
        _ = judge.judge([], seconds: 1, byteCount: rate * 4, busySeconds: 4)
        return judge
    }

    static let windows: [(usual: Int, rates: [Int], slow: [Bool])] = [
        (80_000_000, [80_000_000, 70_000_000, 1_000_000], [false, false, true]),
        (80_000_000, [80_000_000, 70_000_000, 20_000_000], [false, false, false]),
        // Alone: a reader waits for it.
        (80_000_000, [1_000_000], [true]),
        // It is the link.
        (80_000_000, [1_000_000, 1_000_000], [false, false]),
        (80_000_000, [1_000_000, 1_000_000, 1_000_000, 80_000_000], [false, false, false, false]),
        (80_000_000, [1_000_000, 1_000_000, 80_000_000, 80_000_000], [true, true, false, false]),
        // A slow link, and nothing known.
        (500_000, [500_000, 1000], [false, false]),
        (0, [1000], [false]),
    ]

    @Test(arguments: windows)
    func slowness(_ usual: Int, _ rates: [Int], _ slow: [Bool]) {
        var judge = judge(usual: usual)
        let bodies = rates.map { Body(byteCount: $0, wasSlow: false) }
        let verdicts = judge.judge(bodies, seconds: 1, byteCount: rates.reduce(0, +), busySeconds: Double(rates.count))
        #expect(verdicts.map(\.isSlow) == slow)
        #expect(verdicts.allSatisfy { !$0.isGivenUp }, "one window is not enough")
    }

    @Test func secondSlowWindowEndsIt() {
        var judge = judge(usual: 80_000_000)
        let bodies = [Body(byteCount: 80_000_000, wasSlow: true), Body(byteCount: 1000, wasSlow: true)]
        let verdicts = judge.judge(bodies, seconds: 1, byteCount: 80_001_000, busySeconds: 2)
        #expect(verdicts.map(\.isGivenUp) == [false, true])
    }

    @Test func tokensBoundIt() {
        var judge = judge(usual: 80_000_000)
        var count = 0
        for _ in 0..<10 {
            let verdicts = judge.judge(
                [Body(byteCount: 1000, wasSlow: true)], seconds: 1, byteCount: 1000, busySeconds: 1)
            count += verdicts.count { $0.isGivenUp }
        }
        #expect(count == 2)
        for _ in 0..<50 { judge.requestEnded() }
        #expect(judge.tokens > 0.99 && judge.tokens <= LaggardJudge.tokensMax)
    }

    @Test func theUsualRateIsForgotten() {
        var judge = judge(usual: 80_000_000)
        for _ in 0..<100 { _ = judge.judge([], seconds: 1, byteCount: 4_000_000, busySeconds: 4) }
        #expect(judge.usualRate == 1_000_000)
        // A pause says nothing.
        for _ in 0..<100 { _ = judge.judge([], seconds: 1, byteCount: 0, busySeconds: 0) }
        #expect(judge.usualRate == 1_000_000)
    }
}
