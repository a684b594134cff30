// The key of SSE-C, from a file of the user's.

internal import Base
internal import Glibc

/// A key of 32 bytes on its way from a file to a store. Never printed.
public struct CustomerKeyText: Sendable, Equatable, Codable, CustomStringConvertible, CustomReflectable {
    /// As Base64.
    private let text: String

    init(_ key: [UInt8]) { text = Base64.encode(key) }

    public var bytes: [UInt8] { Base64.decode(text) ?? [] }
    public var description: String { "CustomerKeyText(hidden)" }
    public var customMirror: Mirror { Mirror(self, children: []) }
}

public enum CustomerKeyFile {
    private static let keyByteCount = 32
    /// What holds more is no key.
    private static let fileByteCountMax = 4096

    /// Reads a key: 32 bytes, or the same as Base64 or in hexadecimal, with white space around it.
    /// - Throws: when it cannot be read, is open to everybody, or holds something else.
    public static func read(_ path: String) throws(MountFailure) -> CustomerKeyText {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        guard descriptor >= 0 else {
            throw MountFailure(
                "the key \(path) cannot be read: \(String(cString: strerror(errno)))", remedy: "check --sse-c-key-file")
        }
        defer { close(descriptor) }
        var status = stat()
        guard fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
            throw MountFailure("the key \(path) is not a file", remedy: "check --sse-c-key-file")
        }
        guard status.st_mode & 0o007 == 0 else {
            throw MountFailure("the key \(path) can be read by everybody on this machine", remedy: "chmod 600 \(path)")
        }
        var bytes = [UInt8](repeating: 0, count: fileByteCountMax)
        let count = Glibc.read(descriptor, &bytes, bytes.count)
        guard let key = key(of: Array(bytes.prefix(max(0, count)))) else {
            throw MountFailure(
                "the key \(path) is not 32 bytes, nor these as Base64 or in hexadecimal",
                remedy: "make one: openssl rand -base64 32")
        }
        return CustomerKeyText(key)
    }

    /// Nil when it is none.
    static func key(of bytes: [UInt8]) -> [UInt8]? {
        if bytes.count == keyByteCount { return bytes }
        guard let text = String(validating: bytes, as: UTF8.self) else { return nil }
        let word = String(text.drop(while: \.isWhitespace).reversed().drop(while: \.isWhitespace).reversed())
        return [Hex.decode(word), Base64.decode(word)].compactMap(\.self).first { $0.count == keyByteCount }
    }
}
