// The text of one option, and the ways to read it.

internal import Base
internal import Logging

/// An option's text with its origin, for the messages.
struct OptionValue {
    let text: String
    /// How the user wrote the option: `--ttl`, `-o ttl`, `$AWS_REGION`.
    let origin: String

    /// Checks that there is a value exactly when the option takes one.
    init(_ value: String?, of option: MountOptionName, origin: String) throws(UsageError) {
        if option.isFlag, value != nil { throw UsageError("\(origin) takes no value") }
        if !option.isFlag, value == nil { throw UsageError("\(origin) needs a value: \(origin)=…") }
        text = value ?? ""
        self.origin = origin
    }

    init(_ text: String, origin: String) {
        self.text = text
        self.origin = origin
    }

    func nonempty() throws(UsageError) -> String {
        guard !text.isEmpty, !text.utf8.contains(0) else { throw UsageError("\(origin) needs a value") }
        return text
    }

    /// Printable ASCII without spaces: what may stand in a header or a host name.
    func word() throws(UsageError) -> String {
        guard !text.isEmpty, text.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7f }) else {
            throw UsageError("\(origin) cannot be '\(LogLine.escaped(text))'")
        }
        return text
    }

    func choice<Choice: RawRepresentable & CaseIterable>() throws(UsageError) -> Choice
    where Choice.RawValue == String {
        guard let choice = Choice(rawValue: text) else {
            throw UsageError("\(origin) must be \(Self.alternatives(Choice.allCases.map(\.rawValue))), not '\(text)'")
        }
        return choice
    }

    func integer(_ bounds: ClosedRange<Int>) throws(UsageError) -> Int {
        guard let number = Int(text), bounds.contains(number), text.utf8.first != UInt8(ascii: "+") else {
            throw UsageError(
                "\(origin) must be a number from \(bounds.lowerBound) to \(bounds.upperBound), not '\(text)'")
        }
        return number
    }

    /// BYTES: digits with an optional `K`, `M`, `G` or `T`, binary.
    func byteCount(_ bounds: ClosedRange<Int>) throws(UsageError) -> Int {
        guard let bytes = ByteCount.parse(text) else {
            throw UsageError("\(origin) must be a size such as 512M, 10G or 1T, not '\(text)'")
        }
        guard bytes >= bounds.lowerBound else {
            throw UsageError("\(origin) must be at least \(ByteCount.describe(bounds.lowerBound)), not '\(text)'")
        }
        guard bytes <= bounds.upperBound else {
            throw UsageError("\(origin) must be at most \(ByteCount.describe(bounds.upperBound)), not '\(text)'")
        }
        return bytes
    }

    /// BYTES of a disk cache: 0 for none, else enough to be of use.
    func cacheSize() throws(UsageError) -> Int {
        guard let bytes = ByteCount.parse(text), bytes == 0 || bytes >= 64 << 20 else {
            throw UsageError("\(origin) must be 0 (no disk cache) or a size of 64M or more, not '\(text)'")
        }
        return bytes
    }

    /// Seconds, also with decimals, as whole milliseconds; up to a year.
    func milliseconds() throws(UsageError) -> Int {
        guard let seconds = Double(text), text.utf8.allSatisfy({ (0x30...0x39).contains($0) || $0 == 0x2e }),
            seconds <= 366 * 86_400
        else { throw UsageError("\(origin) must be a number of seconds, such as 60 or 0.5, not '\(text)'") }
        return Int((seconds * 1000).rounded())
    }

    /// Permission bits.
    func octal() throws(UsageError) -> UInt16 {
        let digits = text.hasPrefix("0o") ? text.dropFirst(2) : Substring(text)
        guard let mode = UInt16(digits, radix: 8), mode <= 0o777, digits.utf8.first != UInt8(ascii: "+") else {
            throw UsageError("\(origin) must be an octal number up to 0777, such as 0644, not '\(text)'")
        }
        return mode
    }

    func account(_ lookUp: (String) -> UInt32?, kind: String) throws(UsageError) -> UInt32 {
        // All ones means "leave as it is" to chown(2), so it is nobody's number.
        if let number = UInt32(text), number != .max, text.utf8.first != UInt8(ascii: "+") { return number }
        guard !text.isEmpty, let number = lookUp(text) else {
            throw UsageError("\(origin): there is no \(kind) '\(LogLine.escaped(text))' on this machine")
        }
        return number
    }

    func level() throws(UsageError) -> Logger.Level {
        guard let level = Logger.Level(rawValue: text.lowercased()) else {
            throw UsageError(
                "\(origin) must be \(Self.alternatives(Logger.Level.allCases.map(\.rawValue))), not '\(text)'")
        }
        return level
    }

    /// The values of `x-amz-server-side-encryption`.
    func encryption() throws(UsageError) -> String {
        let known = ["AES256", "aws:kms", "aws:kms:dsse"]
        guard let match = known.first(where: { $0.lowercased() == text.lowercased() }) else {
            throw UsageError("\(origin) must be \(Self.alternatives(known)), not '\(text)'")
        }
        return match
    }

    private static func alternatives(_ names: [String]) -> String {
        names.dropLast().joined(separator: ", ") + " or " + (names.last ?? "")
    }
}
