// Everything that tells one bucket's store from another's.

internal import Base
public import HTTPTransport
public import S3Protocol

public struct S3StoreConfiguration: Sendable {
    /// Which checksum the server compares with each body before it keeps it.
    public enum Integrity: Sendable, Equatable {
        /// Every server knows it.
        case contentMD5
        /// Cheaper to compute; for AWS, and servers that know S3's newer checksums.
        case crc64NVME
    }

    public var bucket: String
    public var endpoint: Endpoint
    /// Nil takes the endpoint's, else asks the server: signatures begin with `us-east-1` and follow what it says.
    public var region: String?
    public var addressing: AddressingStyle
    /// Header fields of all requests.
    public var options: RequestOptions
    public var integrity: Integrity
    /// Believe in the server's conditions from the start, without looking by HEAD before each conditional write: for AWS,
    /// and for an examination that wants to see what the server itself does.
    public var trustsConditions: Bool
    public var retry: RetryPolicy
    /// Of requests that end when their bytes have moved; nil takes the transport's.
    public var timeouts: HTTPTimeouts?
    /// Of CopyObject, UploadPartCopy and CompleteMultipartUpload, which may be silent for minutes.
    public var slowTimeouts: HTTPTimeouts
    /// Of the request that finds out whether a server that did not answer is back.
    public var probeTimeouts: HTTPTimeouts
    /// The largest object that is copied by one request, in bytes.
    public var singleCopyBytesMax: Int
    /// The parts of larger copies, in bytes, and how many are copied at once.
    public var copyPartBytes: Int
    public var copyPartsInFlightMax: Int

    public init(bucket: String, endpoint: Endpoint, region: String? = nil, addressing: AddressingStyle = .auto) {
        self.bucket = bucket
        self.endpoint = endpoint
        self.region = region
        self.addressing = addressing
        options = RequestOptions()
        integrity = .contentMD5
        trustsConditions = endpoint.isAWS
        retry = RetryPolicy()
        timeouts = nil
        slowTimeouts = HTTPTimeouts(stallMilliseconds: 300_000)
        probeTimeouts = HTTPTimeouts(
            connectMilliseconds: 4000, stallMilliseconds: 4000, totalMilliseconds: 4000)
        singleCopyBytesMax = 5 << 30
        copyPartBytes = 256 << 20
        copyPartsInFlightMax = 8
    }
}
