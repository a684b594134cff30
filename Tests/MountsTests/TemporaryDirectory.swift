// Scratch directories and child processes for tests.

import Base
import CLinux
import Glibc
import Testing

@testable import Mounts

/// A directory removed at the end of the test.
final class TemporaryDirectory: Sendable {
    let path: String

    init() throws {
        // In memory where possible: some tests make thousands of small files.
        let parent = access("/dev/shm", R_OK | W_OK | X_OK) == 0 ? "/dev/shm" : "/tmp"
        var template = Array("\(parent)/pail-mounts-XXXXXX".utf8CString)
        let made = template.withUnsafeMutableBufferPointer { mkdtemp($0.baseAddress!) != nil }
        try #require(made)
        path = template.withUnsafeBufferPointer { String(cString: $0.baseAddress!) }
        chmod(path, 0o755)
    }

    deinit {
        // Mounts that a failed test left behind go first: nothing may be removed through them.
        for _ in 0..<8 { for mount in mounts().reversed() { umount(mount.mountpoint.string) } }
        if mounts().isEmpty { _ = ChildProgram.run(["rm", "-rf", "--", path], timeoutMilliseconds: 20_000) }
    }

    private func mounts() -> [MountEntry] {
        ((try? MountTable.current())?.entries ?? []).filter { ByteString(path).isPathPrefix(of: $0.mountpoint) }
    }

    private func umount(_ path: String) {
        _ = pail_umount_bounded(path, Int32(PAIL_UMOUNT_DETACH), 5_000)
    }

    func makeDirectory(_ name: String) throws {
        var prefix = path
        for part in name.split(separator: "/") {
            prefix += "/\(part)"
            try #require(mkdir(prefix, 0o755) == 0 || errno == EEXIST)
        }
    }

    func link(_ name: String, to target: String) throws {
        try #require(symlink(target, "\(path)/\(name)") == 0)
    }

    func write(_ name: String, _ text: String) throws {
        let descriptor = open("\(path)/\(name)", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
        try #require(descriptor >= 0)
        defer { close(descriptor) }
        let bytes = Array(text.utf8)
        try #require(Glibc.write(descriptor, bytes, bytes.count) == bytes.count)
    }
}

/// A shell that runs a script, says that it is ready, and then waits to be told to end.
final class HoldingShell: Sendable {
    let pid: pid_t
    private let input: Int32

    /// - Parameters:
    ///   - script: run before "ready"; the shell then waits on its standard input, where redirections leave it.
    ///   - prefix: the program and arguments in front of `sh`.
    init(_ script: String, prefix: [String] = [], environment: [String] = []) throws {
        var toChild: [Int32] = [-1, -1]
        var fromChild: [Int32] = [-1, -1]
        try #require(pail_pipe(&toChild) == 0 && pail_pipe(&fromChild) == 0)
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_adddup2(&actions, toChild[0], 0)
        posix_spawn_file_actions_adddup2(&actions, fromChild[1], 1)
        let words = prefix + ["/bin/sh", "-c", "\(script)\necho ready; read line"]
        var arguments: [UnsafeMutablePointer<CChar>?] = words.map { word in strdup(word) }
        arguments.append(nil)
        let settings = ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"] + environment
        var variables: [UnsafeMutablePointer<CChar>?] = settings.map { word in strdup(word) }
        variables.append(nil)
        defer { for pointer in arguments + variables { free(pointer) } }
        var pid: pid_t = 0
        try #require(posix_spawnp(&pid, words[0], &actions, nil, arguments, variables) == 0)
        close(toChild[0])
        close(fromChild[1])
        self.pid = pid
        input = toChild[1]
        var answer = [UInt8](repeating: 0, count: 6)
        let got = read(fromChild[0], &answer, answer.count)
        close(fromChild[0])
        try #require(got == 6, "the shell did not come up: \(script)")
    }

    /// Lets the shell end, and waits for it. Callable from any thread, once.
    func release() {
        close(input)
        waitpid(pid, nil, 0)
    }
}

extension HoldingShell {
    /// The C library that this process runs with: any shared library will do to be mapped.
    static var libraryPath: String? {
        guard let text = try? ProcFile.read("/proc/self/maps") else { return nil }
        return MapsFile.files(in: text, below: "/").map(\.path.string).first { $0.hasSuffix("/libc.so.6") }
    }

    /// Puts /bin/sh and the libraries it needs into a directory, at the same names; false when that failed.
    static func copyOfTheShell(in directory: String) -> Bool {
        let script = """
            for file in /bin/sh $(ldd /bin/sh | grep -o '/[^ ]*'); do
                mkdir -p "$1$(dirname $file)" && cp -L $file "$1$file" || exit 1
            done
            """
        let result = ChildProgram.run(["sh", "-c", script, "sh", directory], timeoutMilliseconds: 10_000)
        return result == .exited(0, message: "")
    }
}
