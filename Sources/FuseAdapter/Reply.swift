// One reply per request, enforced by the type.

internal import BlockCache
internal import CFuse
internal import FileSystem
internal import Glibc
internal import Staging

/// The right to answer one request of the kernel, exactly once. If it is dropped unanswered, the kernel gets EIO: a
/// process never hangs because of a path that forgot it.
///
/// SAFETY: libfuse lets a request be answered from any thread, once; ownership of the request pointer is this value's
/// alone, so it may move between threads.
struct Reply: ~Copyable, @unchecked Sendable {
    private let request: fuse_req_t

    init(_ request: fuse_req_t) {
        self.request = request
    }

    deinit {
        fuse_reply_err(request, EIO)
    }

    /// For libfuse functions that need the request to format an answer; not to be answered through.
    var pointer: fuse_req_t { request }

    consuming func error(_ code: Int32) {
        let request = request
        discard self
        fuse_reply_err(request, code)
    }

    consuming func done() {
        error(0)
    }

    /// `forget` and its like are answered by nothing.
    consuming func none() {
        let request = request
        discard self
        fuse_reply_none(request)
    }

    /// Returns whether the kernel took it: if not (the request was interrupted), it holds no reference.
    consuming func entry(_ entry: fuse_entry_param) -> Bool {
        let request = request
        discard self
        return withUnsafePointer(to: entry) { fuse_reply_entry(request, $0) } == 0
    }

    consuming func attributes(_ attributes: stat, validSeconds: Double) {
        let request = request
        discard self
        _ = withUnsafePointer(to: attributes) { fuse_reply_attr(request, $0, validSeconds) }
    }

    /// Returns whether the kernel took it: if not, no release will come.
    consuming func open(_ info: fuse_file_info) -> Bool {
        let request = request
        discard self
        return withUnsafePointer(to: info) { fuse_reply_open(request, $0) } == 0
    }

    consuming func create(_ entry: fuse_entry_param, _ info: fuse_file_info) -> Bool {
        let request = request
        discard self
        return withUnsafePointer(to: entry) { entry in
            withUnsafePointer(to: info) { fuse_reply_create(request, entry, $0) }
        } == 0
    }

    consuming func written(_ count: Int) {
        let request = request
        discard self
        fuse_reply_write(request, count)
    }

    /// An answer to getxattr or listxattr: how long it is when the program offers no room, else the bytes, or ERANGE.
    consuming func attribute(_ bytes: [UInt8], room: Int) {
        let request = request
        discard self
        if room == 0 {
            fuse_reply_xattr(request, bytes.count)
        } else if bytes.count > room {
            fuse_reply_err(request, ERANGE)
        } else {
            _ = bytes.withUnsafeBytes { fuse_reply_buf(request, $0.baseAddress, $0.count) }
        }
    }

    consuming func offset(_ offset: Int) {
        let request = request
        discard self
        fuse_reply_lseek(request, off_t(offset))
    }

    consuming func text(_ text: String) {
        let request = request
        discard self
        KernelName.withBytes(of: text) { bytes, _ in _ = fuse_reply_readlink(request, bytes) }
    }

    consuming func bytes(_ bytes: UnsafeRawBufferPointer) {
        let request = request
        discard self
        fuse_reply_buf(request, bytes.baseAddress, bytes.count)
    }

    consuming func slices(_ slices: ReadSlices) {
        let request = request
        discard self
        if slices.count == 1 {
            let slice = slices[0]
            fuse_reply_buf(request, slice.bytes.baseAddress, slice.bytes.count)
            withExtendedLifetime(slices) {}
            return
        }
        slices.withUnsafeBuffers { buffers in
            withUnsafeTemporaryAllocation(of: iovec.self, capacity: buffers.count) { vectors in
                for (index, buffer) in buffers.enumerated() {
                    vectors[index] = iovec(
                        iov_base: UnsafeMutableRawPointer(mutating: buffer.baseAddress), iov_len: buffer.count)
                }
                _ = fuse_reply_iov(request, vectors.baseAddress, Int32(buffers.count))
            }
        }
    }

    consuming func statistics(_ value: pail_statvfs) {
        let request = request
        discard self
        _ = withUnsafePointer(to: value) { fuse_reply_statfs(request, $0) }
    }

    consuming func data(_ data: ReadData) {
        switch data {
        case .empty: bytes(UnsafeRawBufferPointer(start: nil, count: 0))
        case .bytes(let array):
            let request = request
            discard self
            array.withUnsafeBytes { _ = fuse_reply_buf(request, $0.baseAddress, $0.count) }
        case .slices(let value): slices(value)
        case .local(let read):
            let request = request
            discard self
            withUnsafeTemporaryAllocation(byteCount: read.byteCount, alignment: 16) { buffer in
                do throws(StagingError) {
                    let count = try read.read(into: buffer)
                    fuse_reply_buf(request, buffer.baseAddress, count)
                } catch {
                    fuse_reply_err(request, FileSystemError(error).code)
                }
            }
        }
    }
}
