// How many GETs, and so how many connections, reading may use at once. Pure: what each GET took comes in.

/// Finds the number of requests that a link needs, below a bound.
///
/// It begins at the bound, and stays there while requests are quick: nothing is gained by fewer then. Where they take long
/// because they share one thin link, not because the server thinks, fewer carry the same bytes, in order and sooner each,
/// and leave room for what somebody waits for. Only a trial tells such a link from one that gives each connection little:
///
///     watching → falling: requests were slow, and wait for their turn
///     falling → watching: with fewer if they carried as much, else with as many as before, and not tried again for a while
///     watching → rising: with fewer than the bound for a while
///     rising → watching: with all if more carried more, else with as many as before
///
/// Requests that have become quick bring all of them back at once. Windows in which no requests wait for a place say nothing.
struct RequestTuner {
    /// A GET of block bytes ended well.
    struct Ending {
        /// Now, from the start of the GET to its end, and to its first byte.
        var nanoseconds: UInt64
        var tookNanoseconds: UInt64
        var firstByteNanoseconds: UInt64
        /// Of all GETs so far, those under way included.
        var bytesReceived: Int
        /// This one included.
        var inFlightCount: Int
        /// Whether others wait for its place.
        var isPressed: Bool
    }

    static let countMin = 8
    /// Fewer are tried when a GET takes so long, and all are used again when it takes no longer than the second.
    static let slowSeconds = 1.0
    static let quickSeconds = 0.5
    /// Of a GET, at most so much may be waiting for the server: else it is latency, which needs many requests.
    static let firstByteShareMax = 0.25
    static let windowSeconds = 2.0
    /// Of a trial, until it counts.
    static let settlingSeconds = 1.0
    static let settlingSecondsMax = 60.0
    /// A trial that costs this much is over as soon as that is seen.
    static let glanceSeconds = 0.5
    static let glanceLossMax = 0.2
    /// Rates of the same link differ by so much.
    static let lossMax = 0.05
    static let gainMin = 0.1
    /// Between trials that changed nothing; doubles up to the second.
    static let pauseSecondsMin = 30.0
    static let pauseSecondsMax = 960.0
    /// After so long without a GET the network may be another one.
    static let memorySeconds = 600.0

    /// A stretch of time with the same number of requests.
    private struct Window {
        let start: UInt64
        let bytesBefore: Int
        var endingCount = 0
        var pressedCount = 0
        var tookSeconds = 0.0
        var firstByteSeconds = 0.0

        init(_ ending: Ending) {
            start = ending.nanoseconds
            bytesBefore = ending.bytesReceived
        }

        mutating func add(_ ending: Ending) {
            endingCount += 1
            if ending.isPressed { pressedCount += 1 }
            tookSeconds += Double(ending.tookNanoseconds) / 1e9
            firstByteSeconds += Double(ending.firstByteNanoseconds) / 1e9
        }

        func seconds(_ now: UInt64) -> Double { Double(now &- start) / 1e9 }
        func rate(_ ending: Ending) -> Double {
            Double(ending.bytesReceived - bytesBefore) / max(seconds(ending.nanoseconds), 1e-9)
        }
        /// Some requests may find nobody behind them: a reader that waits for one of them asks for no more.
        var isPressed: Bool { pressedCount * 4 >= endingCount * 3 }
        var meanSeconds: Double { tookSeconds / Double(max(endingCount, 1)) }
        var isServerSlow: Bool { firstByteSeconds > tookSeconds * RequestTuner.firstByteShareMax }
    }

    private enum Phase {
        case watching
        /// A trial, and how many there were before.
        case falling(from: Int)
        case rising(from: Int)
    }

    let countMax: Int
    /// How many GETs may be under way at once.
    private(set) var count: Int
    private var phase = Phase.watching
    /// Nil until the next ending; of a trial until it has settled.
    private var window: Window?
    private var trialStart: UInt64 = 0
    /// What the link has carried since the first of the trials in a row, in bytes per second.
    private var bestRate = 0.0
    private var lastEnding: UInt64?
    // For each direction: not before that time, and the pause behind the next one that changes nothing.
    private var nextFall: UInt64 = 0
    private var fallPauseSeconds = pauseSecondsMin
    private var nextRise: UInt64 = 0
    private var risePauseSeconds = pauseSecondsMin

