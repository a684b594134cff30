// A mount as the kernel knows it: made, served, ended.

public import Base
internal import CFuse
public import FileSystem
internal import Glibc
public import Logging
internal import Synchronization

/// What the kernel is told about a mount.
public struct FuseMountOptions: Sendable {
    public var mountpoint: String
    /// What `mount` and `df` show as the device.
    public var source: String
    public var isReadOnly = false
    public var allowOther = false
    public var allowRoot = false
    /// Further options for the kernel or fusermount3 (`nosuid`, `noexec`, …).
    public var kernelOptions: [String] = []
    /// How long the kernel may believe names and attributes, in seconds.
    public var validSeconds: Double = 60
    /// Threads that serve requests at once; the hot path never waits, so a few are enough.
    public var workerCountMax = 10

    public init(mountpoint: String, source: String) {
        self.mountpoint = mountpoint
        self.source = source
    }
}

/// A mount could not be made.
public struct FuseError: Error, Sendable, CustomStringConvertible {
    public let description: String
}

/// Serves one mount over libfuse's low-level API. Thread-safe.
public final class FuseSession: @unchecked Sendable {
    let fileSystem: FileSystem
    let options: FuseMountOptions
    let log: Logger
    let parked: ParkedReplies
    let traffic: FuseTraffic
    /// SAFETY: set once in `mount`, before any other thread knows this object; libfuse's session functions that are
    /// called here are thread-safe.
    private(set) var session: OpaquePointer!
    private let notifications: NotificationThread
    /// Nil until it is raised, and where it cannot be.
    let readAhead = Lock<KernelReadAhead?>(nil)
    /// What a successor of this process would need; nil where there is none.
    let ledger: HandleLedger?
    /// How many processes served this mount before.
    let generation: UInt64
    /// What the kernel still says to the earlier processes. Set once, before requests are read.
    var earlier: EarlierRequests?
    /// Told of the device once the kernel has begun to use it; and what came first is in the ledger then.
    private let onBegun = Listener<Int32>()
    private let hasBegun = Atomic(false)
    /// Nil where there is no successor.
    let gate: RequestGate?
    let time: any TimeSource
    /// What this process would answer to INIT, where an earlier one has.
    let repeatedAnswer = Lock<[UInt8]>([])

    /// - Parameters:
    ///   - traffic: told of each request and answer.
    ///   - ledger: where open files are noted for a successor of this process.
    ///   - generation: how many processes served this mount before.
    public init(
        fileSystem: FileSystem, options: FuseMountOptions, traffic: FuseTraffic, ledger: HandleLedger? = nil,
        generation: UInt64 = 0, time: any TimeSource, log: Logger
    ) {
        self.traffic = traffic
        self.ledger = ledger
        gate = ledger == nil ? nil : RequestGate()
        self.time = time
        self.generation = generation
        self.fileSystem = fileSystem
        self.options = options
        self.log = log
        parked = ParkedReplies(time: time)
        notifications = NotificationThread()
    }

    /// The session that a request belongs to. The session outlives all its requests.
    static func of(_ request: fuse_req_t) -> FuseSession {
        Unmanaged<FuseSession>.fromOpaque(fuse_req_userdata(request)).takeUnretainedValue()
    }

    /// Makes the mount. Requests are answered once `serve` runs.
    public func mount() throws(FuseError) {
        try make()
        guard fuse_session_mount(session, options.mountpoint) == 0 else {
            let code = errno
            destroy()
            throw FuseError(description: "the kernel refused the mount: \(String(cString: strerror(code)))")
        }
        do throws(FuseError) {
            try watchTraffic(on: fuse_session_fd(session))
        } catch {
            fuse_session_unmount(session)
            destroy()
            throw error
        }
    }

    /// Sets who is told of the device's descriptor once the kernel has begun to use it: a supervisor may keep it.
    public func onBegun(_ action: @escaping @Sendable (Int32) -> Void) {
        onBegun.set(action)
    }

