// The system calls of the disk tier, one to one, each retried when a signal interrupts it. Tests put failures here.

internal import CLinux
internal import Glibc

/// Why the cache's disk could not be used.
enum DiskError: Error, Equatable {
    case call(DiskCalls.Call, code: Int32)
    /// The directory is another user's.
    case notOurs

    /// `write: No space left on device`
    var text: String {
        switch self {
        case .call(let call, let code): "\(call.rawValue): \(String(cString: strerror(code)))"
        case .notOurs: "the directory belongs to another user"
        }
    }

    var isMissing: Bool {
        if case .call(_, ENOENT) = self { true } else { false }
    }
}

/// The calls; a value without state of its own. They block: only threads of the cache's own make them.
struct DiskCalls: Sendable {
    enum Call: String, Sendable, CaseIterable {
        case makeDirectory = "mkdir"
        case open, read, write, rename, lock, list
        case remove = "unlink"
        case space = "statvfs"
    }

    /// An errno that a call fails with instead of being made; nil makes it.
    var fault: (@Sendable (Call) -> Int32?)?

    private func retrying<Result: FixedWidthInteger>(
        _ call: Call, _ body: () -> Result
    ) throws(DiskError) -> Result {
        if let code = fault?(call) { throw .call(call, code: code) }
        while true {
            let result = body()
            if result >= 0 { return result }
            let code = errno
            if code != EINTR { throw .call(call, code: code) }
        }
    }

    func makeDirectory(_ directory: Int32, _ name: String) throws(DiskError) {
        do throws(DiskError) {
            _ = try retrying(.makeDirectory) { mkdirat(directory, name, 0o700) }
        } catch .call(_, EEXIST) {
            return
        }
    }

    /// - Parameter flags: of open(2); the descriptor is not inherited, and no symbolic link is followed.
    func open(_ directory: Int32, _ name: String, _ flags: Int32) throws(DiskError) -> DiskFile {
        DiskFile(descriptor: try retrying(.open) { pail_open_at(directory, name, flags, 0o600) })
    }

    /// From this length on transfers go past the page cache, where the file system can do so: copying costs more
    /// processor time than everything else together, and what is read is kept in memory anyway.
    static let directBytesMin = 512 << 10
    /// What offsets, lengths and memory must be multiples of for that.
    static let directAlignment = 4096

    /// Fills buffers in order; returns how many bytes there were, fewer only at the end of the file.
    func read(_ file: borrowing DiskFile, _ vectors: [iovec], at offset: Int) throws(DiskError) -> Int {
        if Self.isDirect(vectors, offset), let count = try direct(.read, vectors, offset, file, pail_read_vectors) {
            return count
        }
        return try moving(.read, vectors, offset, file.descriptor, pail_read_vectors)
    }

    /// Writes all of the buffers in order.
    func write(_ file: borrowing DiskFile, _ vectors: [iovec], at offset: Int) throws(DiskError) {
        if Self.isDirect(vectors, offset), try direct(.write, vectors, offset, file, pail_write_vectors) != nil {
            return
        }
        _ = try moving(.write, vectors, offset, file.descriptor, pail_write_vectors)
    }

    private static func isDirect(_ vectors: [iovec], _ offset: Int) -> Bool {
        vectors.reduce(0) { $0 + $1.iov_len } >= directBytesMin && offset % directAlignment == 0
            && vectors.allSatisfy { vector in
                vector.iov_len % directAlignment == 0 && Int(bitPattern: vector.iov_base) % directAlignment == 0
            }
    }

    /// Nil when it cannot be done past the page cache. The file is used by this thread alone.
    private func direct(
        _ call: Call, _ vectors: [iovec], _ offset: Int, _ file: borrowing DiskFile,
        _ transfer: (Int32, UnsafeRawPointer?, Int32, Int64) -> Int64
    ) throws(DiskError) -> Int? {
        let descriptor = file.descriptor
        guard pail_set_direct(descriptor, 1) == 0 else { return nil }
        defer { _ = pail_set_direct(descriptor, 0) }
        do throws(DiskError) {
            return try moving(call, vectors, offset, descriptor, transfer)
        } catch .call(_, EINVAL) {
            return nil
        }
    }

