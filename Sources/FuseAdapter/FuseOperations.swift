// The kernel's requests, translated. Nothing here decides; everything that does is in FileSystem.

internal import Base
internal import CFuse
internal import FileSystem
internal import Glibc

/// `fuse_lowlevel_ops` ↔ `FileSystem`.
///
/// SAFETY, for all callbacks: libfuse passes a live request, NUL-terminated names and a live `fuse_file_info` that are
/// valid until the callback returns; names are copied into `String`s at once. `fi.fh` holds a retained `FileHandle` or
/// `DirectoryHandle` from the reply of open until release, which comes exactly once.
enum FuseOperations {
    static let table: fuse_lowlevel_ops = {
        var table = fuse_lowlevel_ops()
        table.`init` = { data, connection in configure(connection!) }
        addNames(&table)
        addAttributes(&table)
        addFiles(&table)
        addDirectories(&table)
        addExtendedAttributes(&table)
        addRanges(&table)
        return table
    }()

    /// What is negotiated at INIT.
    private static func configure(_ connection: UnsafeMutablePointer<fuse_conn_info>) {
        connection.pointee.max_write = 1 << 20
        connection.pointee.max_read = 1 << 20
        connection.pointee.max_readahead = 8 << 20
        connection.pointee.max_background = 128
        connection.pointee.congestion_threshold = 96
        let wanted =
            UInt32(FUSE_CAP_ASYNC_READ) | UInt32(FUSE_CAP_PARALLEL_DIROPS) | UInt32(FUSE_CAP_READDIRPLUS)
            | UInt32(FUSE_CAP_READDIRPLUS_AUTO) | UInt32(FUSE_CAP_ASYNC_DIO)
            | UInt32(FUSE_CAP_EXPIRE_ONLY)
        // A node's data never changes behind the kernel's back (another version is another node), so changed times or
        // sizes are no reason to drop pages.
        let refused =
            UInt32(FUSE_CAP_AUTO_INVAL_DATA) | UInt32(FUSE_CAP_ATOMIC_O_TRUNC) | UInt32(FUSE_CAP_WRITEBACK_CACHE)
            | UInt32(FUSE_CAP_POSIX_ACL)
        connection.pointee.want |= wanted & connection.pointee.capable
        connection.pointee.want &= ~refused
    }

    // MARK: Answering

    /// Answers now, or parks the reply and answers from a task.
    /// - Parameter undo: what to do when the kernel did not take the value (the request was killed).
    static func respond<Value: Sendable>(
        _ request: fuse_req_t, _ operation: StaticString, _ number: UInt64, name: String? = nil,
        _ answer: Answer<Value>, undo: (@Sendable (FuseSession, Value) -> Void)? = nil,
        send: @escaping @Sendable (FuseSession, consuming Reply, Value) -> Void
    ) {
        let session = FuseSession.of(request)
        switch answer {
        case .ready(let value): send(session, Reply(request), value)
        case .failed(let error):
            session.report(error, operation, number, name)
            Reply(request).error(error.code)
        case .later(let work):
            let token = session.parked.park(request)
            Task {
                do throws(FileSystemError) {
                    let value = try await work()
                    if !session.parked.answer(token, { send(session, $0, value) }) { undo?(session, value) }
                } catch {
                    session.report(error, operation, number, name)
                    session.parked.answer(token) { $0.error(error.code) }
                }
            }
        }
    }

    static func respondDone(
        _ request: fuse_req_t, _ operation: StaticString, _ number: UInt64, name: String? = nil, _ answer: Answer<Void>
    ) {
        respond(request, operation, number, name: name, answer) { _, reply, _ in reply.done() }
    }

    /// Answers with an entry; the kernel then holds a reference, which is taken back when it did not take the answer.
    static func respondEntry(
        _ request: fuse_req_t, _ operation: StaticString, _ number: UInt64, name: String, _ answer: Answer<FileStatus>
    ) {
        respond(
            request, operation, number, name: name, answer,
            undo: { session, status in session.fileSystem.forget(status.number, count: 1) },
            send: { session, reply, status in
                if !reply.entry(session.entry(status, name)) { session.fileSystem.forget(status.number, count: 1) }
            })
    }

    // MARK: Names

