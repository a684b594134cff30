// Names of users.

internal import Glibc

enum UserName {
    /// The name of a user, or the number when the user database does not know it.
    static func of(_ userID: UInt32) -> String {
        var record = passwd()
        var result: UnsafeMutablePointer<passwd>?
        return withUnsafeTemporaryAllocation(of: CChar.self, capacity: 16_384) { buffer in
            // SAFETY: the strings of `record` point into `buffer`, which lives through the closure; the name is copied.
            guard getpwuid_r(userID, &record, buffer.baseAddress!, buffer.count, &result) == 0, result != nil else {
                return "\(userID)"
            }
            return String(cString: record.pw_name)
        }
    }
}
