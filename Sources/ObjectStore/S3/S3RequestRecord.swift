// What each request on the wire leaves behind: for metrics, and for the debug log.

public import ObjectModel
public import S3Protocol

/// One attempt of one request, reported when it has ended.
public struct S3RequestRecord: Sendable {
    public let operation: S3Operation
    public let key: ObjectKey?
    /// 1 for the first try of a call, then 2, 3…
    public let attempt: Int
    /// Whether it raced another request of the same call that was late.
    public let isHedge: Bool
    /// Nil when no complete answer came.
    public let status: Int?
    /// S3's error code, or the transport's kind of failure.
    public let failure: String?
    public let requestID: String?
    public let bodyBytesSent: Int
    public let bodyBytesReceived: Int
    public let durationNanoseconds: UInt64
    /// Whether it was given up because no byte moved, or because the body came far slower than others.
    public let isStall: Bool
    /// Whether it was made to learn how the server refuses, so that a refusal is no failure.
    public let isTrial: Bool

    /// Whether it did not bring what was asked for, other than by saying that there is no such thing.
    public var isFailure: Bool {
        switch status {
        case .some(200..<400), 404, 412: false
        case .some where isTrial: false
        // Read-ahead that is not needed any more is given up all the time.
        default: failure != "cancelled"
        }
    }
}

/// Totals of a store since it was made.
public struct S3RequestCounters: Sendable, Equatable {
    public struct Operation: Sendable, Equatable {
        /// Attempts, each of them a request on the wire.
        public var requestCount = 0
        /// Those that were not the first of their call.
        public var retryCount = 0
        /// Those that raced another one, of the same call, that was late; and those that came first.
        public var hedgeCount = 0
        public var hedgeWonCount = 0
        /// Those given up because no byte moved, or because the body came far slower than others.
        public var stallCount = 0
        /// Those without an answer (given up by ourselves not counted), or refused by a 4xx other than 404 and 412, or by a 5xx.
        public var failureCount = 0
        public var bodyBytesSent = 0
        public var bodyBytesReceived = 0
        public var durationNanoseconds: UInt64 = 0
    }

    public var operations: [S3Operation: Operation] = [:]

    mutating func add(_ record: S3RequestRecord) {
        var operation = operations[record.operation] ?? Operation()
        operation.requestCount += 1
        if record.attempt > 1 { operation.retryCount += 1 }
        if record.isHedge { operation.hedgeCount += 1 }
        if record.isStall { operation.stallCount += 1 }
        if record.isFailure { operation.failureCount += 1 }
        operation.bodyBytesSent += record.bodyBytesSent
        operation.bodyBytesReceived += record.bodyBytesReceived
        operation.durationNanoseconds += record.durationNanoseconds
        operations[record.operation] = operation
    }

    mutating func noteHedgeWon(_ operation: S3Operation) {
        operations[operation, default: Operation()].hedgeWonCount += 1
    }
}
