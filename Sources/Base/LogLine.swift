// How a log record reads as one line.

internal import Logging

/// The text form of a log record: `2026-01-01T00:00:00.123Z level component: message`, always one line.
public enum LogLine {
    /// RFC 3339 in UTC with milliseconds; correct for any year from 0000 on.
    public static func describe(_ time: Timestamp) -> String {
        let days = time.seconds.dividedFloor(by: 86_400)
        let second = Int(time.seconds - days * 86_400)
        // Days to civil date by the era arithmetic of Howard Hinnant's "chrono-compatible low-level date algorithms".
        let shifted = days + 719_468
        let era = shifted.dividedFloor(by: 146_097)
        let dayOfEra = shifted - era * 146_097
        let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let shiftedMonth = (5 * dayOfYear + 2) / 153
        let day = dayOfYear - (153 * shiftedMonth + 2) / 5 + 1
        let month = shiftedMonth < 10 ? shiftedMonth + 3 : shiftedMonth - 9
        let year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
        let date = "\(padded(year, 4))-\(padded(month, 2))-\(padded(day, 2))"
        let clock = "\(padded(second / 3600, 2)):\(padded(second / 60 % 60, 2)):\(padded(second % 60, 2))"
        return "\(date)T\(clock).\(padded(time.nanoseconds / 1_000_000, 3))Z"
    }

    /// `level component: message key=value…`, with control characters escaped so that it stays one line.
    static func body(
        level: Logger.Level, component: String, message: String, metadata: [(key: String, value: String)]
    ) -> String {
        var text = "\(level.rawValue) \(component): \(message)"
        for (key, value) in metadata { text += " \(key)=\(value)" }
        return escaped(text)
    }

    /// Control characters as `\n`, `\t` or `\u{…}`: no record can forge another, nor drive a terminal.
    public static func escaped(_ text: String) -> String {
        guard text.unicodeScalars.contains(where: isControl) else { return text }
        var result = ""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\n": result += "\\n"
            case "\r": result += "\\r"
            case "\t": result += "\\t"
            case _ where isControl(scalar): result += "\\u{\(String(scalar.value, radix: 16))}"
            default: result.unicodeScalars.append(scalar)
            }
        }
        return result
    }

    private static func isControl(_ scalar: Unicode.Scalar) -> Bool {
        scalar.value < 0x20 || (0x7f...0x9f).contains(scalar.value) || scalar.value == 0x2028 || scalar.value == 0x2029
    }

    private static func padded(_ number: some BinaryInteger, _ width: Int) -> String {
        let digits = String(number)
        return String(repeating: "0", count: max(0, width - digits.count)) + digits
    }
}

extension Int64 {
    fileprivate func dividedFloor(by divisor: Int64) -> Int64 {
        let quotient = self / divisor
        return self % divisor < 0 ? quotient - 1 : quotient
    }
}
