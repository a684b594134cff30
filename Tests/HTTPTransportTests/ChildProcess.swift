// Another program, and what it says.

import Glibc

struct ChildProcess {
    struct StartError: Error { let code: Int32 }

    private let pid: pid_t
    private let output: Int32

    /// - Parameter directory: where it runs.
    init(_ path: String, _ arguments: [String], in directory: String) throws {
        var pipe: [Int32] = [0, 0]
        guard Glibc.pipe(&pipe) == 0 else { throw StartError(code: errno) }
        for end in pipe { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
        defer { close(pipe[1]) }
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
        posix_spawn_file_actions_adddup2(&actions, pipe[1], 1)
        posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0)
        let command = ["/bin/sh", "-c", "cd \"$0\" && exec \"$@\"", directory, path] + arguments
        var words: [UnsafeMutablePointer<CChar>?] = command.map { strdup($0) } + [nil]
        defer { for word in words { free(word) } }
        var pid = pid_t()
        let code = posix_spawn(&pid, command[0], &actions, nil, &words, environ)
        guard code == 0 else {
            close(pipe[0])
            throw StartError(code: code)
        }
        self.pid = pid
        output = pipe[0]
    }

    /// The next line of its standard output, or nil at the end.
    func nextLine() -> String? {
        var line: [UInt8] = []
        var byte: UInt8 = 0
        while read(output, &byte, 1) == 1 {
            if byte == 0x0A { return String(decoding: line, as: UTF8.self) }
            line.append(byte)
        }
        return line.isEmpty ? nil : String(decoding: line, as: UTF8.self)
    }

    /// Whether it ended by itself with status 0. Call this or `stop` once.
    func wait() -> Bool {
        while nextLine() != nil {}
        return reap() == 0
    }

    func stop() {
        // Not SIGTERM: the child inherited the signal mask of a thread that may block it.
        kill(pid, SIGKILL)
        _ = reap()
    }

    private func reap() -> Int32 {
        var status: Int32 = 0
        while waitpid(pid, &status, 0) < 0, errno == EINTR {}
        close(output)
        return status
    }
}
