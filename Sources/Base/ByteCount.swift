// Sizes as people write and read them.

/// Parsing and printing of byte counts; suffixes are binary (`K` = 1024).
public enum ByteCount {
    /// Parses `123`, `64K`, `64KiB`, `10G`, `1T`; nil when malformed, negative or beyond `Int`.
    public static func parse(_ text: String) -> Int? {
        let lower = text.lowercased()
        let digits = lower.prefix { $0.isASCII && $0.isNumber }
        guard let value = Int(digits), !digits.isEmpty else { return nil }
        let shift: Int
        switch lower.dropFirst(digits.count) {
        case "", "b": shift = 0
        case "k", "kb", "kib": shift = 10
        case "m", "mb", "mib": shift = 20
        case "g", "gb", "gib": shift = 30
        case "t", "tb", "tib": shift = 40
        default: return nil
        }
        let (result, overflow) = value.multipliedReportingOverflow(by: 1 << shift)
        return overflow ? nil : result
    }

    /// `1.5 GiB`, `512 B`: one decimal, binary units.
    public static func describe(_ bytes: Int) -> String {
        let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"]
        var value = Double(bytes)
        var unit = 0
        // From 1023.95 on one decimal would print 1024.0 of the smaller unit; bytes have no decimal.
        while value >= (unit == 0 ? 1024 : 1023.95), unit < units.count - 1 {
            value /= 1024
            unit += 1
        }
        if unit == 0 { return "\(bytes) B" }
        let tenths = Int((value * 10).rounded())
        return "\(tenths / 10).\(tenths % 10) \(units[unit])"
    }
}
