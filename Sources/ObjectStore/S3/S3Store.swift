// S3 as an object store: the front, and what it knows of its server.

public import Base
public import HTTPTransport
public import Logging
internal import ObjectModel
public import S3Protocol

/// A bucket on a server that speaks S3. Thread-safe.
///
/// Every call signs anew for each attempt, retries as `RetryPolicy` says, follows the bucket's region and the server's
/// clock, and asks the credential source again when the server calls its keys expired.
public final class S3Store: ObjectStore {
    struct State {
        var endpoint: Endpoint
        var region: String
        /// The server's clock minus ours, in seconds.
        var clockSkewSeconds: Int64 = 0
        var conditions: [ConditionKind: ConditionState]
        var hasPartCopy = true
        /// Whether CopyObject is there for what this store writes.
        var hasSingleCopy = true
        var hasBatchDelete = true
        /// RGW 16 does so with the source of UploadPartCopy, though not with that of CopyObject. Nil until it matters.
        var decodesPartSourceTwice: Bool?
        /// Whether an ETag was seen to be the MD5 of a body: then every plain one must be.
        var hasMD5ETags = false
        var multipartETags = MultipartETags()
        var payloadComparison = PayloadComparison.unknown
        var counters = S3RequestCounters()
    }

    /// Whether the server compares a body with the SHA-256 that was signed with it.
    enum PayloadComparison {
        case unknown
        /// A large part was sent; the next one asks.
        case wanted
        /// A request of ours is finding out; → any other.
        case asked
        case done
        case notDone
    }

    public let configuration: S3StoreConfiguration
    let builder: RequestBuilder
    let transport: any HTTPSending
    let credentialSource: any CredentialSource
    let time: any TimeSource
    let dice: @Sendable () -> Double
    let signer = RequestSigner()
    /// Called on the task of the request, after it ended; must be quick.
    let onRequest: (@Sendable (S3RequestRecord) -> Void)?
    let log: Logger
    // Each taken alone and briefly.
    let state: Lock<State>
    let health = Lock(HealthState())
    let stragglers = Lock(StragglerPolicy())
    let underWay = Lock(RequestsUnderWay())

    /// - Parameters:
    ///   - transport: may be shared between stores; outlives this one.
    ///   - dice: 0 ..< 1, for the jitter of retries.
    ///   - log: gets a line when the server stops answering, and one when it answers again.
    ///   - onRequest: called once for each request on the wire, on any thread.
    public init(
        configuration: S3StoreConfiguration, transport: any HTTPSending, credentials: any CredentialSource,
        time: any TimeSource = SystemTime(), dice: @escaping @Sendable () -> Double = { Double.random(in: 0..<1) },
        log: Logger = Logger(label: "s3"), onRequest: (@Sendable (S3RequestRecord) -> Void)? = nil
    ) {
        self.configuration = configuration
        builder = RequestBuilder(bucket: configuration.bucket, options: configuration.options)
        self.transport = transport
        credentialSource = credentials
        self.time = time
        self.dice = dice
        self.log = log
        self.onRequest = onRequest
        let endpoint = configuration.endpoint
        // AWS documents all of them; of other servers nothing is believed before it was seen.
        let support = ConditionState(support: configuration.trustsConditions ? .works : .unknown)
        state = Lock(
            State(
                endpoint: endpoint, region: configuration.region ?? endpoint.region ?? "us-east-1",
                conditions: Dictionary(uniqueKeysWithValues: ConditionKind.allCases.map { ($0, support) })))
    }

    public var capabilities: StoreCapabilities {
        var capabilities = StoreCapabilities()
        capabilities.singlePutBytesMax = configuration.singleCopyBytesMax
        return state.withLock { state in
            func has(_ kind: ConditionKind) -> Bool { state.conditions[kind]!.support != .broken }
            capabilities.conditionalPut = has(.putIfMatch) && has(.putIfAbsent)
            capabilities.conditionalComplete = has(.completeIfMatch) && has(.completeIfAbsent)
            capabilities.conditionalCopySource = has(.copySourceIfMatch) && has(.partSourceIfMatch)
            capabilities.partCopy = state.hasPartCopy
            return capabilities
        }
    }

    /// The requests so far.
    public var counters: S3RequestCounters { state.withLock { $0.counters } }
    /// The requests on the wire, the oldest first.
    public var requestsUnderWay: [S3RequestUnderWay] { underWay.withLock { $0.oldestFirst } }
    /// The region that requests are signed for: the configured one, until the server names another.
    public var region: String { state.withLock { $0.region } }
    /// Where requests go: the configured endpoint, moved to the bucket's region where AWS says so.
    public var endpoint: Endpoint { state.withLock { $0.endpoint } }

    /// Whether bodies are part of the signature: nothing else protects them without TLS.
    var isPayloadSigned: Bool { configuration.endpoint.scheme == .http }
}
