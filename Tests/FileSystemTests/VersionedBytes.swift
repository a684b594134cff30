// Contents that tell which version of an object they are of, and where in it.

import Base
import Glibc
import MemoryStore

/// The bytes of version `number` of an object: a window of one noise, moved on by a prime with each version. So no
/// byte is zero, the same position differs between versions, and a block of another place or version is recognised.
struct VersionedBytes: Sendable, Equatable {
    let number: Int
    let byteCount: Int

    static let byteCountMax = 512 << 10
    private static let shift = 7919
    /// As many versions as one run may make.
    static let numberMax = 60

    private static let noise: [UInt8] = {
        var random = SplitMix64(seed: 42)
        return (0..<byteCountMax + shift * (numberMax + 1)).map { _ in UInt8(random.next() >> 33 % 255) + 1 }
    }()

    private var start: Int { number * Self.shift }

    var bytes: [UInt8] { Array(Self.noise[start..<start + byteCount]) }

    /// How many bytes a read gives.
    func count(offset: Int, count: Int) -> Int { max(0, min(count, byteCount - offset)) }

    /// Whether a read gives exactly these bytes.
    func gives(_ bytes: [UInt8], offset: Int, count: Int) -> Bool {
        guard bytes.count == self.count(offset: offset, count: count) else { return false }
        return agrees(bytes, offset)
    }

    private func agrees(_ bytes: [UInt8], _ offset: Int) -> Bool {
        bytes.isEmpty
            || Self.noise.withUnsafeBytes { memcmp($0.baseAddress! + start + offset, bytes, bytes.count) == 0 }
    }

    /// What the bytes are, in words: how many bytes of which version, where.
    static func describe(_ bytes: [UInt8], offset: Int, versions: [VersionedBytes]) -> String {
        var runs: [(count: Int, source: String)] = []
        for start in stride(from: 0, to: bytes.count, by: 8) {
            let piece = Array(bytes[start..<min(start + 8, bytes.count)])
            let source =
                piece.allSatisfy { $0 == 0 }
                ? "zeros"
                : versions.first { $0.agrees(piece, offset + start) }.map { "version \($0.number)" } ?? "other bytes"
            if runs.last?.source == source {
                runs[runs.count - 1].count += piece.count
            } else {
                runs.append((piece.count, source))
            }
        }
        let text = runs.prefix(12).map { "\($0.count) of \($0.source)" }.joined(separator: ", ")
        return "\(bytes.count) bytes at \(offset): \(runs.isEmpty ? "nothing" : text)"
    }
}
