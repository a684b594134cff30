// Whether a file can be executed as a pail at all.

internal import Glibc

public enum ProgramTrial {
    private static let timeoutMilliseconds: Int32 = 10_000

    /// Runs `PROGRAM --version` and waits. Nil when it went well, else a sentence on what was wrong. Blocking, thread-safe.
    /// - Parameter program: an absolute path.
    public static func problem(of program: String) -> String? {
        switch ChildProgram.run([program, "--version"], timeoutMilliseconds: timeoutMilliseconds) {
        case .exited(0, _): nil
        case .exited(let code, let message):
            "\(program) --version ended with code \(code)"
                + (message.split(separator: "\n").first.map { ": \($0)" } ?? "")
        case .timedOut: "\(program) --version does not end"
        case .notStarted(let code): "\(program) cannot be executed: \(String(cString: strerror(code)))"
        }
    }
}
