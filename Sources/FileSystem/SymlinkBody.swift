// The target of a symlink that metadata cannot hold.

internal import ObjectStore

/// A body of a few bytes in memory. A constant.
final class SymlinkBody: BodySource {
    /// Of a target: Linux has no longer paths (PATH_MAX of <linux/limits.h>).
    static let byteCountMax = 4096

    private let bytes: [UInt8]

    init(_ bytes: [UInt8]) {
        self.bytes = bytes
    }

    var byteCount: Int { bytes.count }

    func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int) -> Bool {
        guard offset >= 0, offset + buffer.count <= bytes.count else { return false }
        bytes.withUnsafeBytes { buffer.copyMemory(from: .init(rebasing: $0[offset..<(offset + buffer.count)])) }
        return true
    }
}
