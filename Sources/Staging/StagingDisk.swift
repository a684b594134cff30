// The calls by which staging takes room on the local disk: they are what a full disk refuses.

internal import Glibc

/// Creates and writes the files of staging. Any thread; the calls block for as long as the page cache takes.
public struct StagingDisk: Sendable {
    /// How many of so many bytes there is room for: for tests, whose disk is full when they say so. Nil leaves it to the disk.
    private let room: (@Sendable (Int) -> Int)?

    /// The machine's own disk.
    public init() { room = nil }

    /// A disk that takes no more than `room` grants.
    package init(room: @escaping @Sendable (Int) -> Int) { self.room = room }

    /// Opens a file that may have to be created, mode 0600.
    /// - Parameter flags: of open(2); O_CREAT and O_CLOEXEC are added.
    func create(_ path: String, _ flags: Int32, _ action: String) throws(StagingError) -> Int32 {
        if let room, room(1) < 1 { throw .disk(code: ENOSPC, action: "\(action) \(path)") }
        let descriptor = open(path, flags | O_CREAT | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw .disk(code: errno, action: "\(action) \(path)") }
        return descriptor
    }

    /// Writes all bytes. When the disk fills up on the way: returns how many it took, or throws if that is none.
    /// - Parameter offset: where in the file; nil for one that was opened with O_APPEND.
    func write(
        _ bytes: UnsafeRawBufferPointer, to descriptor: Int32, at offset: Int?, _ path: @autoclosure () -> String
    ) throws(StagingError) -> Int {
        var done = 0
        while done < bytes.count {
            var wanted = bytes.count - done
            if let room { wanted = room(wanted) }
            // SAFETY: `done + wanted` never exceeds the buffer's count.
            let count: Int =
                if wanted == 0 {
                    -1
                } else if let offset {
                    pwrite(descriptor, bytes.baseAddress! + done, wanted, off_t(offset + done))
                } else {
                    Glibc.write(descriptor, bytes.baseAddress! + done, wanted)
                }
            if count < 0 {
                let code = wanted == 0 ? ENOSPC : errno
                if code == EINTR { continue }
                if done > 0 { return done }
                throw .disk(code: code, action: "writing \(path())")
            }
            done += count
        }
        return done
    }
}
