// A file that begins as another object: what copy_file_range makes.

public import Base
internal import Glibc
public import ObjectModel

extension StagedFile {
    /// Makes the file the first `end` bytes of an object that stands under another key. Its upload is a copy on the server.
    ///
    /// Possible from the beginning of an empty file, and then on from where the last call ended.
    /// - Returns: false when the file is not in that state; then nothing has changed.
    public func stand(on source: ObjectVersion, from start: Int, upTo end: Int) throws(StagingError) -> Bool {
        precondition(start <= end && end <= source.byteCount, "a range of the source")
        let isDone = try state.withLock { state throws(StagingError) in
            if let lost = state.lost { throw lost }
            var identity = state.identity
            guard identity.byteCount == start, state.contents.hasBaseOnly, state.phase != .uploading,
                start == 0 || (identity.base == source && identity.baseByteCount == start), source.key != identity.key
            else { return false }
            identity.base = source
            identity.baseByteCount = end
            identity.byteCount = end
            try state.record(.begin(identity))
            state.contents.apply(.begin(identity))
            state.generation += 1
            return true
        }
        if isDone { area.noteStanding(self) }
        return isDone
    }

    /// The key of the object of another file that this one stands on, while it is not uploaded itself.
    public var standsOn: ObjectKey? {
        state.withLock { state in
            guard let base = state.identity.base, base.key != state.identity.key, !state.abandoned else { return nil }
            return base.key
        }
    }

    /// Where the data file has the next data, or hole, from `offset` on; nil when there is none.
    public func seekLocal(from offset: Int, toHole: Bool) -> Int? {
        // SEEK_DATA and SEEK_HOLE of <unistd.h>, which Swift does not import. Nothing uses the descriptor's own position.
        let found = lseek(descriptor, off_t(offset), toHole ? 4 : 3)
        return found >= 0 ? Int(found) : nil
    }
}

extension StagingArea {
    /// The files that stand on an object, or on one below a prefix of keys that ends with `/`.
    public func files(standingOn key: ByteString) -> [StagedFile] {
        standing.withLock { standing in
            if standing.isEmpty { return [] }
            standing = standing.filter { $0.value.standsOn != nil }
            return standing.values.filter { file in
                guard let source = file.standsOn else { return false }
                return source.bytes == key || (key.utf8.last == UInt8(ascii: "/") && source.bytes.hasPrefix(key))
            }
        }
    }

    func noteStanding(_ file: StagedFile) {
        standing.withLock { $0[ObjectIdentifier(file)] = file }
    }
}
