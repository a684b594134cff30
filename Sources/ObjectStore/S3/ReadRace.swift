// Two requests for the same bytes: the first with a good head delivers, the other is dropped.

internal import Base
internal import HTTPTransport
internal import Synchronization

/// Which of the requests of one read delivers. Thread-safe.
final class ReadRace: Sendable {
    /// 0 while nobody does.
    private let winner = Atomic(0)
    /// When the head of the winner came, on the monotonic clock; 0 before.
    private let headNanoseconds = Atomic<UInt64>(0)

    /// The number of the request whose head came first; nil while none has.
    var winningLeg: Int? {
        let number = winner.load(ordering: .acquiring)
        return number == 0 ? nil : number
    }

    var firstByteNanoseconds: UInt64? {
        let value = headNanoseconds.load(ordering: .acquiring)
        return value == 0 ? nil : value
    }

    /// True for the first to ask.
    func claim(_ leg: Int, now: UInt64) -> Bool {
        guard winner.compareExchange(expected: 0, desired: leg, ordering: .acquiringAndReleasing).exchanged else {
            return false
        }
        headNanoseconds.store(now, ordering: .releasing)
        return true
    }
}

/// The sink of one of the requests. Only the winner's transport thread reaches the download.
final class RaceLeg: HTTPResponseSink {
    private let race: ReadRace
    private let number: Int
    private let download: ObjectDownload
    private let time: any TimeSource
    private let onHead: @Sendable () -> Void

    /// - Parameters:
    ///   - number: at least 1.
    ///   - onHead: called with each head that comes, on the transport's thread.
    init(
        _ number: Int, of race: ReadRace, download: ObjectDownload, time: any TimeSource,
        onHead: @escaping @Sendable () -> Void
    ) {
        self.onHead = onHead
        self.number = number
        self.race = race
        self.download = download
        self.time = time
    }

    func begin(_ head: HTTPResponseHead) -> Bool {
        onHead()
        // An error is collected and decides nothing: the other request may do better.
        guard head.status == 200 || head.status == 206 else { return false }
        guard race.claim(number, now: time.monotonicNanoseconds) else { return true }
        return download.begin(head)
    }

    func receive(_ bytes: UnsafeRawBufferPointer) {
        if race.winningLeg == number { download.receive(bytes) }
    }

    var isAbandoned: Bool {
        guard let winner = race.winningLeg else { return false }
        return winner != number || download.isAbandoned
    }
}
