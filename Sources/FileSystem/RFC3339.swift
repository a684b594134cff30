// Times as other tools write them in text.

internal import Base

/// `2023-11-14T22:13:20.5+01:00`: RFC 3339, section 5.6. Without leap seconds, which Unix time has none of.
enum RFC3339 {
    static func time(_ text: String) -> Timestamp? {
        let bytes = Array(text.utf8)
        func number(_ range: Range<Int>) -> Int64? {
            guard range.upperBound <= bytes.count, bytes[range].allSatisfy({ (0x30...0x39).contains($0) }) else {
                return nil
            }
            return bytes[range].reduce(0) { $0 * 10 + Int64($1 - 0x30) }
        }
        func isAt(_ index: Int, _ characters: String) -> Bool {
            index < bytes.count && characters.utf8.contains(bytes[index])
        }
        guard let year = number(0..<4), isAt(4, "-"), let month = number(5..<7), isAt(7, "-"), let day = number(8..<10),
            isAt(10, "Tt "), let hour = number(11..<13), isAt(13, ":"), let minute = number(14..<16), isAt(16, ":"),
            let second = number(17..<19), (1...12).contains(month), (1...31).contains(day), hour < 24, minute < 60,
            second < 60
        else { return nil }
        var end = 19
        var nanoseconds: Int32 = 0
        if isAt(end, ".") {
            let start = end + 1
            end = bytes[start...].firstIndex { !(0x30...0x39).contains($0) } ?? bytes.count
            guard end > start else { return nil }
            nanoseconds = AttributeCodec.nanoseconds(Substring(decoding: bytes[start..<end], as: UTF8.self)) ?? 0
        }
        var offset: Int64 = 0
        if isAt(end, "+-"), isAt(end + 3, ":"), let hours = number(end + 1..<end + 3),
            let minutes = number(end + 4..<end + 6), end + 6 == bytes.count
        {
            offset = (bytes[end] == UInt8(ascii: "-") ? -1 : 1) * (hours * 3600 + minutes * 60)
        } else if !(isAt(end, "Zz") && end + 1 == bytes.count) {
            return nil
        }
        let seconds = days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second - offset
        return Timestamp(seconds: seconds, nanoseconds: nanoseconds)
    }

    /// Days since 1970 in the Gregorian calendar. Years are counted from March on, so that the leap day is their last.
    private static func days(_ year: Int64, _ month: Int64, _ day: Int64) -> Int64 {
        let (years, months) = month > 2 ? (year, month - 3) : (year - 1, month + 9)
        let leapDays = years / 4 - years / 100 + years / 400
        // 719,468 days lie between the first of March of the year 0 and 1970.
        return years * 365 + leapDays + (months * 153 + 2) / 5 + day - 1 - 719_468
    }
}