    /// Continues after partial transfers, until all is moved or a call moves nothing.
    private func moving(
        _ call: Call, _ vectors: [iovec], _ offset: Int, _ descriptor: Int32,
        _ transfer: (Int32, UnsafeRawPointer?, Int32, Int64) -> Int64
    ) throws(DiskError) -> Int {
        var rest = vectors[...]
        var done = 0
        while !rest.isEmpty {
            let slice = rest
            var moved = Int(
                try retrying(call) {
                    slice.withUnsafeBytes {
                        transfer(descriptor, $0.baseAddress, Int32(slice.count), Int64(offset + done))
                    }
                })
            if moved == 0 { break }
            done += moved
            while let first = rest.first, moved >= first.iov_len {
                moved -= first.iov_len
                rest = rest.dropFirst()
            }
            if moved > 0, let first = rest.first {
                rest[rest.startIndex] = iovec(iov_base: first.iov_base + moved, iov_len: first.iov_len - moved)
            }
        }
        return done
    }

    func readBytes(_ file: borrowing DiskFile, count: Int, at offset: Int) throws(DiskError) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: count)
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: count, alignment: 8)
        defer { buffer.deallocate() }
        let done = try read(file, [iovec(iov_base: buffer.baseAddress, iov_len: count)], at: offset)
        bytes.withUnsafeMutableBytes { $0.copyMemory(from: UnsafeRawBufferPointer(rebasing: buffer[..<done])) }
        return done == count ? bytes : Array(bytes[..<done])
    }

    func writeBytes(_ file: borrowing DiskFile, _ bytes: [UInt8], at offset: Int) throws(DiskError) {
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes.count, alignment: 8)
        defer { buffer.deallocate() }
        buffer.copyBytes(from: bytes)
        try write(file, [iovec(iov_base: buffer.baseAddress, iov_len: bytes.count)], at: offset)
    }

    /// Tells the kernel not to read more than is asked for: what comes next is known better here.
    func willReadPieces(_ file: borrowing DiskFile) {
        _ = posix_fadvise(file.descriptor, 0, 0, POSIX_FADV_RANDOM)
    }

    func rename(_ directory: Int32, _ from: String, _ to: String) throws(DiskError) {
        _ = try retrying(.rename) { renameat(directory, from, directory, to) }
    }

    func remove(_ directory: Int32, _ name: String, isDirectory: Bool = false) throws(DiskError) {
        _ = try retrying(.remove) { unlinkat(directory, name, isDirectory ? AT_REMOVEDIR : 0) }
    }

    /// Waits until no other process holds the lock of the file.
    func lock(_ file: borrowing DiskFile) throws(DiskError) {
        let descriptor = file.descriptor
        _ = try retrying(.lock) { flock(descriptor, LOCK_EX) }
    }

    func unlock(_ file: borrowing DiskFile) {
        _ = flock(file.descriptor, LOCK_UN)
    }

    func status(_ file: borrowing DiskFile) throws(DiskError) -> stat {
        var status = stat()
        let descriptor = file.descriptor
        _ = try retrying(.read) { fstat(descriptor, &status) }
        return status
    }

    /// The size of the file system, and what is free on it for this user, in bytes.
    func space(_ file: borrowing DiskFile) throws(DiskError) -> (total: Int, free: Int) {
        var status = statvfs()
        let descriptor = file.descriptor
        _ = try retrying(.space) { fstatvfs(descriptor, &status) }
        let unit = Int(status.f_frsize)
        return (Int(status.f_blocks) * unit, Int(status.f_bavail) * unit)
    }

    /// The names in a directory, without `.` and `..`, in any order.
    func names(_ directory: Int32, _ name: String) throws(DiskError) -> [String] {
        let descriptor = try retrying(.list) { pail_open_at(directory, name, O_RDONLY | O_DIRECTORY, 0) }
        // SAFETY: `fdopendir` takes the descriptor over, `closedir` gives it back; entries are copied at once.
        guard let stream = fdopendir(descriptor) else {
            let code = errno
            close(descriptor)
            throw .call(.list, code: code)
        }
        defer { closedir(stream) }
        var names: [String] = []
        while let entry = readdir(stream) {
            let name = withUnsafeBytes(of: &entry.pointee.d_name) { bytes in
                String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
            }
            if name != ".", name != ".." { names.append(name) }
        }
        return names
    }
}

/// An open file of the cache; closed when its life ends.
struct DiskFile: ~Copyable {
    let descriptor: Int32

    init(descriptor: Int32) {
        self.descriptor = descriptor
    }

    deinit {
        close(descriptor)
    }
}
