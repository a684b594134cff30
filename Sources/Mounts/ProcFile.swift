// Reading /proc: files of unknown size, symlinks, directories.

internal import Base
internal import CLinux
internal import Glibc

/// Small reads from /proc, and from directories made to look like it in tests. Blocking.
enum ProcFile {
    /// More than this of one file is not read: the maps of a process with a million mappings stay below it.
    static let readBytesMax = 256 << 20

    /// The whole file.
    static func read(_ path: String) throws(SystemCallError) -> [UInt8] {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw SystemCallError("open \(path)", errno: errno) }
        defer { close(descriptor) }
        // Raw memory, filled by the kernel and copied once: most of /proc fits into the first reading.
        var capacity = 16_384
        var count = 0
        var buffer = UnsafeMutableRawPointer.allocate(byteCount: capacity, alignment: 1)
        defer { buffer.deallocate() }
        while count < readBytesMax {
            if count == capacity {
                let larger = UnsafeMutableRawPointer.allocate(byteCount: capacity * 4, alignment: 1)
                larger.copyMemory(from: buffer, byteCount: count)
                buffer.deallocate()
                buffer = larger
                capacity *= 4
            }
            // SAFETY: the buffer has `capacity` bytes, of which `count` are taken.
            let got = Glibc.read(descriptor, buffer + count, capacity - count)
            if got < 0 {
                let failure = errno
                if failure == EINTR { continue }
                throw SystemCallError("read \(path)", errno: failure)
            }
            if got == 0 { break }
            count += got
        }
        return [UInt8](unsafeUninitializedCapacity: count) { target, initializedCount in
            // SAFETY: `count` bytes of the buffer were written by the kernel.
            if count > 0 { UnsafeMutableRawBufferPointer(target).copyMemory(from: .init(start: buffer, count: count)) }
            initializedCount = count
        }
    }

    /// The target of a symlink, not followed. /proc's links of deleted files end in ` (deleted)`.
    static func link(_ path: String) throws(SystemCallError) -> ByteString {
        var failure: Int32 = 0
        let text = withUnsafeTemporaryAllocation(byteCount: 4097, alignment: 1) { buffer -> ByteString? in
            // SAFETY: readlink writes at most the given count into the buffer, which lives through the closure.
            let count = readlink(path, buffer.assumingMemoryBound(to: CChar.self).baseAddress!, buffer.count)
            failure = errno
            guard count >= 0 else { return nil }
            return ByteString(String(decoding: buffer[..<count], as: UTF8.self))
        }
        guard let text else { throw SystemCallError("readlink \(path)", errno: failure) }
        return text
    }

    /// The names in a directory, without `.` and `..`, in no particular order.
    static func names(in path: String) throws(SystemCallError) -> [String] {
        guard let stream = opendir(path) else { throw SystemCallError("open \(path)", errno: errno) }
        defer { closedir(stream) }
        var names: [String] = []
        while let entry = readdir(stream) {
            // SAFETY: d_name is NUL-terminated and valid until the next readdir; it is copied here.
            let name = withUnsafePointer(to: &entry.pointee.d_name) { pointer in
                pointer.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if name != ".", name != ".." { names.append(name) }
        }
        return names
    }

    /// The numeric names in a directory: the processes of /proc, the descriptors of a process.
    static func numbers(in path: String) throws(SystemCallError) -> [Int32] {
        try names(in: path).compactMap(Int32.init)
    }

    /// The id of the mount that a path leads to, found through an O_PATH descriptor: nothing is asked of the
    /// filesystem that is mounted there.
    static func mountID(of path: String) throws(SystemCallError) -> Int? {
        let descriptor = pail_open_path(path)
        guard descriptor >= 0 else { throw SystemCallError("open \(path)", errno: errno) }
        defer { close(descriptor) }
        return parseMountID(try read("/proc/self/fdinfo/\(descriptor)"))
    }

    /// The `mnt_id:` line of a /proc/PID/fdinfo/FD file.
    static func parseMountID(_ text: [UInt8]) -> Int? {
        for line in text.split(separator: UInt8(ascii: "\n")) where line.starts(with: "mnt_id:".utf8) {
            return Int(String(decoding: line.dropFirst(7).filter { !isBlank($0) }, as: UTF8.self))
        }
        return nil
    }

    private static func isBlank(_ byte: UInt8) -> Bool { byte == 0x20 || byte == 0x09 }
}
