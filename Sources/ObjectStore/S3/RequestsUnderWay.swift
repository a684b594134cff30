// The requests on the wire at one moment, for who wants to know what a mount waits for.

public import ObjectModel
public import S3Protocol

/// A request that was sent, or is being sent, and has not been answered completely.
public struct S3RequestUnderWay: Sendable, Equatable {
    public let operation: S3Operation
    public let key: ObjectKey?
    /// 1 for the first try of a call, then 2, 3…
    public let attempt: Int
    /// Whether it races another request of the same call that is late.
    public let isHedge: Bool
    public let startNanoseconds: UInt64
}

/// All of them, by a number of their own.
struct RequestsUnderWay {
    private var byNumber: [UInt64: S3RequestUnderWay] = [:]
    private var nextNumber: UInt64 = 0

    mutating func begin(_ request: S3RequestUnderWay) -> UInt64 {
        nextNumber += 1
        byNumber[nextNumber] = request
        return nextNumber
    }

    mutating func end(_ number: UInt64) { byNumber[number] = nil }

    /// The oldest first.
    var oldestFirst: [S3RequestUnderWay] {
        byNumber.sorted { ($0.value.startNanoseconds, $0.key) < ($1.value.startNanoseconds, $1.key) }.map(\.value)
    }
}
