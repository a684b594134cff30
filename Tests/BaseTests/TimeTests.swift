import Base
import Testing

@Suite(.timeLimit(.minutes(3)))
struct TimeTests {
    @Test(arguments: [
        (Timestamp(seconds: 1), Timestamp(seconds: 1, nanoseconds: 1)),
        (Timestamp(seconds: -2), Timestamp(seconds: -1)),
        (Timestamp(seconds: 1, nanoseconds: 999_999_999), Timestamp(seconds: 2)),
        (Timestamp(seconds: -1, nanoseconds: 999_999_999), Timestamp(seconds: 0)),
    ])
    func order(_ earlier: Timestamp, _ later: Timestamp) {
        #expect(earlier < later && !(later < earlier) && earlier != later)
    }

    @Test(
        arguments: [
            (Timestamp(seconds: 10), 0, Timestamp(seconds: 10)),
            (Timestamp(seconds: 10), 1, Timestamp(seconds: 10, nanoseconds: 1)),
            (Timestamp(seconds: 10, nanoseconds: 999_999_999), 1, Timestamp(seconds: 11)),
            (
                Timestamp(seconds: 10, nanoseconds: 600_000_000), 2_500_000_000,
                Timestamp(seconds: 13, nanoseconds: 100_000_000)
            ),
            (
                Timestamp(seconds: -1, nanoseconds: 500_000_000), 600_000_000,
                Timestamp(seconds: 0, nanoseconds: 100_000_000)
            ),
        ] as [(Timestamp, UInt64, Timestamp)])
    func advance(_ start: Timestamp, _ nanoseconds: UInt64, _ end: Timestamp) {
        let time = SimulatedTime(now: start)
        let before = time.monotonicNanoseconds
        time.advance(nanoseconds: nanoseconds)
        #expect(time.now == end)
        #expect(time.monotonicNanoseconds - before == nanoseconds)
    }

    @Test func simulatedSleepOnlyMovesTheClock() async throws {
        let time = SimulatedTime()
        let real = SystemTime().monotonicNanoseconds
        let before = time.monotonicNanoseconds
        try await time.sleep(nanoseconds: 3_600_000_000_000)
        #expect(time.monotonicNanoseconds - before == 3_600_000_000_000)
        #expect(SystemTime().monotonicNanoseconds - real < 3_600_000_000_000)
    }

    @Test(arguments: [false, true])
    func cancelledSleep(_ isReal: Bool) async {
        let time: any TimeSource = isReal ? SystemTime() : SimulatedTime()
        let before = time.monotonicNanoseconds
        let task = Task {
            withUnsafeCurrentTask { $0?.cancel() }
            try await time.sleep(nanoseconds: 3_600_000_000_000)
        }
        await #expect(throws: CancellationError.self) { try await task.value }
        #expect(time.monotonicNanoseconds - before < 3_600_000_000_000)
    }

    @Test func concurrentAdvancesAddUp() async {
        let time = SimulatedTime(now: Timestamp(seconds: 0))
        await withTaskGroup(of: Void.self) { group in
            for _ in 0..<100 { group.addTask { try? await time.sleep(nanoseconds: 30_000_000) } }
        }
        #expect(time.now == Timestamp(seconds: 3))
    }

    @Test func systemClocks() {
        let time = SystemTime()
        let first = time.monotonicNanoseconds
        #expect(time.monotonicNanoseconds >= first)
        // After 2024 and before 2100: nanoseconds or milliseconds taken for seconds would show.
        #expect((1_704_067_200..<4_102_444_800).contains(time.now.seconds))
    }
}