    private static func addNames(_ table: inout fuse_lowlevel_ops) {
        table.lookup = { request, parent, name in
            let name = FuseOperations.text(name!)
            let session = FuseSession.of(request!)
            let answer = session.fileSystem.lookup(parent: parent, name: name)
            if case .failed(let error) = answer, error.kind == .notFound {
                // The kernel remembers absent names for as long as present ones.
                session.replyAbsent(Reply(request!), name)
                return
            }
            FuseOperations.respondEntry(request!, "lookup", parent, name: name, answer)
        }
        table.forget = { request, number, count in
            FuseSession.of(request!).fileSystem.forget(number, count: count)
            Reply(request!).none()
        }
        table.forget_multi = { request, count, items in
            let fileSystem = FuseSession.of(request!).fileSystem
            for index in 0..<count { fileSystem.forget(items![index].ino, count: items![index].nlookup) }
            Reply(request!).none()
        }
        table.mkdir = { request, parent, name, mode in
            let name = FuseOperations.text(name!)
            let context = fuse_req_ctx(request!).pointee
            FuseOperations.respondEntry(
                request!, "mkdir", parent, name: name,
                FuseSession.of(request!).fileSystem.makeDirectory(
                    parent: parent, name: name, permissions: mode, uid: context.uid, gid: context.gid))
        }
        table.symlink = { request, target, parent, name in
            let name = FuseOperations.text(name!)
            let context = fuse_req_ctx(request!).pointee
            FuseOperations.respondEntry(
                request!, "symlink", parent, name: name,
                FuseSession.of(request!).fileSystem.makeSymlink(
                    parent: parent, name: name, target: FuseOperations.text(target!), uid: context.uid, gid: context.gid
                ))
        }
        table.readlink = { request, number in
            FuseOperations.respond(
                request!, "readlink", number, FuseSession.of(request!).fileSystem.readSymlink(number)
            ) {
                _, reply, target in reply.text(target)
            }
        }
        table.link = { request, _, _, _ in Reply(request!).error(EPERM) }
        table.mknod = { request, parent, name, mode, device in
            let name = FuseOperations.text(name!)
            let context = fuse_req_ctx(request!).pointee
            let session = FuseSession.of(request!)
            switch FileKind(typeBits: mode) {
            case .file: break
            case .fifo?, .socket?, .characterDevice?, .blockDevice?:
                FuseOperations.respondEntry(
                    request!, "mknod", parent, name: name,
                    session.fileSystem.makeNode(
                        FileKind(typeBits: mode)!, parent: parent, name: name, permissions: mode, uid: context.uid,
                        gid: context.gid, device: UInt32(truncatingIfNeeded: device)))
                return
            case .directory?, .symlink?, nil:
                Reply(request!).error(EINVAL)
                return
            }
            // NFS servers and some tools make regular files this way.
            FuseOperations.respond(
                request!, "mknod", parent, name: name,
                session.fileSystem.create(
                    parent: parent, name: name, permissions: mode, uid: context.uid, gid: context.gid, mayWrite: true),
                undo: { session, made in
                    session.fileSystem.release(made.1)
                    session.fileSystem.forget(made.0.number, count: 1)
                },
                send: { session, reply, made in
                    session.fileSystem.release(made.1)
                    if !reply.entry(session.entry(made.0, name)) { session.fileSystem.forget(made.0.number, count: 1) }
                })
        }
        table.unlink = { request, parent, name in
            let name = FuseOperations.text(name!)
            FuseOperations.respondDone(
                request!, "unlink", parent, name: name,
                FuseSession.of(request!).fileSystem.unlink(parent: parent, name: name))
        }
        table.rmdir = { request, parent, name in
            let name = FuseOperations.text(name!)
            FuseOperations.respondDone(
                request!, "rmdir", parent, name: name,
                FuseSession.of(request!).fileSystem.removeDirectory(parent: parent, name: name))
        }
        table.rename = { request, parent, name, toParent, toName, flags in
            // RENAME_NOREPLACE is 1 (<linux/fs.h>); the others cannot be kept over S3.
            guard flags & ~1 == 0 else {
                Reply(request!).error(EINVAL)
                return
            }
            let name = FuseOperations.text(name!)
            FuseOperations.respondDone(
                request!, "rename", parent, name: name,
                FuseSession.of(request!).fileSystem.rename(
                    parent: parent, name: name, toParent: toParent, toName: FuseOperations.text(toName!),
                    mustBeNew: flags & 1 != 0))
        }
    }

