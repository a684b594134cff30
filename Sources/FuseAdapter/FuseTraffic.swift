// What goes over the FUSE device, seen where it is read and written: counts, latencies, who asks, and what waits.
//
// It sits below libfuse (`fuse_session_custom_io`), so that no operation can forget to be counted. All of it is fixed arrays of
// atomics: a request costs two clock readings and a dozen atomic operations, no lock and no allocation.

public import Base
internal import Glibc
internal import Synchronization

/// The requests of one mount. Thread-safe.
public final class FuseTraffic: @unchecked Sendable {
    /// A request that has not been answered.
    public struct Waiting: Sendable, Equatable {
        /// `read`, `lookup`, …
        public var operation: String
        public var number: UInt64
        /// The thread that waits for it.
        public var threadID: Int32
        public var nanoseconds: UInt64
    }

    /// One operation's figures.
    public struct Figures: Sendable, Equatable {
        public var operation: String
        /// Answered with an error. ENOENT of a lookup is an answer and counts too.
        public var errorCount: UInt64
        public var latency: LatencyTable.Histogram
    }

    /// A request under way. `unique` is 0 while the slot is free, and is set first and cleared last.
    private struct Slot: ~Copyable {
        let unique = Atomic<UInt64>(0)
        let start = Atomic<UInt64>(0)
        let number = Atomic<UInt64>(0)
        /// Operation code and thread: `opcode << 32 | thread`.
        let origin = Atomic<UInt64>(0)
    }

    private struct Caller: ~Copyable {
        /// 0 while free.
        let threadID = Atomic<Int32>(0)
        let count = Atomic<UInt64>(0)
    }

    /// More than max_background and the worker count can have under way.
    private static let slotCount = 4096
    private static let callerCount = 1024
    /// Places that are tried for one request or caller.
    private static let probeCount = 8
    static let operationCount = FuseOpcode.names.count

    private let latencies = LatencyTable(kindCount: FuseTraffic.operationCount)
    // SAFETY of these: allocated and initialised in init for the life of the object; every field is atomic.
    private let errors: UnsafeMutablePointer<Atomic<UInt64>>
    private let slots: UnsafeMutablePointer<Slot>
    private let callers: UnsafeMutablePointer<Caller>
    private let time: any TimeSource
    /// Told of each answered request while `isTracing`: operation, node, thread, errno, nanoseconds.
    private let onAnswer = Listener<(String, UInt64, Int32, Int32, UInt64)>()
    private let isTracing: @Sendable () -> Bool

    /// - Parameter isTracing: whether each request is to be told to what `trace` sets; asked for each one, so cheap.
    public init(time: any TimeSource, isTracing: @escaping @Sendable () -> Bool = { false }) {
        self.time = time
        self.isTracing = isTracing
        errors = .allocate(capacity: Self.operationCount)
        for index in 0..<Self.operationCount { (errors + index).initialize(to: Atomic(0)) }
        slots = .allocate(capacity: Self.slotCount)
        for index in 0..<Self.slotCount { (slots + index).initialize(to: Slot()) }
        callers = .allocate(capacity: Self.callerCount)
        for index in 0..<Self.callerCount { (callers + index).initialize(to: Caller()) }
    }

    deinit {
        errors.deinitialize(count: Self.operationCount)
        errors.deallocate()
        slots.deinitialize(count: Self.slotCount)
        slots.deallocate()
        callers.deinitialize(count: Self.callerCount)
        callers.deallocate()
    }

    /// Sets who is told of requests while tracing.
    func trace(_ onAnswer: @escaping @Sendable (String, UInt64, Int32, Int32, UInt64) -> Void) {
        self.onAnswer.set { onAnswer($0.0, $0.1, $0.2, $0.3, $0.4) }
    }

    // MARK: The hot path

    /// A request was read from the device. `message` begins with its `struct fuse_in_header` (<linux/fuse.h>).
    func received(_ message: UnsafeRawBufferPointer) {
        guard message.count >= 40 else { return }
        let opcode = message.loadUnaligned(fromByteOffset: 4, as: UInt32.self)
        let unique = message.loadUnaligned(fromByteOffset: 8, as: UInt64.self)
        let number = message.loadUnaligned(fromByteOffset: 16, as: UInt64.self)
        let threadID = message.loadUnaligned(fromByteOffset: 32, as: Int32.self)
        guard Int(opcode) < Self.operationCount, !FuseOpcode.isUnanswered(opcode) else { return }
        if threadID > 0 { count(threadID) }
        for probe in 0..<Self.probeCount {
            let slot = slots + Self.index(unique, probe)
            guard slot.pointee.unique.compareExchange(expected: 0, desired: unique, ordering: .relaxed).exchanged
            else { continue }
            slot.pointee.number.store(number, ordering: .relaxed)
            slot.pointee.origin.store(UInt64(opcode) << 32 | UInt64(UInt32(bitPattern: threadID)), ordering: .relaxed)
            slot.pointee.start.store(time.monotonicNanoseconds, ordering: .releasing)
            return
        }
    }

