// A progress bar, as text.

internal import Base

/// How far something has come.
public struct Progress: Sendable, Equatable {
    /// Since the start of the watch.
    public var bytesDone: Int
    public var bytesTotal: Int
    public var filesLeft: Int
    /// Bytes a second of late; nil while not known.
    public var rate: Double?

    public init(bytesDone: Int, bytesTotal: Int, filesLeft: Int, rate: Double?) {
        self.bytesDone = bytesDone
        self.bytesTotal = bytesTotal
        self.filesLeft = filesLeft
        self.rate = rate
    }

    /// 0...1.
    var fraction: Double {
        bytesTotal <= 0 ? (filesLeft == 0 ? 1 : 0) : min(1, max(0, Double(bytesDone) / Double(bytesTotal)))
    }

    /// Nil while the rate is not known.
    var secondsLeft: Double? {
        guard let rate, rate > 0 else { return nil }
        return Double(max(0, bytesTotal - bytesDone)) / rate
    }

    /// `45%  450.0 MiB of 1.0 GiB, 3 files left, 12.0 MiB/s, ETA 0:45`.
    public var text: String {
        // Rounded down: 100 % means done.
        var text = "\(Int(fraction * 100))%  \(ByteCount.describe(bytesDone)) of \(ByteCount.describe(bytesTotal))"
        text += ", \(Message.count(filesLeft, "file")) left"
        if let rate { text += ", \(ByteCount.describe(Int(max(0, min(rate, 1e15)))))/s" }
        if let secondsLeft { text += ", ETA \(Interval.clock(seconds: secondsLeft))" }
        return text
    }
}

/// Renders progress on a terminal line.
public enum ProgressBar {
    /// The bar and the figures in at most `columns` columns; the figures alone, cut, when it is narrow.
    public static func render(_ progress: Progress, columns: Int) -> String {
        let text = progress.text
        let room = min(40, columns - text.count - 4)
        guard room >= 8 else { return String(text.prefix(max(0, columns - 1))) }
        let filled = Int(progress.fraction * Double(room))
        return "[" + String(repeating: "#", count: filled) + String(repeating: ".", count: room - filled) + "] " + text
    }
}
