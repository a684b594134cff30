// Calendar arithmetic: seconds since 1970 to a UTC date and back, with no library and no time zone.

internal import Base

/// A UTC date and time of the proleptic Gregorian calendar.
struct CivilTime: Equatable {
    var year: Int
    /// 1...12.
    var month: Int
    /// 1...31.
    var day: Int
    var hour: Int
    var minute: Int
    /// 0...60: a leap second counts as the next second.
    var second: Int

    init(year: Int, month: Int, day: Int, hour: Int, minute: Int, second: Int) {
        (self.year, self.month, self.day) = (year, month, day)
        (self.hour, self.minute, self.second) = (hour, minute, second)
    }

    init(_ timestamp: Timestamp) {
        let (dayNumber, second) = Int(timestamp.seconds).quotientAndRemainder(flooringBy: 86_400)
        (hour, minute, self.second) = (second / 3600, second / 60 % 60, second % 60)
        // Days are counted from 0000-03-01, so that the leap day is the last one of its year.
        let (era, dayOfEra) = (dayNumber + 719_468).quotientAndRemainder(flooringBy: 146_097)
        let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let monthFromMarch = (5 * dayOfYear + 2) / 153
        day = dayOfYear - (153 * monthFromMarch + 2) / 5 + 1
        month = monthFromMarch < 10 ? monthFromMarch + 3 : monthFromMarch - 9
        year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
    }

    /// Nil when a field is out of its range (years 1 to 9999).
    var timestamp: Timestamp? {
        guard (1...9999).contains(year), (1...12).contains(month), (1...Self.dayCount(year, month)).contains(day),
            (0...23).contains(hour), (0...59).contains(minute), (0...60).contains(second)
        else { return nil }
        return Timestamp(seconds: Int64(dayNumber * 86_400 + hour * 3600 + minute * 60 + second))
    }

    /// 0 is Monday.
    var weekday: Int { (dayNumber + 3).quotientAndRemainder(flooringBy: 7).remainder }

    private var dayNumber: Int {
        let shifted = month <= 2 ? year - 1 : year
        let (era, yearOfEra) = shifted.quotientAndRemainder(flooringBy: 400)
        let dayOfYear = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1
        let dayOfEra = yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear
        return era * 146_097 + dayOfEra - 719_468
    }

    private static func dayCount(_ year: Int, _ month: Int) -> Int {
        switch month {
        case 2: year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) ? 29 : 28
        case 4, 6, 9, 11: 30
        default: 31
        }
    }
}

extension Int {
    /// Division that rounds down, so that the remainder is never negative.
    fileprivate func quotientAndRemainder(flooringBy divisor: Int) -> (quotient: Int, remainder: Int) {
        let (quotient, remainder) = quotientAndRemainder(dividingBy: divisor)
        return remainder < 0 ? (quotient - 1, remainder + divisor) : (quotient, remainder)
    }
}

/// `value` in decimal with leading zeros.
func padded(_ value: Int, _ width: Int) -> String {
    let digits = String(value)
    return String(repeating: "0", count: max(0, width - digits.utf8.count)) + digits
}
