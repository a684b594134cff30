// When a write may take effect, as header fields say it
// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html>).

internal import Base
public import ObjectModel

public enum RequestCondition: Sendable, Equatable {
    case none
    /// - Parameter isQuoted: true is HTTP's form; some servers compare the text literally with the bare ETag.
    case ifMatch(ETag, isQuoted: Bool = true)
    case ifAbsent

    func apply(to headers: inout HeaderFields) {
        switch self {
        case .none: break
        case .ifMatch(let etag, let isQuoted): headers["If-Match"] = isQuoted ? etag.quoted : etag.value
        case .ifAbsent: headers["If-None-Match"] = "*"
        }
    }
}

/// A checksum that the server compares with the body before it keeps it.
public enum BodyChecksum: Sendable, Equatable {
    /// 16 bytes; every server knows it.
    case md5([UInt8])
    case crc32c(UInt32)
    case crc64NVME(UInt64)

    func apply(to headers: inout HeaderFields) {
        let (name, value) = field
        headers[name] = value
    }

    /// The header field that carries it, in a request and in the answer.
    public var field: (name: String, value: String) {
        switch self {
        case .md5(let bytes): ("Content-MD5", Base64.encode(bytes))
        case .crc32c(let value): ("x-amz-checksum-crc32c", Base64.encode(bigEndianBytes(value)))
        case .crc64NVME(let value): ("x-amz-checksum-crc64nvme", Base64.encode(bigEndianBytes(value)))
        }
    }
}

private func bigEndianBytes(_ value: some FixedWidthInteger) -> [UInt8] {
    stride(from: value.bitWidth - 8, through: 0, by: -8).map { UInt8(truncatingIfNeeded: value >> $0) }
}