    /// An answer is about to be written to the device. `message` begins with its `struct fuse_out_header`.
    /// Returns the operation that it answers; nil when that is not known.
    @discardableResult
    func answered(_ message: UnsafeRawBufferPointer) -> UInt32? {
        guard message.count >= 16 else { return nil }
        let error = message.loadUnaligned(fromByteOffset: 4, as: Int32.self)
        let unique = message.loadUnaligned(fromByteOffset: 8, as: UInt64.self)
        // A notification to the kernel answers nobody.
        guard unique != 0 else { return nil }
        for probe in 0..<Self.probeCount {
            let slot = slots + Self.index(unique, probe)
            guard slot.pointee.unique.load(ordering: .acquiring) == unique else { continue }
            let nanoseconds = time.monotonicNanoseconds &- slot.pointee.start.load(ordering: .relaxed)
            let origin = slot.pointee.origin.load(ordering: .relaxed)
            let number = slot.pointee.number.load(ordering: .relaxed)
            slot.pointee.start.store(0, ordering: .relaxed)
            slot.pointee.unique.store(0, ordering: .releasing)
            let operation = Int(origin >> 32)
            latencies.record(kind: operation, nanoseconds: nanoseconds)
            if error != 0 { errors[operation].add(1, ordering: .relaxed) }
            if isTracing() {
                let threadID = Int32(truncatingIfNeeded: origin)
                onAnswer.tell((FuseOpcode.names[operation], number, threadID, -error, nanoseconds))
            }
            return UInt32(operation)
        }
        return nil
    }

    private func count(_ threadID: Int32) {
        var least: UnsafeMutablePointer<Caller>?
        for probe in 0..<Self.probeCount {
            let caller = callers + (Int(threadID) &* 0x9e37 &+ probe) & (Self.callerCount - 1)
            let found = caller.pointee.threadID.load(ordering: .relaxed)
            if found == threadID
                || (found == 0
                    && caller.pointee.threadID.compareExchange(expected: 0, desired: threadID, ordering: .relaxed)
                        .exchanged)
            {
                caller.pointee.count.add(1, ordering: .relaxed)
                return
            }
            let count = caller.pointee.count.load(ordering: .relaxed)
            if least.map({ count < $0.pointee.count.load(ordering: .relaxed) }) ?? true { least = caller }
        }
        // No room: the one that asked least makes place. Its count goes with it; these are figures for a person's eyes.
        least?.pointee.threadID.store(threadID, ordering: .relaxed)
        least?.pointee.count.store(1, ordering: .relaxed)
    }

    private static func index(_ unique: UInt64, _ probe: Int) -> Int {
        // Numbers of requests are even, and those that are sent again have the highest bit set.
        Int(truncatingIfNeeded: (unique >> 1) &+ UInt64(probe)) & (slotCount - 1)
    }

    // MARK: Reading it

    /// The figures of all operations that were asked for, by name.
    public var figures: [Figures] {
        (0..<Self.operationCount).compactMap { operation in
            let latency = latencies.histogram(kind: operation)
            guard latency.count > 0 else { return nil }
            return Figures(
                operation: FuseOpcode.names[operation], errorCount: errors[operation].load(ordering: .relaxed),
                latency: latency)
        }.sorted { $0.operation < $1.operation }
    }

    /// The requests under way, the longest waiting first.
    public func waiting() -> [Waiting] {
        let now = time.monotonicNanoseconds
        return (0..<Self.slotCount).compactMap { index in
            let slot = slots + index
            let start = slot.pointee.start.load(ordering: .acquiring)
            guard start != 0, slot.pointee.unique.load(ordering: .relaxed) != 0 else { return nil }
            let origin = slot.pointee.origin.load(ordering: .relaxed)
            return Waiting(
                operation: FuseOpcode.names[Int(origin >> 32)], number: slot.pointee.number.load(ordering: .relaxed),
                threadID: Int32(truncatingIfNeeded: origin), nanoseconds: now &- min(now, start))
        }.sorted { $0.nanoseconds > $1.nanoseconds }
    }

    /// Requests by the thread that made them, the most first.
    public func callerCounts() -> [(threadID: Int32, count: UInt64)] {
        (0..<Self.callerCount).compactMap { index in
            let caller = callers + index
            let threadID = caller.pointee.threadID.load(ordering: .relaxed)
            return threadID == 0 ? nil : (threadID, caller.pointee.count.load(ordering: .relaxed))
        }.sorted { $0.count > $1.count }
    }
}

/// Operation codes of <linux/fuse.h>.
enum FuseOpcode {
    /// By code.
    static let names: [String] = [
        "none", "lookup", "forget", "getattr", "setattr", "readlink", "symlink", "7", "mknod", "mkdir", "unlink",
        "rmdir", "rename", "link", "open", "read", "write", "statfs", "release", "19", "fsync", "setxattr", "getxattr",
        "listxattr", "removexattr", "flush", "init", "opendir", "readdir", "releasedir", "fsyncdir", "getlk", "setlk",
        "setlkw", "access", "create", "interrupt", "bmap", "destroy", "ioctl", "poll", "notify_reply", "batch_forget",
        "fallocate", "readdirplus", "rename2", "lseek", "copy_file_range", "setupmapping", "removemapping", "syncfs",
        "tmpfile", "statx",
    ]

    /// Of a request, which begins with its `struct fuse_in_header`; 0, which is none, when it is too short for that.
    static func of(_ message: UnsafeRawBufferPointer) -> UInt32 {
        message.count >= 8 ? message.loadUnaligned(fromByteOffset: 4, as: UInt32.self) : 0
    }

    /// Where the body of a request has the number of a second node: LINK, RENAME, RENAME2, COPY_FILE_RANGE.
    static func otherNodeOffset(_ code: UInt32) -> Int? {
        switch code {
        case 12, 13, 45: 0
        case 47: 16
        default: nil
        }
    }

    /// Where the body of RMDIR, RENAME and RENAME2 has the name that goes.
    static func movedNameOffset(_ code: UInt32) -> Int? {
        switch code {
        case 11: 0
        case 12: 8
        case 45: 16
        default: nil
        }
    }

    /// FORGET, INTERRUPT, DESTROY, NOTIFY_REPLY and BATCH_FORGET have no answer that could be waited for.
    static func isUnanswered(_ code: UInt32) -> Bool { [2, 36, 38, 41, 42].contains(code) }
}