    /// Makes libfuse's session, without a device.
    func make() throws(FuseError) {
        var words = [
            "default_permissions", "fsname=\(Self.escaped(options.source))", "subtype=pail", "max_read=1048576",
        ]
        if options.isReadOnly { words.append("ro") }
        if options.allowOther { words.append("allow_other") }
        if options.allowRoot { words.append("allow_root") }
        words += options.kernelOptions
        var arguments = fuse_args(argc: 0, argv: nil, allocated: 0)
        defer { fuse_opt_free_args(&arguments) }
        for word in ["pail", "-o", words.joined(separator: ",")] where fuse_opt_add_arg(&arguments, word) != 0 {
            throw FuseError(description: "out of memory")
        }
        var operations = FuseOperations.table
        session = fuse_session_new(
            &arguments, &operations, MemoryLayout<fuse_lowlevel_ops>.size, Unmanaged.passUnretained(self).toOpaque())
        guard session != nil else { throw FuseError(description: "libfuse refused the mount options \(words)") }
        let session = SessionPointer(address: self.session)
        fileSystem.onInvalidation { [weak self, notifications] changes in
            notifications.add { [weak self] in
                for change in changes { session.tell(change) { self?.kernelNumber($0) ?? $0 } }
            }
        }
        if let ledger {
            fileSystem.onOpenFilesChanged { [fileSystem] in ledger.refresh { fileSystem.facts(of: $0) } }
        }
    }

    func destroy() {
        fuse_session_destroy(session)
        session = nil
    }

    /// Puts `traffic` between libfuse and the device. What goes through is the same as without, but for the answer to INIT.
    /// The hook is libfuse's for sessions without a device of their own; nothing is spliced: requests are read into memory, and
    /// replies written from it.
    func watchTraffic(on device: Int32) throws(FuseError) {
        // SAFETY of both: `data` is the session's userdata, an unretained FuseSession that outlives its requests; buffers
        // and vectors are libfuse's for the call. errno is that of the last call, as libfuse expects it.
        var io = fuse_custom_io()
        io.read = { descriptor, buffer, count, data in
            let session = Unmanaged<FuseSession>.fromOpaque(data!).takeUnretainedValue()
            while true {
                let got = Glibc.read(descriptor, buffer, count)
                guard got > 0 else { return got }
                let message = UnsafeMutableRawBufferPointer(start: buffer, count: got)
                let opcode = FuseOpcode.of(UnsafeRawBufferPointer(message))
                if let gate = session.gate, !gate.enter(opcode) { RequestGate.hold() }
                if let earlier = session.earlier, !session.mayServe(message, earlier, descriptor) { continue }
                session.noteBegun(UnsafeRawBufferPointer(message), descriptor)
                session.traffic.received(UnsafeRawBufferPointer(message))
                return got
            }
        }
        io.writev = { descriptor, vectors, count, data in
            let session = Unmanaged<FuseSession>.fromOpaque(data!).takeUnretainedValue()
            if session.gate?.isMute == true {
                return (0..<Int(count)).reduce(0) { $0 + vectors![$1].iov_len }
            }
            let opcode = session.traffic.answered(
                UnsafeRawBufferPointer(start: vectors![0].iov_base, count: vectors![0].iov_len))
            if InitAnswer.completeFirst(vectors, count), let ledger = session.ledger {
                let answer = (0..<Int(count)).flatMap { index in
                    Array(UnsafeRawBufferPointer(start: vectors![index].iov_base, count: vectors![index].iov_len))
                }
                // The kernel has had this answer from an earlier process.
                if session.earlier != nil {
                    session.repeatedAnswer.withLock { $0 = answer }
                    return answer.count
                }
                ledger.initAnswer = answer
            }
            guard let gate = session.gate, let opcode else { return Glibc.writev(descriptor, vectors, count) }
            let written = Glibc.writev(descriptor, vectors, count)
            let code = errno
            let error = vectors![0].iov_base.loadUnaligned(fromByteOffset: 4, as: Int32.self)
            gate.leave(opcode, isDone: written >= 0 && error == 0)
            errno = code
            return written
        }
        guard fuse_session_custom_io(session, &io, device) == 0 else {
            throw FuseError(description: "libfuse refused to let its requests be counted")
        }
        traffic.trace { [fileSystem, log] operation, number, threadID, code, nanoseconds in
            let outcome = code == 0 ? "ok" : String(cString: strerror(code))
            let path = fileSystem.path(number)
            log.debug("\(operation) '\(path)' by \(threadID): \(outcome) in \(nanoseconds / 1000) us")
        }
    }

