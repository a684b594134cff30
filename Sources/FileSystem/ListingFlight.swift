// A listing under way: its pages come one after another, and readers of the directory follow it.

internal import Base

/// The names of a directory in the order in which they came. Positions never change, so whoever reads a directory may
/// stop, go on and go back while it changes. Thread-safe.
///
/// Pages are fetched somewhat ahead of the readers; a listing that nobody follows any more stops.
final class ListingFlight: Sendable {
    struct Name: Sendable {
        let name: FileName
        let isDirectory: Bool
    }

    enum End: Sendable, Equatable {
        case complete
        /// Nobody wanted more.
        case stopped
        case failed(FileSystemError)
    }

    fileprivate struct State {
        var names: [Name] = []
        var end: End?
        var readerCount = 0
        /// It was told to stop, and ends soon.
        var isStopping = false
        /// How many names the readers have seen at most.
        var readCount = 0
        /// Who needs the listing whole, or so many pages of it.
        var wantedPageCount = 0
        var pageCount = 0
        /// Set when something new is there.
        var news = OneShot<Void>()
        /// What the fetching waits for.
        var pause: OneShot<Void>?
    }

    // A leaf lock; taken inside the tree's.
    private let state = Lock(State())
    /// When it began; monotonic nanoseconds.
    let startedAt: UInt64

    /// Pages of 1,000 that are fetched ahead of the readers.
    private static let aheadNameCount = 8_000

    init(startedAt: UInt64) {
        self.startedAt = startedAt
    }

    // MARK: Who wants it

    /// Wants at least so many pages, and with `isReader` follows it from now on. False when it has ended already, or is about to.
    func want(pageCount: Int, isReader: Bool) -> Bool {
        let (isOpen, pause) = state.withLock { state -> (Bool, OneShot<Void>?) in
            guard state.end == nil, !state.isStopping else { return (false, nil) }
            if isReader { state.readerCount += 1 }
            state.wantedPageCount = max(state.wantedPageCount, pageCount)
            return (true, state.resume())
        }
        pause?.set(())
        return isOpen
    }

    /// A reader of the directory leaves.
    func removeReader() {
        let pause = state.withLock { state in
            state.readerCount -= 1
            return state.resume()
        }
        pause?.set(())
    }

    enum Piece: Sendable {
        case names(ArraySlice<Name>)
        case wait(OneShot<Void>)
        case end(End)
    }

    /// The names from a position on.
    func names(from position: Int, count: Int) -> Piece {
        let (piece, pause) = state.withLock { state -> (Piece, OneShot<Void>?) in
            if position < state.names.count {
                let end = min(position + count, state.names.count)
                state.readCount = max(state.readCount, end)
                return (.names(state.names[position..<end]), state.resume())
            }
            if let end = state.end { return (.end(end), nil) }
            state.readCount = max(state.readCount, position)
            return (.wait(state.news), state.resume())
        }
        pause?.set(())
        return piece
    }

    /// Waits for the end, or until so many pages are there: behind them a listing waits for its readers, who may be
    /// waiting for this.
    func wait(pageCount: Int = .max) async -> End {
        while true {
            let (end, news, count) = state.withLock { ($0.end, $0.news, $0.pageCount) }
            if let end { return end }
            if count >= pageCount { return .stopped }
            await news.wait()
        }
    }

    // MARK: Who fetches

    func add(_ names: [Name]) {
        let news = state.withLock { state in
            state.names += names
            state.pageCount += 1
            return state.takeNews()
        }
        news.set(())
    }

    func finish(_ end: End) {
        let news = state.withLock { state in
            precondition(state.end == nil, "a listing ends once")
            state.end = end
            return state.takeNews()
        }
        news.set(())
    }

    enum Next: Sendable {
        case fetch
        case stop
        case wait(OneShot<Void>)
    }

    /// Whether another page is to be fetched.
    var next: Next {
        state.withLock { state in
            if state.pageCount < state.wantedPageCount { return .fetch }
            if state.readerCount == 0 {
                state.isStopping = true
                return .stop
            }
            if state.names.count - state.readCount < Self.aheadNameCount { return .fetch }
            let pause = state.pause ?? OneShot()
            state.pause = pause
            return .wait(pause)
        }
    }
}

extension ListingFlight.State {
    /// What is to be set, so that the fetching looks again.
    fileprivate mutating func resume() -> OneShot<Void>? {
        defer { pause = nil }
        return pause
    }

    fileprivate mutating func takeNews() -> OneShot<Void> {
        defer { news = OneShot() }
        return news
    }
}
