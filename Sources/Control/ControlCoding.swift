// JSON lines. FoundationEssentials is all that is needed of Foundation: the whole of it would bring ICU's tables into the
// statically linked binary.

internal import Base
internal import FoundationEssentials

enum ControlCoding {
    /// The longest request accepted: a path and little else.
    static let requestBytesMax = 64 << 10
    /// The longest reply a client reads: a status with all its uploads.
    static let replyBytesMax = 16 << 20

    /// The value as one line, newline included.
    static func line(_ value: some Encodable) -> [UInt8] {
        Array("\(text(value, pretty: false))\n".utf8)
    }

    static func text(_ value: some Encodable, pretty: Bool) -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        if pretty { encoder.outputFormatting.insert(.prettyPrinted) }
        // A number that JSON cannot write (an infinite rate) is a bug of ours, but none worth a crash of the mount.
        encoder.nonConformingFloatEncodingStrategy = .convertToString(
            positiveInfinity: "inf", negativeInfinity: "-inf", nan: "nan")
        guard let data = try? encoder.encode(value) else {
            preconditionFailure("a control message has no JSON form")
        }
        return String(decoding: data, as: UTF8.self)
    }

    static func request(_ line: [UInt8]) throws(ControlError) -> ControlRequest {
        try decode(line, as: ControlRequest.self)
    }

    static func reply(_ line: [UInt8]) throws(ControlError) -> ControlReply {
        try decode(line, as: ControlReply.self)
    }

    /// Nil for what is no record.
    static func record(_ bytes: [UInt8]) -> MountRecord? {
        do throws(ControlError) {
            return try decode(bytes, as: MountRecord.self)
        } catch {
            return nil
        }
    }

    private static func decode<Value: Decodable>(_ line: [UInt8], as type: Value.Type) throws(ControlError) -> Value {
        do {
            return try JSONDecoder().decode(type, from: Data(line))
        } catch let error as ControlError {
            throw error
        } catch let error as DecodingError {
            throw ControlError(.malformed, "not a control message: \(reason(error))")
        } catch {
            throw ControlError(.malformed, "not a control message")
        }
    }

    private static func reason(_ error: DecodingError) -> String {
        switch error {
        case .keyNotFound(let key, _): "\(key.stringValue) is missing"
        case .typeMismatch(_, let context), .valueNotFound(_, let context):
            "\(context.codingPath.map(\.stringValue).joined(separator: ".")) has the wrong type"
        case .dataCorrupted(let context):
            context.codingPath.isEmpty
                ? "malformed JSON" : "\(context.codingPath.map(\.stringValue).joined(separator: ".")) is not known"
        @unknown default: "malformed JSON"
        }
    }
}

extension MountStatus {
    /// A time as the status has it: `2026-07-30T12:34:56Z`.
    public static func timeText(secondsSince1970: Int64) -> String {
        Date(timeIntervalSince1970: Double(secondsSince1970)).formatted(.iso8601)
    }
}
