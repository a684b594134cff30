// Reading of config files: who may write them decides where data goes.

internal import Glibc

/// The text of a config file.
enum ConfigText {
    /// A config file is small; what is larger is something else.
    private static let bytesMax = 1 << 20

    /// The text; nil when there is no such file.
    /// - Throws: when it cannot be read, or when everybody could have written it.
    static func read(_ path: String) throws(UsageError) -> String? {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        guard descriptor >= 0 else {
            let code = errno
            if code == ENOENT || code == ENOTDIR { return nil }
            throw UsageError("the config file \(path) cannot be read: \(String(cString: strerror(code)))")
        }
        defer { close(descriptor) }
        var status = stat()
        guard fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
            throw UsageError("the config file \(path) is not a file")
        }
        guard status.st_uid == geteuid() || status.st_uid == 0, status.st_mode & 0o002 == 0 else {
            throw UsageError("the config file \(path) could be written by others; chmod o-w \(path), and own it")
        }
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 16 << 10)
        while true {
            let count = Glibc.read(descriptor, &buffer, buffer.count)
            if count < 0, errno == EINTR { continue }
            guard count >= 0 else {
                throw UsageError("the config file \(path) cannot be read: \(String(cString: strerror(errno)))")
            }
            if count == 0 { break }
            bytes += buffer[..<count]
            guard bytes.count <= bytesMax else { throw UsageError("the config file \(path) is too large") }
        }
        guard let text = String(validating: bytes, as: UTF8.self) else {
            throw UsageError("the config file \(path) is not UTF-8")
        }
        return text
    }
}
