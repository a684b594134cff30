// The work of `pail warm`: one thread walks, others read what it finds.

internal import Base
internal import CLinux
internal import Glibc

/// Reads trees on threads of its own. `wait` and `outcome` are for one thread.
final class WarmJob: Sendable {
    struct State: Sendable {
        var bytesDone = 0
        var bytesTotal = 0
        var filesLeft = 0
    }

    struct Failure: Sendable {
        let path: String
        let reason: String
    }

    struct Outcome: Sendable {
        var filesDone = 0
        var bytesDone = 0
        /// At most `failuresMax` of them.
        var failures: [Failure] = []
        var failureCount = 0
        /// What did not fit into the cache.
        var leftOutFiles = 0
        var leftOutBytes = 0
        /// What was read and is not in the cache all the same: its disk was full, or too slow.
        var lostFiles = 0
        var lostBytes = 0
    }

    private struct Work: Sendable {
        var queue: [(path: String, byteCount: Int)] = []
        var next = 0
        var isWalking = true
        var plannedBytes = 0
        var plannedFiles = 0
        var readerCount = 0
        var outcome = Outcome()
    }

    private static let failuresMax = 1000
    private static let bufferBytes = 1 << 20
    /// Files found and not read yet, beyond which the walk waits.
    private static let queuedMax = 100_000

    private let limitBytes: Int
    private let mustBeKept: Bool
    private let work = Lock(Work())

    /// - Parameters:
    ///   - limitBytes: no more is read than so much.
    ///   - mustBeKept: whether the cache keeps what was read, on its disk, so that it can be seen whether it has.
    init(limitBytes: Int, mustBeKept: Bool) {
        self.limitBytes = limitBytes
        self.mustBeKept = mustBeKept
    }

    func start(paths: [String], jobCount: Int) {
        work.withLock { $0.readerCount = jobCount }
        NamedThread.start("pail-walk") { [self] in
            for path in paths { walk(path) }
            work.withLock { $0.isWalking = false }
        }
        for _ in 0..<jobCount { NamedThread.start("pail-warm") { [self] in readAll() } }
    }

    /// How far it is, after a while; nil when it is done.
    func wait(milliseconds: UInt32) -> State? {
        usleep(milliseconds * 1000)
        return work.withLock { work in
            if !work.isWalking, work.readerCount == 0 { return nil }
            let done = work.outcome.filesDone + work.outcome.failureCount
            return State(
                bytesDone: work.outcome.bytesDone, bytesTotal: work.plannedBytes,
                filesLeft: max(0, work.plannedFiles - done))
        }
    }

    var outcome: Outcome { work.withLock { $0.outcome } }

    // MARK: Walking

    private func walk(_ top: String) {
        // Not recursively: trees may be deep. Directories wait in order of their finding.
        var directories: [String] = []
        visit(top, followsLinks: true, &directories)
        while let directory = directories.popLast() {
            guard let stream = opendir(directory) else {
                fail(directory, errno)
                continue
            }
            var names: [String] = []
            errno = 0
            while let entry = readdir(stream) {
                let name = withUnsafePointer(to: &entry.pointee.d_name) {
                    // SAFETY: d_name is NUL-terminated and lives until the next readdir of this stream.
                    $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
                }
                if name != ".", name != ".." { names.append(name) }
                errno = 0
            }
            if errno != 0 { fail(directory, errno) }
            closedir(stream)
            for name in names { visit("\(directory)/\(name)", followsLinks: false, &directories) }
        }
    }

    private func visit(_ path: String, followsLinks: Bool, _ directories: inout [String]) {
        var status = Glibc.stat()
        guard (followsLinks ? stat(path, &status) : lstat(path, &status)) == 0 else { return fail(path, errno) }
        switch status.st_mode & S_IFMT {
        case S_IFDIR: directories.append(path)
        case S_IFREG: plan(path, Int(status.st_size))
        default: break
        }
    }

    private func plan(_ path: String, _ byteCount: Int) {
        while work.withLock({ $0.queue.count - $0.next > Self.queuedMax }) { usleep(10_000) }
        work.withLock { work in
            guard work.plannedBytes + byteCount <= limitBytes else {
                work.outcome.leftOutFiles += 1
                work.outcome.leftOutBytes += byteCount
                return
            }
            work.plannedBytes += byteCount
            work.plannedFiles += 1
            work.queue.append((path, byteCount))
        }
    }

    private func fail(_ path: String, _ code: Int32) {
        let reason = String(cString: strerror(code))
        work.withLock { work in
            work.outcome.failureCount += 1
            if work.outcome.failures.count < Self.failuresMax {
                work.outcome.failures.append(Failure(path: path, reason: reason))
            }
        }
    }

    // MARK: Reading

    private func readAll() {
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: Self.bufferBytes, alignment: 4096)
        defer {
            buffer.deallocate()
            work.withLock { $0.readerCount -= 1 }
        }
        while true {
            let (path, isOver) = work.withLock { work -> (String?, Bool) in
                guard work.next < work.queue.count else { return (nil, !work.isWalking) }
                defer { work.next += 1 }
                return (work.queue[work.next].path, false)
            }
            if let path {
                read(path, buffer)
            } else if isOver {
                return
            } else {
                usleep(5_000)
            }
        }
    }

    private func read(_ path: String, _ buffer: UnsafeMutableRawBufferPointer) {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return fail(path, errno) }
        defer { close(descriptor) }
        var status = Glibc.stat()
        guard fstat(descriptor, &status) == 0 else { return fail(path, errno) }
        let byteCount = Int(status.st_size)
        // What only the kernel holds would not be read through the mount, and so not be in its cache.
        if mustBeKept, let cached = Self.cachedBytes(descriptor), cached < byteCount {
            _ = posix_fadvise(descriptor, 0, 0, POSIX_FADV_DONTNEED)
        }
        while true {
            let count = Glibc.read(descriptor, buffer.baseAddress, buffer.count)
            if count < 0 {
                if errno == EINTR { continue }
                return fail(path, errno)
            }
            if count == 0 { break }
            work.withLock { $0.outcome.bytesDone += count }
        }
        let missing = mustBeKept ? Self.missingBytes(descriptor, of: byteCount) : 0
        work.withLock { work in
            work.outcome.filesDone += 1
            if missing > 0 {
                work.outcome.lostFiles += 1
                work.outcome.lostBytes += missing
            }
        }
    }

    /// What the mount does not have of a file that was just read: writing to the cache's disk takes a moment.
    private static func missingBytes(_ descriptor: Int32, of byteCount: Int) -> Int {
        for _ in 0..<20 {
            guard let cached = cachedBytes(descriptor), cached < byteCount else { return 0 }
            usleep(100_000)
        }
        return byteCount - (cachedBytes(descriptor) ?? byteCount)
    }

    /// Nil on what is no mount of pail.
    private static func cachedBytes(_ descriptor: Int32) -> Int? {
        var text = [UInt8](repeating: 0, count: 32)
        let count = pail_get_xattr(descriptor, "user.pail.cached-bytes", &text, text.count)
        return count > 0 ? Int(String(decoding: text.prefix(Int(count)), as: UTF8.self)) : nil
    }
}
