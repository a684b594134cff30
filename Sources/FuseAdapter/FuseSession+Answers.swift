// From pail's types to the kernel's.

internal import Base
internal import CFuse
internal import FileSystem
internal import Glibc
internal import Logging

extension FuseSession {
    // MARK: Handles in `fuse_file_info.fh`

    /// A pointer has 56 bits at most on the processors that Linux gives its programs; the byte above them is the
    /// generation's (`EarlierRequests`).
    private static let pointerBits: UInt64 = (1 << EarlierRequests.handleShift) - 1

    func number(_ pointer: UnsafeMutableRawPointer) -> UInt64 {
        UInt64(UInt(bitPattern: pointer)) | generation << EarlierRequests.handleShift
    }

    private static func pointer(_ fh: UInt64) -> UnsafeRawPointer {
        UnsafeRawPointer(bitPattern: UInt(fh & pointerBits))!
    }

    func retained(_ handle: DirectoryHandle) -> UInt64 { number(Unmanaged.passRetained(handle).toOpaque()) }

    func retained(_ handle: FileHandle) -> UInt64 {
        let number = number(Unmanaged.passRetained(handle).toOpaque())
        if let ledger {
            var facts = fileSystem.facts(of: handle)
            facts.number = kernelNumber(facts.number)
            ledger.note(HandleLedger.Entry(handle: number, facts: facts), of: handle)
        }
        return number
    }

    // SAFETY of these: `fh` was made by `retained`, in this process, and the kernel does not use it after release.
    static func fileHandle(_ info: UnsafeMutablePointer<fuse_file_info>) -> FileHandle {
        Unmanaged<FileHandle>.fromOpaque(pointer(info.pointee.fh)).takeUnretainedValue()
    }

    /// Ends the use of a handle's number.
    func release(_ fh: UInt64) {
        ledger?.forget(fh)
        fileSystem.release(Unmanaged<FileHandle>.fromOpaque(Self.pointer(fh)).takeRetainedValue())
    }

    static func directoryHandle(_ info: UnsafeMutablePointer<fuse_file_info>) -> DirectoryHandle {
        Unmanaged<DirectoryHandle>.fromOpaque(pointer(info.pointee.fh)).takeUnretainedValue()
    }

    static func releaseDirectory(_ fh: UInt64) {
        Unmanaged<DirectoryHandle>.fromOpaque(pointer(fh)).release()
    }

    /// O_DIRECT of <asm-generic/fcntl.h>, which Swift does not import.
    static let directFlag: Int32 = 0o40000

    /// The kernel's view of an open file.
    func opened(_ handle: FileHandle, flags: Int32) -> fuse_file_info {
        var info = fuse_file_info()
        info.fh = retained(handle)
        info.flags = flags
        // The pages of a node are the node's for ever: see Node.
        info.keep_cache = 1
        if flags & Self.directFlag != 0 { info.direct_io = 1 }
        // close() of a handle that cannot write has nothing to tell.
        info.noflush = handle.mayWrite ? 0 : 1
        readAhead.withLock { $0 }?.prepare(isReadInPieces: fileSystem.isReadInPieces(handle))
        return info
    }

    // MARK: Entries and attributes

    func attributes(_ status: FileStatus) -> stat {
        var result = stat()
        result.st_ino = UInt(status.inode)
        result.st_mode = status.kind.typeBits | status.attributes.permissions
        result.st_nlink = UInt(status.linkCount)
        result.st_uid = status.attributes.uid
        result.st_gid = status.attributes.gid
        result.st_rdev = UInt(status.attributes.device)
        result.st_size = status.byteCount
        result.st_blocks = (status.byteCount + 511) / 512
        result.st_blksize = 1 << 20
        result.st_atim = timespec(status.attributes.accessed)
        result.st_mtim = timespec(status.attributes.modified)
        result.st_ctim = timespec(status.attributes.changed)
        return result
    }

    /// - Parameter name: under which the node was found.
    func entry(_ status: FileStatus, _ name: String) -> fuse_entry_param {
        var entry = fuse_entry_param()
        entry.ino = kernelNumber(status.number, isDirectory: status.kind == .directory)
        entry.attr = attributes(status)
        entry.attr_timeout = options.validSeconds
        entry.entry_timeout = validSeconds(of: name)
        return entry
    }

    /// Inode 0 is the answer "not there, and remember it".
    func replyAbsent(_ reply: consuming Reply, _ name: String) {
        var entry = fuse_entry_param()
        entry.entry_timeout = validSeconds(of: name)
        _ = reply.entry(entry)
    }

    /// For how long the kernel may take a name for what it is. One beside a directory comes and goes with that, and the
    /// kernel cannot be told before rmdir(2) has returned: it is asked for each time.
    private func validSeconds(of name: String) -> Double {
        NameCodec.isFleeting(name) ? 0 : options.validSeconds
    }

