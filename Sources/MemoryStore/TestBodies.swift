// Bodies for tests: a source over bytes, and a sink that keeps what it gets and checks the store's promises.

internal import Base
public import ObjectModel
public import ObjectStore

/// A body over bytes in memory.
public final class ByteArraySource: BodySource {
    public let bytes: [UInt8]

    public init(_ bytes: [UInt8]) {
        self.bytes = bytes
    }

    public var byteCount: Int { bytes.count }

    public func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int) -> Bool {
        guard offset >= 0, offset + buffer.count <= bytes.count else { return false }
        bytes.withUnsafeBytes { buffer.copyMemory(from: .init(rebasing: $0[offset..<(offset + buffer.count)])) }
        return true
    }
}

/// Keeps the body of a GET, and notes every breach of the contract of `BodySink`.
public final class CollectingSink: BodySink {
    private struct State {
        var info: ObjectInfo?
        var range: ByteRange?
        var bytes: [UInt8] = []
        var isInCall = false
        var isEnded = false
        var breaches: [String] = []
    }

    private let state = Lock(State())
    /// Called after each piece, with the number of bytes so far.
    private let onReceive: (@Sendable (Int) -> Void)?

    public init(onReceive: (@Sendable (Int) -> Void)? = nil) {
        self.onReceive = onReceive
    }

    /// What `begin` said; nil when it was not called.
    public var info: ObjectInfo? { state.withLock { $0.info } }
    public var range: ByteRange? { state.withLock { $0.range } }
    public var bytes: [UInt8] { state.withLock { $0.bytes } }
    /// Breaches of the contract so far; empty is good.
    public var breaches: [String] { state.withLock { $0.breaches } }

    /// To be called when `get` has returned: from now on any call is a breach.
    public func end() {
        state.withLock { $0.isEnded = true }
    }

    public func begin(_ info: ObjectInfo, range: ByteRange) {
        state.withLock { state in
            if state.info != nil { state.breaches.append("begin twice") }
            if state.isEnded { state.breaches.append("begin after the end") }
            if range.upperBound > info.version.byteCount { state.breaches.append("range beyond the object") }
            state.info = info
            state.range = range
        }
    }

    public func receive(_ bytes: UnsafeRawBufferPointer) {
        let count = state.withLock { state in
            if state.isInCall { state.breaches.append("two calls at once") }
            state.isInCall = true
            if state.isEnded { state.breaches.append("bytes after the end") }
            state.bytes.append(contentsOf: bytes)
            if let range = state.range {
                if state.bytes.count > range.count { state.breaches.append("more bytes than the range") }
            } else {
                state.breaches.append("bytes before begin")
            }
            return state.bytes.count
        }
        onReceive?(count)
        state.withLock { $0.isInCall = false }
    }
}
