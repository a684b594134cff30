// Running the built program.

import Glibc

/// The `pail` that was built beside the tests.
enum Program {
    struct Result {
        var exitCode: Int32
        var output: String
        var errors: String
    }

    /// The directory of the test bundle is also that of the products.
    static let path: String = {
        var buffer = [CChar](repeating: 0, count: Int(PATH_MAX))
        let count = readlink("/proc/self/exe", &buffer, buffer.count)
        let test = String(decoding: buffer.prefix(max(0, count)).map { UInt8(bitPattern: $0) }, as: UTF8.self)
        // The tests run in the bundle itself or in a helper program of the toolchain, which has the bundle as an argument.
        for candidate in [test] + CommandLine.arguments {
            let directory = candidate.split(separator: "/", omittingEmptySubsequences: false).dropLast()
                .joined(separator: "/")
            if access("\(directory)/pail", X_OK) == 0 { return "\(directory)/pail" }
        }
        return ".build/debug/pail"
    }()

    /// Runs it to its end, without anything of this process's environment but PATH.
    static func run(_ arguments: [String], environment: [String] = []) -> Result {
        let output = tmpfile()!
        let errors = tmpfile()!
        defer {
            fclose(output)
            fclose(errors)
        }
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
        posix_spawn_file_actions_adddup2(&actions, fileno(output), 1)
        posix_spawn_file_actions_adddup2(&actions, fileno(errors), 2)
        var words = ([path] + arguments).map { strdup($0) } + [nil]
        var variables = (["PATH=/usr/bin:/bin"] + environment).map { strdup($0) } + [nil]
        defer { for pointer in words + variables { free(pointer) } }
        var pid: pid_t = 0
        guard posix_spawn(&pid, path, &actions, nil, &words, &variables) == 0 else {
            return Result(exitCode: -1, output: "", errors: "cannot start \(path)")
        }
        var status: Int32 = 0
        while waitpid(pid, &status, 0) < 0, errno == EINTR {}
        let code = status & 0x7f == 0 ? status >> 8 & 0xff : 128 + status & 0x7f
        return Result(exitCode: code, output: text(output), errors: text(errors))
    }

    private static func text(_ file: UnsafeMutablePointer<FILE>) -> String {
        rewind(file)
        var bytes = [UInt8](repeating: 0, count: 64 << 10)
        let count = fread(&bytes, 1, bytes.count, file)
        return String(decoding: bytes.prefix(count), as: UTF8.self)
    }
}
