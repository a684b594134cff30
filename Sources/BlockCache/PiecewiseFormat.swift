// Files whose programs read them in pieces, known by their first bytes.

internal import Base
public import ObjectModel

/// The formats of arrays in chunks: a program opens one for a few chunks more often than for all of it, and a chunk is as
/// long as a run of other files that is worth reading far ahead of.
enum PiecewiseFormat {
    /// HDF5, and netCDF-4, which is HDF5: the format signature of the specification, "The Superblock".
    private static let hdf5: [UInt8] = [0x89, 0x48, 0x44, 0x46, 0x0d, 0x0a, 0x1a, 0x0a]
    /// Classic netCDF: `CDF` and a version of 1, 2 or 5, of the netCDF file format specification.
    private static let netCDF = Array("CDF".utf8)

    /// Whether an object that begins so is one of them.
    static func isMet(by beginning: UnsafeRawBufferPointer) -> Bool {
        if beginning.starts(with: hdf5) { return true }
        return beginning.count > 3 && beginning.starts(with: netCDF) && [1, 2, 5].contains(beginning[3])
    }
}

extension BlockCache {
    /// Whether the object is of a format whose programs read it in pieces, as far as its beginning is in memory.
    public func isReadInPieces(_ version: ObjectVersion) -> Bool {
        let first = state.withLock { $0.file(version)?.entries[0]?.block }
        return first.map { PiecewiseFormat.isMet(by: $0.bytes) } ?? false
    }
}
