// Running a small program, with a deadline and its error text.

internal import Base
internal import CLinux
internal import Glibc

enum ChildProgram {
    enum Result: Equatable {
        /// The exit code (128 + signal when a signal ended it) and what was written to standard error.
        case exited(Int32, message: String)
        case timedOut
        case notStarted(errno: Int32)
    }

    /// More error text than this is not kept.
    private static let messageBytesMax = 16_384

    /// Runs a program in the C locale, input and output at /dev/null. Blocking, thread-safe.
    /// - Parameter words: the program, looked up in PATH unless it has a slash, and its arguments.
    static func run(_ words: [String], timeoutMilliseconds: Int32) -> Result {
        var ends: [Int32] = [-1, -1]
        guard pail_pipe(&ends) == 0 else { return .notStarted(errno: errno) }
        defer { close(ends[0]) }
        var pid: pid_t = 0
        let code = spawn(words, errorDescriptor: ends[1], &pid)
        close(ends[1])
        guard code == 0 else { return .notStarted(errno: code) }

        let deadline = SystemTime().monotonicNanoseconds + UInt64(timeoutMilliseconds) * 1_000_000
        var message: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 1024)
        while true {
            let now = SystemTime().monotonicNanoseconds
            var watch = pollfd(fd: ends[0], events: Int16(POLLIN), revents: 0)
            let ready = poll(&watch, 1, now < deadline ? Int32((deadline - now) / 1_000_000 + 1) : 0)
            if ready < 0, errno == EINTR { continue }
            guard ready > 0 else {
                kill(pid, SIGKILL)
                waitpid(pid, nil, WNOHANG)
                return .timedOut
            }
            let got = read(ends[0], &buffer, buffer.count)
            if got < 0, errno == EINTR { continue }
            guard got > 0 else { break }
            if message.count < messageBytesMax { message += buffer[..<got] }
        }
        var status: Int32 = 0
        while waitpid(pid, &status, 0) < 0, errno == EINTR {}
        // The macros of <sys/wait.h>: the low 7 bits are the signal, the next byte is the exit code.
        let exitCode = status & 0x7f == 0 ? status >> 8 & 0xff : 128 + status & 0x7f
        return .exited(exitCode, message: String(decoding: message, as: UTF8.self))
    }

    private static func spawn(_ words: [String], errorDescriptor: Int32, _ pid: inout pid_t) -> Int32 {
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDWR, 0)
        posix_spawn_file_actions_adddup2(&actions, 0, 1)
        posix_spawn_file_actions_adddup2(&actions, errorDescriptor, 2)
        // SAFETY: the copies live until the spawn call has returned and are freed once.
        let arguments = copies(of: words)
        let variables = copies(of: ["LC_ALL=C", "PATH=/usr/bin:/bin:/usr/sbin:/sbin"])
        defer { for pointer in arguments + variables { free(pointer) } }
        return posix_spawnp(&pid, words[0], &actions, nil, arguments, variables)
    }

    /// A NULL-terminated array of C strings; the caller frees them.
    private static func copies(of words: [String]) -> [UnsafeMutablePointer<CChar>?] {
        var pointers: [UnsafeMutablePointer<CChar>?] = words.map { word in strdup(word) }
        pointers.append(nil)
        return pointers
    }
}