    /// The first request of a mount, INIT, is for the ledger too, and whoever keeps the device.
    private func noteBegun(_ message: UnsafeRawBufferPointer, _ device: Int32) {
        guard let ledger, earlier == nil,
            hasBegun.compareExchange(expected: false, desired: true, ordering: .relaxed).exchanged
        else { return }
        ledger.initRequest = Array(message)
        onBegun.tell(device)
    }

    /// Serves requests until the mount is gone. Blocks: call it on a thread of its own.
    public func serve() {
        let configuration = fuse_loop_cfg_create()
        // A request belongs to the clone it was read from and ends with it: with a successor in mind there is one device.
        fuse_loop_cfg_set_clone_fd(configuration, ledger == nil ? 1 : 0)
        fuse_loop_cfg_set_max_threads(configuration, UInt32(options.workerCountMax))
        fuse_loop_cfg_set_idle_threads(configuration, UInt32(options.workerCountMax))
        let code = fuse_session_loop_mt(session, configuration)
        fuse_loop_cfg_destroy(configuration)
        if code != 0 { log.notice("the FUSE session ended with \(code)") }
        notifications.end()
        // Detaches the mount if it is still there (the session was told to exit), and closes the device.
        fuse_session_unmount(session)
    }

    /// Raises the kernel's read-ahead of this mount, which is 128 KiB by default, where we may (as root).
    public func raiseReadAhead(kibibytes: Int) {
        let raised = KernelReadAhead(mountpoint: options.mountpoint, kibibytes: kibibytes)
        readAhead.withLock { $0 = raised }
    }

    private static func escaped(_ text: String) -> String {
        var result = ""
        for character in text {
            if character == "," || character == "\\" { result.append("\\") }
            result.append(character)
        }
        return result
    }
}

/// SAFETY: libfuse's notify functions may be called from any thread while the session exists.
private struct SessionPointer: @unchecked Sendable {
    let address: OpaquePointer

    /// Tells the kernel what to forget. It answers ENOENT where it knows nothing of it.
    func tell(_ change: KernelInvalidation, _ kernelNumber: (UInt64) -> UInt64) {
        switch change {
        case .node(let number):
            // Offset 0 and length 0: all pages and the attributes.
            _ = fuse_lowlevel_notify_inval_inode(address, kernelNumber(number), 0, 0)
        case .removal(let parent, let name, let node):
            // Tells who watches the directory, too.
            KernelName.withBytes(of: name) { bytes, count in
                _ = fuse_lowlevel_notify_delete(address, kernelNumber(parent), kernelNumber(node), bytes, count)
            }
        case .takeBack(let parent, let name):
            // An entry that is only expired keeps its place, and its node, from Linux 6.2 on.
            KernelName.withBytes(of: name) { bytes, count in
                _ = fuse_lowlevel_notify_inval_entry(address, kernelNumber(parent), bytes, count)
            }
        case .entry(let parent, let name):
            // Expired rather than dropped: a directory that somebody works in keeps its place. Kernels before 6.2 cannot.
            KernelName.withBytes(of: name) { bytes, count in
                if fuse_lowlevel_notify_expire_entry(address, kernelNumber(parent), bytes, count, FUSE_LL_EXPIRE_ONLY)
                    == -ENOSYS
                {
                    _ = fuse_lowlevel_notify_inval_entry(address, kernelNumber(parent), bytes, count)
                }
            }
        }
    }
}
