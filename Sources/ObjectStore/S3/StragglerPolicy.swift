// When a read that takes long is raced by a second request, and when it is given up for another. Pure: times come in.

internal import S3Protocol

/// What is usual for reads of one store, and how many extra requests they may cost.
///
/// - A read without its first byte at the 99th percentile of its kind is *hedged*: a second request races it. A
///   hedge costs what `readsPerHedge` reads earn, so a server that becomes slow as a whole gets 5 % more requests,
///   not twice as many.
/// - A read on which no byte moves for several times what is usual is *replaced*: given up, and asked again for the rest.
///   The patience doubles with each such attempt in a row up to the configured one, so a slow link is
///   waited for at last; and pauses that were given up count as pauses, so a link where they are usual gets more at once.
struct StragglerPolicy {
    /// What a read may take before something is done about it.
    struct Patience: Equatable {
        /// Until a second request; nil sends none.
        var hedgeNanoseconds: UInt64?
        /// Without a byte moved.
        var stallMilliseconds: Int
    }

    static let readsPerHedge = 20
    /// The price doubles with each hedge of a kind in a row that did not come first, so often at most: then it is not one
    /// connection that is late but the server as a whole, or this machine. By kinds: a HEAD that waited in a queue says nothing
    /// of listings, which a server composes at its own pace.
    static let doublingsMax: UInt8 = 4
    /// A burst of trouble may use so many at once.
    static let hedgesSavedMax = 10
    /// Below this nobody notices, and a busy machine is to blame more often than a server.
    static let hedgeFloorNanoseconds: UInt64 = 50_000_000
    static let hedgeSamplesMin: UInt32 = 40
    static let stallFloorMilliseconds = 2000
    static let stallSamplesMin: UInt32 = 16
    /// While nothing is known: of most reads, and of listings, which some servers compose for seconds.
    static let unknownStallMilliseconds = 5000
    static let unknownListStallMilliseconds = 10_000

    private struct Usual {
        var firstByte = LatencyEstimate()
        /// The longest time without a byte moved in each request.
        var pause = LatencyEstimate()
        /// Of the price of a hedge.
        var doublings: UInt8 = 0
    }

    private var usual: [S3Operation: Usual] = [:]
    /// Reads since, not paid out for hedges.
    private var savedReads = 0

    private func price(_ operation: S3Operation) -> Int { Self.readsPerHedge << (usual[operation]?.doublings ?? 0) }
    /// What may be saved up: also for the kind that is dearest now.
    private var savedReadsMax: Int {
        max(Self.hedgesSavedMax, 1 << (usual.values.map(\.doublings).max() ?? 0)) * Self.readsPerHedge
    }

    /// Whether a request of this kind can be sent twice and be given up at any time.
    static func isRead(_ operation: S3Operation) -> Bool {
        switch operation {
        case .getObject, .headObject, .listObjectsV2: true
        case .putObject, .deleteObject, .deleteObjects, .copyObject, .headBucket, .getBucketLocation,
            .createMultipartUpload, .uploadPart, .uploadPartCopy, .completeMultipartUpload, .abortMultipartUpload,
            .listParts, .listMultipartUploads, .getObjectTagging, .putObjectTagging:
            false
        }
    }

    /// A read is about to be sent.
    /// - Parameters:
    ///   - attempt: in a row without progress, this one included; at least 1.
    ///   - stallMillisecondsMax: the configured limit, 0 for none.
    mutating func begin(_ operation: S3Operation, attempt: Int, stallMillisecondsMax: Int) -> Patience {
        savedReads = min(savedReadsMax, savedReads + 1)
        let usual = usual[operation]
        let late = usual?.firstByte.quantileNanoseconds(0.99, samplesMin: Self.hedgeSamplesMin)
        let unknown =
            operation == .listObjectsV2 ? Self.unknownListStallMilliseconds : Self.unknownStallMilliseconds
        // Nine of ten: one bad connection in twenty must not make us patient with it.
        let pause = usual?.pause.quantileNanoseconds(0.9, samplesMin: Self.stallSamplesMin)
        let stall = pause.map { max(Self.stallFloorMilliseconds, Int($0 / 1_000_000) * 4) } ?? unknown
        let patient = stall << min(max(0, attempt - 1), 10)
        return Patience(
            hedgeNanoseconds: savedReads < price(operation) ? nil : late.map { max($0, Self.hedgeFloorNanoseconds) },
            stallMilliseconds: stallMillisecondsMax == 0 ? patient : min(patient, stallMillisecondsMax))
    }

    /// Whether a hedge may be sent now; it is paid for.
    mutating func takeHedge(_ operation: S3Operation) -> Bool {
        let price = price(operation)
        guard savedReads >= price else { return false }
        savedReads -= price
        return true
    }

    /// A hedge is over: whether it was of use.
    mutating func noteHedge(_ operation: S3Operation, isWon: Bool) {
        let doublings = usual[operation]?.doublings ?? 0
        usual[operation, default: Usual()].doublings = isWon ? 0 : min(Self.doublingsMax, doublings + 1)
    }

    /// The first byte of an answer came so long after its request was given to the transport; or a hedge's did, so long
    /// after the first request, which would have taken longer still.
    mutating func noteFirstByte(_ operation: S3Operation, nanoseconds: UInt64) {
        usual[operation, default: Usual()].firstByte.add(nanoseconds: nanoseconds)
    }

    /// A request ended, well or because it was given up after a pause of that length.
    mutating func notePause(_ operation: S3Operation, nanoseconds: UInt64) {
        usual[operation, default: Usual()].pause.add(nanoseconds: nanoseconds)
    }
}
