// fallocate(2), SEEK_DATA and SEEK_HOLE.

internal import Base
internal import ObjectModel
internal import Staging

/// What fallocate(2) is to do with a range.
public enum RangeAllocation: Sendable, Equatable {
    /// The file reaches at least to the end of the range.
    case extend
    /// Room is promised, and the content stays.
    case reserve
    /// The range reads as zeros; the file gets no longer.
    case punch
    /// The range reads as zeros, and with `extends` the file reaches at least to its end.
    case zero(extends: Bool)
}

extension FileSystem {
    /// fallocate(2) of a range; `endsPrivileges` as of `write`.
    public func allocate(
        _ handle: FileHandle, _ allocation: RangeAllocation, offset: Int, count: Int, endsPrivileges: Bool = false
    ) -> Answer<Void> {
        let (end, overflows) = offset.addingReportingOverflow(count)
        guard offset >= 0, count > 0 else { return .fail(.invalidArgument) }
        guard !overflows else { return .fail(.fileTooLarge) }
        return .later { () async throws(FileSystemError) in
            let byteCount = handle.node.status.byteCount
            switch allocation {
            case .extend where end <= byteCount, .reserve:
                // As on ext4: whoever allocates changes the file, whatever there is to do.
                try await self.noteModified(handle, endsPrivileges)
            case .extend, .zero(extends: true):
                if end > byteCount { try await self.extend(handle, to: end, endsPrivileges) }
            case .punch, .zero(extends: false): break
            }
            let isZeroed = allocation != .extend && allocation != .reserve
            if isZeroed, let range = ByteRange(offset, end).intersection(ByteRange(0, byteCount)) {
                try await self.writeZeros(handle, range, endsPrivileges)
            }
        }
    }

    private func noteModified(_ handle: FileHandle, _ endsPrivileges: Bool) async throws(FileSystemError) {
        var changes = AttributeChanges()
        changes.modified = time.now
        changes.endsPrivileges = endsPrivileges
        _ = try await setAttributes(handle.node.number, handle: handle, changes).get()
    }

    private func extend(
        _ handle: FileHandle, to byteCount: Int, _ endsPrivileges: Bool
    ) async throws(FileSystemError) {
        var changes = AttributeChanges()
        changes.byteCount = byteCount
        changes.endsPrivileges = endsPrivileges
        _ = try await setAttributes(handle.node.number, handle: handle, changes).get()
    }

    /// As written by the program: an object has no holes, so zeros are what is kept in any case.
    private func writeZeros(
        _ handle: FileHandle, _ range: ByteRange, _ endsPrivileges: Bool
    ) async throws(FileSystemError) {
        let zeros = [UInt8](repeating: 0, count: min(range.count, 1 << 20))
        var position = range.lowerBound
        while position < range.upperBound {
            let answer = zeros.withUnsafeBytes { bytes in
                let count = min(bytes.count, range.upperBound - position)
                return write(
                    handle, offset: position, bytes: UnsafeRawBufferPointer(rebasing: bytes[..<count]),
                    endsPrivileges: endsPrivileges)
            }
            position += try await answer.get()
        }
    }

    /// SEEK_DATA or SEEK_HOLE: where the next data, or the next hole, is from `offset` on. The end of the file is a hole.
    /// Objects are data throughout; of pending files the holes of the staged data are known.
    public func seek(_ handle: FileHandle, from offset: Int, toHole: Bool) -> Answer<Int> {
        let byteCount = handle.node.status.byteCount
        guard offset >= 0, offset < byteCount else { return .fail(.outOfRange) }
        guard let file = handle.node.stagedFile else { return .ready(toHole ? byteCount : offset) }
        var position = offset
        for piece in file.pieces(ByteRange(offset, byteCount)) {
            guard case .local(let range) = piece else {
                if !toHole { return .ready(piece.range.lowerBound) }
                position = piece.range.upperBound
                continue
            }
            position = max(position, range.lowerBound)
            guard let found = file.seekLocal(from: position, toHole: toHole), found < range.upperBound else {
                position = range.upperBound
                continue
            }
            return .ready(max(found, offset))
        }
        // A file that ends in a hole has no more data; and at its end there is one.
        return toHole ? .ready(byteCount) : .fail(.outOfRange)
    }
}
