// The calls by which staging changes the local disk: they are what a full disk refuses, and between which a process may die.

internal import CLinux
internal import Glibc
internal import ObjectModel

/// Creates, writes, cuts, renames and removes the files of staging. Any thread; the calls block for as long as the page
/// cache takes.
public struct StagingDisk: Sendable {
    /// What a call does to the disk.
    package enum Change: String, Sendable { case create, write, truncate, rename, remove, punch }

    /// What stands between staging and the disk in tests. Given the change, how many bytes it writes (1 for others), and
    /// the call, which it makes for all or some of the bytes, or not; returns what the call returned, or -1 with errno set.
    package typealias Between = @Sendable (Change, Int, (Int) -> Int) -> Int

    private let between: Between?

    /// The machine's own disk.
    public init() { between = nil }

    package init(between: @escaping Between) { self.between = between }

    /// A disk that takes no more than `room` grants, of so many bytes.
    package init(room: @escaping @Sendable (Int) -> Int) {
        self.init { change, count, call in
            let granted =
                switch change {
                case .create, .write: room(count)
                case .truncate, .rename, .remove, .punch: count
                }
            guard granted > 0 else {
                errno = ENOSPC
                return -1
            }
            return call(granted)
        }
    }

    private func make(_ change: Change, _ count: Int = 1, _ call: (Int) -> Int) -> Int {
        if let between { between(change, count, call) } else { call(count) }
    }

    /// Opens a file that may have to be created, mode 0600.
    /// - Parameter flags: of open(2); O_CREAT and O_CLOEXEC are added.
    func create(_ path: String, _ flags: Int32, _ action: String) throws(StagingError) -> Int32 {
        let descriptor = make(.create) { _ in Int(open(path, flags | O_CREAT | O_CLOEXEC, 0o600)) }
        guard descriptor >= 0 else { throw .disk(code: errno, action: "\(action) \(path)") }
        return Int32(descriptor)
    }

    /// Writes all bytes. When the disk fills up on the way: returns how many it took, or throws if that is none.
    /// - Parameter offset: where in the file; nil for one that was opened with O_APPEND.
    func write(
        _ bytes: UnsafeRawBufferPointer, to descriptor: Int32, at offset: Int?, _ path: @autoclosure () -> String
    ) throws(StagingError) -> Int {
        var done = 0
        while done < bytes.count {
            let count = make(.write, bytes.count - done) { wanted in
                // SAFETY: `done + wanted` never exceeds the buffer's count.
                if let offset {
                    pwrite(descriptor, bytes.baseAddress! + done, wanted, off_t(offset + done))
                } else {
                    Glibc.write(descriptor, bytes.baseAddress! + done, wanted)
                }
            }
            if count < 0 {
                let code = errno
                if code == EINTR { continue }
                if done > 0 { return done }
                throw .disk(code: code, action: "writing \(path())")
            }
            done += count
        }
        return done
    }

    /// As above, and throws when the disk does not take all.
    func writeAll(
        _ bytes: [UInt8], to descriptor: Int32, at offset: Int?, _ path: @autoclosure () -> String
    ) throws(StagingError) {
        let result = bytes.withUnsafeBytes { buffer in
            Result { () throws(StagingError) in try write(buffer, to: descriptor, at: offset, path()) }
        }
        guard try result.get() == bytes.count else { throw .disk(code: ENOSPC, action: "writing \(path())") }
    }

    /// Appends all bytes to a file that was opened with O_APPEND, or none.
    func append(
        _ bytes: [UInt8], to descriptor: Int32, _ path: @autoclosure () -> String
    ) throws(StagingError) {
        let length = lseek(descriptor, 0, SEEK_END)
        do throws(StagingError) {
            try writeAll(bytes, to: descriptor, at: nil, path())
        } catch {
            // A half-written record would hide all that follow it.
            if length >= 0 { truncate(descriptor, to: Int(length)) }
            throw error
        }
    }

    /// Cuts a file, or extends it by zeros. False with errno set.
    @discardableResult
    func truncate(_ descriptor: Int32, to byteCount: Int) -> Bool {
        make(.truncate) { _ in Int(ftruncate(descriptor, off_t(byteCount))) } == 0
    }

    /// Gives a file another name, which is another file's no more. False with errno set.
    func rename(_ path: String, to newPath: String) -> Bool {
        make(.rename) { _ in Int(Glibc.rename(path, newPath)) } == 0
    }

    /// Removes a file, if it is there.
    func remove(_ path: String) {
        _ = make(.remove) { _ in Int(unlink(path)) }
    }

    /// Gives a range of a file back to the disk; it reads as zeros, and is not to be read.
    func punch(_ range: ByteRange, of descriptor: Int32) {
        // A filesystem that cannot keeps the bytes, which nobody asks for.
        _ = make(.punch) { _ in Int(pail_punch_hole(descriptor, Int64(range.lowerBound), Int64(range.count))) }
    }
}
