// Paths as text, taken apart by their bytes: to Swift a slash and a combining mark behind it are one `Character`, so that a
// split by the character "/" misses the slash before a name that begins with such a mark.

extension StringProtocol {
    /// What stands between the slashes.
    /// - Parameter omittingEmpty: false counts also what stands between two slashes that follow each other, and at the ends.
    public func pathComponents(omittingEmpty: Bool = true) -> [String] {
        utf8.split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: omittingEmpty)
            .map { String(decoding: $0, as: UTF8.self) }
    }

    /// Whether it begins with a slash.
    public var isAbsolutePath: Bool { utf8.first == UInt8(ascii: "/") }
}
