// Spans of time as people read them.

/// Printing of durations.
public enum Interval {
    /// `0:05`, `12:34`, `1:02:03`, `3 days`: for clocks and estimates. Negative is 0.
    public static func clock(seconds: Double) -> String {
        guard seconds.isFinite, seconds < 1e9 else { return "-:--" }
        let total = Int(max(0, seconds).rounded())
        if total >= 2 * 86_400 { return "\(total / 86_400) days" }
        let minutes = total / 60 % 60
        let tail = (total % 60 < 10 ? "0" : "") + "\(total % 60)"
        if total < 3600 { return "\(minutes):\(tail)" }
        return "\(total / 3600):" + (minutes < 10 ? "0" : "") + "\(minutes):\(tail)"
    }

    /// `850 µs`, `12 ms`, `1.3 s`: for latencies.
    public static func latency(seconds: Double) -> String {
        if seconds < 0.001 { return "\(Int((seconds * 1e6).rounded())) µs" }
        if seconds < 1 { return "\(Int((seconds * 1e3).rounded())) ms" }
        let tenths = Int((seconds * 10).rounded())
        return "\(tenths / 10).\(tenths % 10) s"
    }
}