    /// - Parameter countMax: at least 1; with no more than `countMin` there is nothing to tune.
    init(countMax: Int) {
        self.countMax = countMax
        count = countMax
    }

    mutating func requestEnded(_ ending: Ending) {
        if let last = lastEnding, Double(ending.nanoseconds &- last) / 1e9 > Self.memorySeconds {
            self = RequestTuner(countMax: countMax)
        }
        lastEnding = ending.nanoseconds
        switch phase {
        case .watching: break
        case .falling, .rising:
            // The requests of before the trial end first.
            let seconds = Double(ending.nanoseconds &- trialStart) / 1e9
            let isSettled = seconds >= Self.settlingSeconds && ending.inFlightCount <= count
            if window == nil, !isSettled {
                // Others come that are not bound by it: nothing is learned, so nothing may be lost.
                if case .falling(let before) = phase, seconds >= Self.settlingSecondsMax {
                    giveUpFall(before, now: ending.nanoseconds)
                }
                return
            }
        }
        guard window != nil else {
            window = Window(ending)
            return
        }
        window!.add(ending)
        let window = window!
        let seconds = window.seconds(ending.nanoseconds)
        let rate = window.rate(ending)
        if case .falling(let before) = phase, seconds >= Self.glanceSeconds, rate < bestRate * (1 - Self.glanceLossMax)
        {
            return giveUpFall(before, now: ending.nanoseconds)
        }
        guard seconds >= Self.windowSeconds, window.endingCount * 2 >= count else { return }
        self.window = Window(ending)
        guard window.isPressed else {
            // Whoever reads has as much as it wants; a trial is taken back.
            if case .falling(let before) = phase { count = before }
            return watch()
        }
        switch phase {
        case .watching:
            bestRate = rate
            next(window, now: ending.nanoseconds)
        case .falling(let before):
            guard rate >= bestRate * (1 - Self.lossMax) else { return giveUpFall(before, now: ending.nanoseconds) }
            // Else many small losses would add up.
            bestRate = max(bestRate, rate)
            fallPauseSeconds = Self.pauseSecondsMin
            postponeRise(now: ending.nanoseconds)
            phase = .watching
            next(window, now: ending.nanoseconds)
        case .rising(let before):
            if rate > bestRate * (1 + Self.gainMin) {
                useAll()
            } else {
                count = before
                risePauseSeconds = min(Self.pauseSecondsMax, risePauseSeconds * 2)
                postponeRise(now: ending.nanoseconds)
            }
            watch()
        }
    }

    /// Begins a trial when the window says that it may be of use.
    private mutating func next(_ window: Window, now: UInt64) {
        if count < countMax, window.meanSeconds <= Self.quickSeconds { return useAll() }
        let isSlow = window.meanSeconds >= Self.slowSeconds && !window.isServerSlow
        if isSlow, count > Self.countMin, now >= nextFall {
            let before = count
            count = max(Self.countMin, count * 3 / 4)
            begin(.falling(from: before), now: now)
        } else if count < countMax, now >= nextRise {
            let before = count
            count = min(countMax, (count * 4 + 2) / 3)
            begin(.rising(from: before), now: now)
        }
    }

    private mutating func begin(_ phase: Phase, now: UInt64) {
        self.phase = phase
        trialStart = now
        window = nil
    }

    private mutating func giveUpFall(_ before: Int, now: UInt64) {
        count = before
        nextFall = now &+ UInt64(fallPauseSeconds * 1e9)
        fallPauseSeconds = min(Self.pauseSecondsMax, fallPauseSeconds * 2)
        postponeRise(now: now)
        watch()
    }

    private mutating func postponeRise(now: UInt64) {
        nextRise = now &+ UInt64(risePauseSeconds * 1e9)
    }

    private mutating func useAll() {
        count = countMax
        risePauseSeconds = Self.pauseSecondsMin
        watch()
    }

    private mutating func watch() {
        phase = .watching
        window = nil
    }
}
