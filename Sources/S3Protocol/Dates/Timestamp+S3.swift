// The three spellings of a date in S3's protocol.

public import Base

extension Timestamp {
    /// `20130524T000000Z`: the form of `x-amz-date`.
    public var amzDate: String {
        let time = CivilTime(self)
        return padded(time.year, 4) + padded(time.month, 2) + padded(time.day, 2) + "T" + padded(time.hour, 2)
            + padded(time.minute, 2) + padded(time.second, 2) + "Z"
    }

    /// `Fri, 24 May 2013 00:00:00 GMT` (RFC 9110, 5.6.7).
    public var httpDate: String {
        let time = CivilTime(self)
        return "\(Self.weekdays[time.weekday]), \(padded(time.day, 2)) \(Self.months[time.month - 1]) "
            + "\(padded(time.year, 4)) \(padded(time.hour, 2)):\(padded(time.minute, 2)):\(padded(time.second, 2)) GMT"
    }

    /// Parses the RFC 1123 form of an HTTP date, in UTC. The weekday is not checked.
    public init?(httpDate text: String) {
        var fields = text.split(separator: " ", omittingEmptySubsequences: true)[...]
        if fields.first?.hasSuffix(",") == true { fields = fields.dropFirst() }
        guard fields.count == 5, let zone = fields.last, ["GMT", "UTC", "Z", "+0000"].contains(zone) else { return nil }
        let parts = Array(fields)
        guard let day = Self.number(parts[0], 1...2), let month = Self.month(parts[1]),
            let year = Self.number(parts[2], 4...4), let clock = Self.clock(parts[3])
        else { return nil }
        let time = CivilTime(
            year: year, month: month, day: day, hour: clock.hour, minute: clock.minute, second: clock.second)
        guard let value = time.timestamp else { return nil }
        self = value
    }

    /// Parses the ISO 8601 form of S3's XML: `2013-05-24T00:00:00.000Z`, with any fraction, and an offset for the `Z`.
    public init?(iso8601 text: String) {
        let halves = text.split(separator: "T", omittingEmptySubsequences: false)
        guard halves.count == 2 else { return nil }
        let date = halves[0].split(separator: "-", omittingEmptySubsequences: false)
        guard date.count == 3, let year = Self.number(date[0], 4...4), let month = Self.number(date[1], 2...2),
            let day = Self.number(date[2], 2...2)
        else { return nil }
        var clockText = halves[1]
        guard let offsetSeconds = Self.takeZone(&clockText) else { return nil }
        let pieces = clockText.split(separator: ".", omittingEmptySubsequences: false)
        guard pieces.count <= 2, let clock = Self.clock(pieces[0]) else { return nil }
        var nanoseconds = 0
        if pieces.count == 2 {
            guard let fraction = Self.number(pieces[1].prefix(9), 1...9), pieces[1].utf8.allSatisfy(Self.isDigit)
            else { return nil }
            nanoseconds = (pieces[1].utf8.count..<9).reduce(fraction) { value, _ in value * 10 }
        }
        let time = CivilTime(
            year: year, month: month, day: day, hour: clock.hour, minute: clock.minute, second: clock.second)
        guard let value = time.timestamp else { return nil }
        self.init(seconds: value.seconds - Int64(offsetSeconds), nanoseconds: Int32(nanoseconds))
    }

    /// Removes `Z` or `+hh:mm` from the end; its offset in seconds.
    private static func takeZone(_ text: inout Substring) -> Int? {
        if text.utf8.last == UInt8(ascii: "Z") {
            text.removeLast()
            return 0
        }
        guard let sign = text.lastIndex(where: { $0 == "+" || $0 == "-" }) else { return nil }
        let digits = text[text.index(after: sign)...].filter { $0 != ":" }
        guard digits.utf8.count == 4, let value = number(digits[...], 4...4) else { return nil }
        let seconds = (value / 100 * 60 + value % 100) * 60
        let isNegative = text[sign] == "-"
        text = text[..<sign]
        return isNegative ? -seconds : seconds
    }

    private static func clock(_ text: Substring) -> (hour: Int, minute: Int, second: Int)? {
        let fields = text.split(separator: ":", omittingEmptySubsequences: false)
        guard fields.count == 3, let hour = number(fields[0], 2...2), let minute = number(fields[1], 2...2),
            let second = number(fields[2], 2...2)
        else { return nil }
        return (hour, minute, second)
    }

    private static func number(_ text: Substring, _ widths: ClosedRange<Int>) -> Int? {
        guard widths.contains(text.utf8.count), text.utf8.allSatisfy(isDigit) else { return nil }
        return Int(text)
    }

    private static func isDigit(_ byte: UInt8) -> Bool { (0x30...0x39).contains(byte) }

    private static func month(_ text: Substring) -> Int? {
        months.firstIndex { $0.utf8.elementsEqual(text.utf8) }.map { $0 + 1 }
    }

    private static let weekdays = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]
    private static let months = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ]
}
