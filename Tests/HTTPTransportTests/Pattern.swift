// Bytes that tell their position, and the two ends of a body made of them.

import Base
import Glibc
import HTTPTransport

/// An endless sequence of bytes with a prime period, so that a shift of any size is seen.
enum Pattern {
    private static let period = 65521
    private static let table: [UInt8] = {
        let cycle = (0..<period).map { UInt8(truncatingIfNeeded: ($0 &* 2_654_435_761) >> 13) }
        return (0..<33).flatMap { _ in cycle }
    }()

    static func fill(_ buffer: UnsafeMutableRawBufferPointer, at offset: Int) {
        forPieces(of: buffer.count, at: offset) { position, piece in
            memcpy(buffer.baseAddress! + position, piece.baseAddress!, piece.count)
            return true
        }
    }

    static func matches(_ bytes: UnsafeRawBufferPointer, at offset: Int) -> Bool {
        forPieces(of: bytes.count, at: offset) { position, piece in
            memcmp(bytes.baseAddress! + position, piece.baseAddress!, piece.count) == 0
        }
    }

    @discardableResult
    private static func forPieces(
        of count: Int, at offset: Int, _ body: (Int, UnsafeRawBufferPointer) -> Bool
    ) -> Bool {
        table.withUnsafeBytes { table in
            var done = 0
            while done < count {
                let start = (offset + done) % period
                let size = min(count - done, table.count - start)
                guard body(done, UnsafeRawBufferPointer(rebasing: table[start..<(start + size)])) else { return false }
                done += size
            }
            return true
        }
    }
}

/// A body of the pattern.
final class PatternSource: HTTPBodySource {
    let byteCount: Int
    private let failsFrom: Int
    private let state = Lock((reads: 0, bytesMax: 0))

    init(byteCount: Int, failsFrom: Int = .max) {
        self.byteCount = byteCount
        self.failsFrom = failsFrom
    }

    var reads: Int { state.withLock { $0.reads } }

    func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int) -> Bool {
        state.withLock { $0.reads += 1 }
        precondition(offset >= 0 && offset + buffer.count <= byteCount, "a read outside of the body")
        Pattern.fill(buffer, at: offset)
        return offset + buffer.count <= failsFrom
    }
}

/// Checks that a body is the pattern from `offset` on, and counts it.
final class PatternSink: HTTPResponseSink {
    struct Seen {
        var begins = 0
        var status = 0
        var byteCount = 0
        var isPattern = true
    }

    private let offset: Int
    private let streams: Bool
    private let state = Lock(Seen())
    private let arrival = OneShot<Void>()

    init(offset: Int = 0, streams: Bool = true) {
        self.offset = offset
        self.streams = streams
    }

    var seen: Seen { state.withLock { $0 } }

    /// Returns when the first byte of the body has come.
    func firstByte() async { await arrival.wait() }

    func begin(_ head: HTTPResponseHead) -> Bool {
        state.withLock { seen in
            seen.begins += 1
            seen.status = head.status
        }
        return streams
    }

    func receive(_ bytes: UnsafeRawBufferPointer) {
        state.withLock { seen in
            seen.isPattern = seen.isPattern && Pattern.matches(bytes, at: offset + seen.byteCount)
            seen.byteCount += bytes.count
        }
        arrival.set(())
    }
}