    // MARK: Attributes

    private static func addAttributes(_ table: inout fuse_lowlevel_ops) {
        table.getattr = { request, number, _ in
            FuseOperations.respond(request!, "getattr", number, FuseSession.of(request!).fileSystem.status(number)) {
                session, reply, status in
                reply.attributes(session.attributes(status), validSeconds: session.options.validSeconds)
            }
        }
        table.setattr = { request, number, attributes, mask, info in
            let handle = info.map { FuseSession.fileHandle($0) }
            var changes = FuseOperations.changes(attributes!.pointee, mask: mask)
            let caller = fuse_req_ctx(request!).pointee.uid
            // A change of nothing is what the kernel leaves of chown(path, -1, -1), whoever makes it.
            let isChownToNeither = mask == 0 && FuseSession.of(request!).fileSystem.isOwner(caller, of: number)
            changes.endsPrivileges =
                changes.uid != nil || changes.gid != nil || isChownToNeither
                || changes.byteCount != nil && FuseOperations.writesEndPrivileges(request!)
            FuseOperations.respond(
                request!, "setattr", number,
                FuseSession.of(request!).fileSystem.setAttributes(number, handle: handle, changes)
            ) { session, reply, status in
                reply.attributes(session.attributes(status), validSeconds: session.options.validSeconds)
            }
        }
        table.statfs = { request, _ in
            let session = FuseSession.of(request!)
            let blockBytes = 1 << 20
            let blocks = UInt(session.fileSystem.capacityBytes / blockBytes)
            var value = pail_statvfs()
            value.f_bsize = UInt(blockBytes)
            value.f_frsize = UInt(blockBytes)
            value.f_blocks = blocks
            value.f_bfree = blocks
            value.f_bavail = blocks
            value.f_files = 1 << 40
            value.f_ffree = 1 << 40
            value.f_favail = 1 << 40
            value.f_namemax = UInt(FileName.byteCountMax)
            Reply(request!).statistics(value)
        }
    }

    /// Whether a change of a file's bytes takes its set-user-ID bit: not if root makes it, who has CAP_FSETID.
    static func writesEndPrivileges(_ request: fuse_req_t) -> Bool {
        fuse_req_ctx(request).pointee.uid != 0
    }

    private static func changes(_ attributes: stat, mask: Int32) -> AttributeChanges {
        var changes = AttributeChanges()
        func has(_ bit: Int32) -> Bool { mask & bit != 0 }
        var now = timespec()
        clock_gettime(CLOCK_REALTIME, &now)
        if has(FUSE_SET_ATTR_SIZE) { changes.byteCount = Int(attributes.st_size) }
        if has(FUSE_SET_ATTR_MODE) { changes.permissions = attributes.st_mode & 0o7777 }
        if has(FUSE_SET_ATTR_UID) { changes.uid = attributes.st_uid }
        if has(FUSE_SET_ATTR_GID) { changes.gid = attributes.st_gid }
        if has(FUSE_SET_ATTR_ATIME) { changes.accessed = Timestamp(attributes.st_atim) }
        if has(FUSE_SET_ATTR_ATIME_NOW) { changes.accessed = Timestamp(now) }
        if has(FUSE_SET_ATTR_MTIME) { changes.modified = Timestamp(attributes.st_mtim) }
        if has(FUSE_SET_ATTR_MTIME_NOW) { changes.modified = Timestamp(now) }
        if has(FUSE_SET_ATTR_CTIME) { changes.changed = Timestamp(attributes.st_ctim) }
        return changes
    }

    // MARK: Files

