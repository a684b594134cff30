// A failed system call, for the operations of this module that have no better name for what went wrong.

internal import Glibc

/// What a system call answered.
public struct SystemCallError: Error, Sendable, Hashable, CustomStringConvertible {
    /// The value of `errno`.
    public var errno: Int32
    /// What was attempted, for the message: `open /proc/self/mountinfo`.
    public var operation: String

    public init(_ operation: String, errno: Int32) {
        self.errno = errno
        self.operation = operation
    }

    public var description: String { "\(operation): \(Self.message(errno))" }

    /// The C library's text for an errno.
    public static func message(_ errno: Int32) -> String {
        var buffer = [CChar](repeating: 0, count: 128)
        // The XSI form of strerror_r, which Swift imports, answers 0 or an error number and is thread-safe.
        guard strerror_r(errno, &buffer, buffer.count) == 0 else { return "error \(errno)" }
        return String(decoding: buffer.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
}