    /// The least that an entry takes in the kernel's buffer (`struct fuse_dirent` and `fuse_direntplus` of <linux/fuse.h>).
    static let entryBytesMin = 32
    static let plusEntryBytesMin = 160

    /// Fills a readdir buffer from entries whose positions follow each other. In a plus listing, entries whose attributes
    /// would cost a request come without: the kernel asks for those that somebody wants.
    func sendEntries(
        _ entries: [DirectoryEntry], _ handle: DirectoryHandle, reply: consuming Reply, byteCountMax: Int,
        isPlus: Bool
    ) {
        let reply = ReplyBox(reply)
        withUnsafeTemporaryAllocation(byteCount: byteCountMax, alignment: 8) { buffer in
            var used = 0
            for item in entries {
                var entry = fuse_entry_param()
                entry.attr.st_ino = UInt(item.inode)
                // 0 is DT_UNKNOWN: who needs it asks.
                entry.attr.st_mode = item.kind?.typeBits ?? 0
                let status = isPlus ? fileSystem.statusForListing(item, in: handle) : nil
                if let status { entry = self.entry(status, item.name) }
                let rest = byteCountMax - used
                let start = buffer.baseAddress!.advanced(by: used).assumingMemoryBound(to: CChar.self)
                let needed = KernelName.withBytes(of: item.name) { name, _ in
                    isPlus
                        ? fuse_add_direntry_plus(reply.request, start, rest, name, &entry, off_t(item.nextPosition))
                        : fuse_add_direntry(reply.request, start, rest, name, &entry.attr, off_t(item.nextPosition))
                }
                if needed > rest {
                    if let status { fileSystem.forget(status.number, count: 1) }
                    break
                }
                used += needed
            }
            reply.take().bytes(UnsafeRawBufferPointer(start: buffer.baseAddress, count: used))
        }
    }

    // MARK: Reading

    func read(_ request: fuse_req_t, _ number: UInt64, _ handle: FileHandle, offset: Int, count: Int) {
        // A miss is answered by whoever completes it, maybe before `read` returns: so its reply is parked when the first
        // completion comes or the call has returned, whichever is first.
        let pending = PendingRead()
        let outcome = fileSystem.read(handle, offset: offset, count: count) { result in
            pending.complete(result) { token in self.finishRead(token, number, result) }
        }
        switch outcome {
        case .ready(let data): Reply(request).data(data)
        case .failed(let error):
            report(error, "read", number, nil)
            Reply(request).error(error.code)
        case .parked(let ticket):
            let token = parked.park(request)
            parked.onKill(token) { ticket.abandon() }
            pending.park(token) { result in self.finishRead(token, number, result) }
        }
    }

    private func finishRead(_ token: UInt, _ number: UInt64, _ result: Result<ReadData, FileSystemError>) {
        switch result {
        case .success(let data): parked.answer(token) { $0.data(data) }
        case .failure(let error):
            let wasAnswered = parked.answer(token) { $0.error(error.code) }
            if wasAnswered { report(error, "read", number, nil) }
        }
    }

    // MARK: Logging

    /// One line for a failure that has a cause below; "no such file" and the like are answers, not failures.
    func report(_ error: FileSystemError, _ operation: StaticString, _ number: UInt64, _ name: String?) {
        guard let cause = error.cause, error.kind != .notFound, error.kind != .interrupted else { return }
        let path = fileSystem.path(number) + (name.map { "/\($0)" } ?? "")
        log.error("\(operation) '\(path)': \(String(cString: strerror(error.code))): \(cause)")
    }
}

/// Lets whichever comes first, the completion or the parking, leave the rest to the other.
private final class PendingRead: Sendable {
    private enum State {
        case open
        case completed(Result<ReadData, FileSystemError>)
        case parked(UInt)
    }

    private let state = Lock(State.open)

    func complete(_ result: Result<ReadData, FileSystemError>, _ finish: (UInt) -> Void) {
        let token: UInt? = state.withLock { state in
            if case .parked(let token) = state { return token }
            state = .completed(result)
            return nil
        }
        if let token { finish(token) }
    }

    func park(_ token: UInt, _ finish: (Result<ReadData, FileSystemError>) -> Void) {
        let result: Result<ReadData, FileSystemError>? = state.withLock { state in
            if case .completed(let result) = state { return result }
            state = .parked(token)
            return nil
        }
        if let result { finish(result) }
    }
}

/// Carries a reply into a closure that the compiler cannot see to run exactly once.
private final class ReplyBox {
    private var reply: Reply?
    let request: fuse_req_t

    init(_ reply: consuming Reply) {
        request = reply.pointer
        self.reply = consume reply
    }

    func take() -> Reply { reply.take()! }
}

extension timespec {
    init(_ time: Timestamp) {
        self.init(tv_sec: Int(time.seconds), tv_nsec: Int(time.nanoseconds))
    }
}
