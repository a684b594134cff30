// Bars, tables, times.

import Testing

@testable import Commands

@Suite(.timeLimit(.minutes(3)))
struct RenderingTests {
    @Test(arguments: [
        (
            Progress(bytesDone: 450 << 20, bytesTotal: 1000 << 20, filesLeft: 3, rate: 12_582_912), 110,
            "[##################......................] 45%  450.0 MiB of 1000.0 MiB, 3 files left, 12.0 MiB/s, ETA 0:46"
        ),
        (
            Progress(bytesDone: 0, bytesTotal: 512, filesLeft: 1, rate: nil), 60,
            "[...........................] 0%  0 B of 512 B, 1 file left"
        ),
        (
            Progress(bytesDone: 512, bytesTotal: 512, filesLeft: 0, rate: 0), 70,
            "[#########################] 100%  512 B of 512 B, 0 files left, 0 B/s"
        ),
        (Progress(bytesDone: 1, bytesTotal: 2, filesLeft: 1, rate: 1), 30, "50%  1 B of 2 B, 1 file left,"),
        (
            Progress(bytesDone: 9, bytesTotal: 4, filesLeft: 1, rate: -5), 60,
            "[####################] 100%  9 B of 4 B, 1 file left, 0 B/s"
        ),
    ])
    func bars(progress: Progress, columns: Int, text: String) {
        let bar = ProgressBar.render(progress, columns: columns)
        #expect(bar.count < columns)
        #expect(bar == text)
    }

    @Test(arguments: [
        (0.4, "0:00"), (5, "0:05"), (754, "12:34"), (3723, "1:02:03"), (260_000, "3 days"), (.infinity, "-:--"),
        (-3, "0:00"),
    ])
    func clocks(seconds: Double, text: String) {
        #expect(Interval.clock(seconds: seconds) == text)
    }

    @Test(arguments: [(0.00085, "850 µs"), (0.0124, "12 ms"), (1.34, "1.3 s")])
    func latencies(seconds: Double, text: String) {
        #expect(Interval.latency(seconds: seconds) == text)
    }

    @Test func ratesAreOfTheLastSeconds() {
        var rate = RateEstimate()
        rate.add(0, at: 0)
        #expect(rate.perSecond == nil)
        rate.add(100, at: 1_000_000_000)
        #expect(rate.perSecond == 100)
        for second in 2...30 { rate.add(100 + 10 * (second - 1), at: UInt64(second) * 1_000_000_000) }
        #expect(rate.perSecond == 10)
    }

    @Test func tablesLineUp() {
        var table = TextTable([.left, .right])
        table.add(["path", "bytes", ""])
        table.add(["a/long/name", "5", "x"])
        #expect(table.lines == ["path         bytes", "a/long/name      5  x"])
    }

    @Test func findingsAreOneLine() {
        let finding = DoctorFinding(.fail, "endpoint", "no\nanswer", remedy: "check it")
        #expect(finding.line == "FAIL  endpoint                no\\nanswer; check it")
        #expect(DoctorFinding(.ok, "clock", "in step").line == "ok    clock                   in step")
    }
}
