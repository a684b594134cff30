// Progress on standard error: a bar that stays in place on a terminal, a plain line now and then elsewhere.

internal import Base
internal import CLinux
internal import Commands
internal import Glibc

/// Shows how something goes on. Used by one thread at a time.
final class ProgressLine {
    /// Often enough to look alive; seldom enough for a log.
    private static let terminalIntervalNanoseconds: UInt64 = 100_000_000
    private static let plainIntervalNanoseconds: UInt64 = 5_000_000_000

    private let label: String
    private let time = SystemTime()
    private let startNanoseconds: UInt64
    private var shownAtNanoseconds: UInt64?
    private var isOnScreen = false

    /// - Parameter label: what goes on: `uploading`.
    init(_ label: String) {
        self.label = label
        startNanoseconds = time.monotonicNanoseconds
    }

    deinit {
        clear()
    }

    /// Shows the progress, unless the last was shown a moment ago. Off a terminal nothing is said of what is soon done.
    func show(_ progress: Progress) {
        let columns = Int(pail_terminal_columns(2))
        let now = time.monotonicNanoseconds
        if columns > 0 {
            if let shownAtNanoseconds, now - shownAtNanoseconds < Self.terminalIntervalNanoseconds { return }
            let bar = ProgressBar.render(progress, columns: columns - label.count - 1)
            put("\r\(label) \(bar)\u{1b}[K")
            isOnScreen = true
        } else {
            guard now - (shownAtNanoseconds ?? startNanoseconds) >= Self.plainIntervalNanoseconds else { return }
            say("\(label): \(progress.text)")
        }
        shownAtNanoseconds = now
    }

    /// Shows a sentence in the same place; terminals only.
    func show(_ text: String) {
        let columns = Int(pail_terminal_columns(2))
        guard columns > 0 else { return }
        put("\r\(text.prefix(columns - 1))\u{1b}[K")
        isOnScreen = true
    }

    /// Frees the line for others.
    func clear() {
        guard isOnScreen else { return }
        put("\r\u{1b}[K")
        isOnScreen = false
    }

    private func put(_ text: String) {
        let bytes = Array(text.utf8)
        _ = write(2, bytes, bytes.count)
    }
}