    private static func addFiles(_ table: inout fuse_lowlevel_ops) {
        table.open = { request, number, info in
            let info = info!.pointee
            FuseOperations.respond(
                request!, "open", number,
                FuseSession.of(request!).fileSystem.open(
                    number, mayWrite: info.flags & O_ACCMODE != O_RDONLY,
                    mustAsk: info.flags & FuseSession.directFlag != 0),
                undo: { session, handle in session.fileSystem.release(handle) },
                send: { session, reply, handle in
                    let opened = session.opened(handle, flags: info.flags)
                    if !reply.open(opened) { session.release(opened.fh) }
                })
        }
        table.create = { request, parent, name, mode, info in
            let name = FuseOperations.text(name!)
            let context = fuse_req_ctx(request!).pointee
            let flags = info!.pointee.flags
            FuseOperations.respond(
                request!, "create", parent, name: name,
                FuseSession.of(request!).fileSystem.create(
                    parent: parent, name: name, permissions: mode, uid: context.uid, gid: context.gid,
                    mayWrite: flags & O_ACCMODE != O_RDONLY),
                undo: { session, made in
                    session.fileSystem.release(made.1)
                    session.fileSystem.forget(made.0.number, count: 1)
                },
                send: { session, reply, made in
                    let opened = session.opened(made.1, flags: flags)
                    if !reply.create(session.entry(made.0, name), opened) {
                        session.release(opened.fh)
                        session.fileSystem.forget(made.0.number, count: 1)
                    }
                })
        }
        table.read = { request, number, size, offset, info in
            let session = FuseSession.of(request!)
            session.read(request!, number, FuseSession.fileHandle(info!), offset: Int(offset), count: size)
        }
        table.write = { request, number, buffer, size, offset, info in
            FuseOperations.respond(
                request!, "write", number,
                FuseSession.of(request!).fileSystem.write(
                    FuseSession.fileHandle(info!), offset: Int(offset),
                    bytes: UnsafeRawBufferPointer(start: buffer, count: size),
                    endsPrivileges: FuseOperations.writesEndPrivileges(request!))
            ) { _, reply, count in reply.written(count) }
        }
        table.flush = { request, number, info in
            FuseOperations.respondDone(
                request!, "close", number, FuseSession.of(request!).fileSystem.flush(FuseSession.fileHandle(info!)))
        }
        table.fsync = { request, number, _, info in
            FuseOperations.respondDone(
                request!, "fsync", number,
                FuseSession.of(request!).fileSystem.synchronise(FuseSession.fileHandle(info!)))
        }
        table.release = { request, _, info in
            let session = FuseSession.of(request!)
            session.release(info!.pointee.fh)
            Reply(request!).done()
        }
    }

    // MARK: Directories

    private static func addDirectories(_ table: inout fuse_lowlevel_ops) {
        table.opendir = { request, number, info in
            let info = info!.pointee
            FuseOperations.respond(
                request!, "opendir", number, FuseSession.of(request!).fileSystem.openDirectory(number)
            ) {
                session, reply, handle in
                var opened = info
                opened.fh = session.retained(handle)
                if !reply.open(opened) { FuseSession.releaseDirectory(opened.fh) }
            }
        }
        table.readdir = { request, number, size, offset, info in
            let handle = FuseSession.directoryHandle(info!)
            FuseOperations.respond(
                request!, "readdir", number,
                FuseSession.of(request!).fileSystem.entries(
                    handle, from: Int(offset), countMax: max(2, size / FuseSession.entryBytesMin))
            ) { session, reply, entries in
                session.sendEntries(entries, handle, reply: reply, byteCountMax: size, isPlus: false)
            }
        }
        table.readdirplus = { request, number, size, offset, info in
            let handle = FuseSession.directoryHandle(info!)
            FuseOperations.respond(
                request!, "readdir", number,
                FuseSession.of(request!).fileSystem.entries(
                    handle, from: Int(offset), countMax: max(2, size / FuseSession.plusEntryBytesMin))
            ) { session, reply, entries in
                session.sendEntries(entries, handle, reply: reply, byteCountMax: size, isPlus: true)
            }
        }
        table.releasedir = { request, _, info in
            FuseSession.releaseDirectory(info!.pointee.fh)
            Reply(request!).done()
        }
        table.fsyncdir = { request, number, _, _ in
            FuseOperations.respondDone(
                request!, "fsync", number, FuseSession.of(request!).fileSystem.synchroniseDirectory(number))
        }
    }
}

extension Timestamp {
    init(_ time: timespec) {
        self.init(seconds: Int64(time.tv_sec), nanoseconds: Int32(time.tv_nsec))
    }
}
