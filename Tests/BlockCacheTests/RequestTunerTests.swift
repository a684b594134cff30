// How many requests reading makes at once, on links of all kinds.

import Testing

@testable import BlockCache

/// A link that its requests share, and a reader that always wants more.
private struct Link {
    /// Of all requests together, and of one at most; in bytes per second.
    var rate: Double
    var requestRateMax = 1e9
    var firstByteSeconds = 0.03
    var rangeBytes = 4e6
    /// How many requests the reader makes at most.
    var wantedCount = 1000

    private struct Request {
        let start: Double
        var firstByte: Double?
        var rest: Double
    }

    private var requests: [Request] = []
    private var seconds = 0.0
    private(set) var bytes = 0.0

    init(
        rate: Double, requestRateMax: Double = 1e9, firstByteSeconds: Double = 0.03, rangeBytes: Double = 4e6,
        wantedCount: Int = 1000
    ) {
        self.rate = rate
        self.requestRateMax = requestRateMax
        self.firstByteSeconds = firstByteSeconds
        self.rangeBytes = rangeBytes
        self.wantedCount = wantedCount
    }

    /// Carries bytes for a while, and tells the tuner of each request that ends.
    mutating func run(_ tuner: inout RequestTuner, seconds duration: Double) {
        let step = 0.02
        let end = seconds + duration
        while seconds < end {
            while requests.count < min(tuner.count, wantedCount) {
                // Ranges of a stream are not all of one length.
                let part = 0.5 + Double((requests.count * 7 + Int(seconds * 100)) % 10) / 10
                requests.append(Request(start: seconds, rest: rangeBytes * part))
            }
            seconds += step
            let flowing = requests.indices.filter { requests[$0].start + firstByteSeconds <= seconds }
            let share = min(requestRateMax, rate / Double(max(flowing.count, 1))) * step
            for index in flowing {
                if requests[index].firstByte == nil { requests[index].firstByte = seconds }
                bytes += min(share, requests[index].rest)
                requests[index].rest -= share
            }
            while let index = requests.firstIndex(where: { $0.rest <= 0 }) {
                let request = requests[index]
                tuner.requestEnded(
                    .init(
                        nanoseconds: UInt64(seconds * 1e9), tookNanoseconds: UInt64((seconds - request.start) * 1e9),
                        firstByteNanoseconds: UInt64((request.firstByte! - request.start) * 1e9),
                        bytesReceived: Int(bytes), inFlightCount: requests.count,
                        isPressed: wantedCount > tuner.count))
                requests.remove(at: index)
            }
        }
    }
}

@Suite(.timeLimit(.minutes(10)))
struct RequestTunerTests {
    private static let mega = 1e6

    struct Case: Sendable, CustomTestStringConvertible {
        var testDescription: String
        fileprivate var link: Link
        var expected: ClosedRange<Int>

        fileprivate init(_ name: String, _ link: Link, _ expected: ClosedRange<Int>) {
            (testDescription, self.link, self.expected) = (name, link, expected)
        }
    }

    static let cases: [Case] = [
        Case("fast", Link(rate: 1000 * mega, requestRateMax: 90 * mega), 32...32),
        Case("of a gigabit, where nothing is late", Link(rate: 120 * mega), 24...32),
        Case("of 10 MB/s for all", Link(rate: 10 * mega), 8...8),
        Case("of 1 MB/s for all", Link(rate: mega, rangeBytes: mega), 8...8),
        Case("where each request has its own slow rate", Link(rate: 1000 * mega, requestRateMax: mega), 32...32),
        Case("both: 20 MB/s for all, 1 MB/s each", Link(rate: 20 * mega, requestRateMax: mega), 20...26),
        Case("with a server that thinks", Link(rate: 20 * mega, firstByteSeconds: 3, rangeBytes: mega / 10), 32...32),
        Case("thin, small ranges", Link(rate: 10 * mega, rangeBytes: mega / 30), 32...32),
        Case("thin, but few want it", Link(rate: 10 * mega, wantedCount: 20), 32...32),
    ]

    /// And whatever is tried on the way costs next to nothing.
    @Test(arguments: cases)
    func findsWhatALinkNeeds(_ example: Case) {
        var tuner = RequestTuner(countMax: 32)
        var tuned = example.link
        tuned.run(&tuner, seconds: 200)
        #expect(example.expected.contains(tuner.count))
        var fixed = example.link
        for _ in 0..<200 {
            // One that has seen nothing yet.
            var untuned = RequestTuner(countMax: 32)
            fixed.run(&untuned, seconds: 1)
        }
        #expect(tuned.bytes > fixed.bytes * 0.98, "\(tuned.bytes) of \(fixed.bytes)")
    }

    @Test func allComeBackWhenTheLinkIsFast() {
        var tuner = RequestTuner(countMax: 32)
        var link = Link(rate: 10 * Self.mega)
        link.run(&tuner, seconds: 100)
        #expect(tuner.count == 8)
        link.rate = 500 * Self.mega
        link.run(&tuner, seconds: 6)
        #expect(tuner.count == 32)
    }

    /// More of them carry more now, though each is as slow as before.
    @Test func moreAreTriedAgain() {
        var tuner = RequestTuner(countMax: 32)
        var link = Link(rate: 10 * Self.mega)
        link.run(&tuner, seconds: 100)
        link.rate = 1000 * Self.mega
        link.requestRateMax = 1.3 * Self.mega
        link.run(&tuner, seconds: 120)
        #expect(tuner.count == 32)
    }

    /// Requests that are not bound by it keep a trial from beginning: it is taken back.
    @Test func aTrialThatCannotBeJudgedIsTakenBack() {
        var tuner = RequestTuner(countMax: 32)
        func end(_ seconds: Double, inFlightCount: Int) {
            tuner.requestEnded(
                .init(
                    nanoseconds: UInt64(seconds * 1e9), tookNanoseconds: 2_000_000_000, firstByteNanoseconds: 1,
                    bytesReceived: Int(seconds * 1e7), inFlightCount: inFlightCount, isPressed: true))
        }
        for step in 0..<40 { end(1 + Double(step) / 10, inFlightCount: 32) }
        #expect(tuner.count == 24)
        for second in 5..<70 { end(Double(second), inFlightCount: 40) }
        #expect(tuner.count == 32)
    }

    @Test func aLongPauseForgetsTheLink() {
        var tuner = RequestTuner(countMax: 32)
        var link = Link(rate: 10 * Self.mega)
        link.run(&tuner, seconds: 100)
        #expect(tuner.count == 8)
        tuner.requestEnded(
            .init(
                nanoseconds: 800_000_000_000, tookNanoseconds: 1, firstByteNanoseconds: 1, bytesReceived: 0,
                inFlightCount: 1, isPressed: false))
        #expect(tuner.count == 32)
    }

    @Test(arguments: [1, 2, 8])
    func aSmallBoundStays(bound: Int) {
        var tuner = RequestTuner(countMax: bound)
        var link = Link(rate: 10 * Self.mega)
        link.run(&tuner, seconds: 100)
        #expect(tuner.count == bound)
    }
}
