// What a signature says about the body.

internal import Base

/// The value of `x-amz-content-sha256`
/// (<https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html>).
public enum PayloadHash: Sendable, Equatable {
    /// SHA-256 of the body in lower-case hexadecimal digits: the body is signed.
    case sha256(String)
    /// The body is not part of the signature; meant for TLS.
    case unsigned
    /// As `unsigned`, in chunks with a checksum after the body.
    case streamingUnsignedTrailer

    /// The hash of no bytes.
    public static let empty = PayloadHash.sha256("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")

    public static func of(_ bytes: [UInt8]) -> PayloadHash {
        bytes.isEmpty ? .empty : .sha256(Hex.encode(Digest.of(bytes, .sha256)))
    }

    public var headerValue: String {
        switch self {
        case .sha256(let hex): hex
        case .unsigned: "UNSIGNED-PAYLOAD"
        case .streamingUnsignedTrailer: "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
        }
    }
}
