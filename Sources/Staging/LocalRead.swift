// A read of a staged file's local bytes that is under way: nobody gives those bytes up meanwhile.

internal import Base
internal import Glibc
public import ObjectModel

/// The right to read a range of the data file, which ends with this object. Any thread.
///
/// The map says where bytes are, and the read itself comes later and without a lock; bytes that were given back to the disk in
/// between would be read as zeros.
public final class LocalRead: Sendable {
    public let range: ByteRange
    public var byteCount: Int { range.count }
    private let file: StagedFile

    fileprivate init(_ file: StagedFile, _ range: ByteRange) {
        self.file = file
        self.range = range
    }

    deinit {
        file.state.withLock { state in
            guard let index = state.localReads.firstIndex(of: range) else { return }
            state.localReads.remove(at: index)
        }
    }

    /// Fills `buffer`, which is as long as the range, and returns how much: less where the file was cut meanwhile.
    public func read(into buffer: UnsafeMutableRawBufferPointer) throws(StagingError) -> Int {
        do throws(StagingError) {
            try file.readLocal(into: buffer, at: range.lowerBound)
            return range.count
        } catch {
            // Behind the end of the data file: no damage where the file is that short by now.
            let byteCount = file.byteCount
            guard byteCount < range.upperBound else { throw error }
            let count = max(0, byteCount - range.lowerBound)
            try file.readLocal(into: UnsafeMutableRawBufferPointer(rebasing: buffer[..<count]), at: range.lowerBound)
            return count
        }
    }

    /// The bytes: fewer than the range has where the file was cut meanwhile.
    public func bytes() throws(StagingError) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: range.count)
        let result = bytes.withUnsafeMutableBytes { buffer in
            Result { () throws(StagingError) in try read(into: buffer) }
        }
        bytes.removeLast(range.count - (try result.get()))
        return bytes
    }
}

extension StagedFile {
    /// Where the bytes of `range`, cut at the file's end, are to be had: all of them in the data file, or not.
    public enum ReadPlan: Sendable {
        case empty
        case local(LocalRead)
        case elsewhere
    }

    public func beginRead(_ range: ByteRange) -> ReadPlan {
        let local: ByteRange?? = state.withLock { state in
            guard let range = range.intersection(ByteRange(0, state.identity.byteCount)), !range.isEmpty else {
                return .some(nil)
            }
            guard state.contents.local.contains(range) else { return nil }
            state.localReads.append(range)
            return range
        }
        switch local {
        case nil: return .elsewhere
        case .some(nil): return .empty
        case .some(let range?): return .local(LocalRead(self, range))
        }
    }
}

extension StagedFile.State {
    /// Whether somebody is reading bytes of `range` from the data file.
    func isBeingRead(_ range: ByteRange) -> Bool { localReads.contains { $0.overlaps(range) } }
}
