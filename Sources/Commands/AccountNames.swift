// Users and groups of the machine.

internal import Glibc

/// Numbers of named accounts, and names of numbered ones, from the machine's databases.
public enum AccountNames {
    static func uid(_ name: String) -> UInt32? {
        // SAFETY: the result is read before any other call that could overwrite it; options are read on one thread.
        getpwnam(name)?.pointee.pw_uid
    }

    static func gid(_ name: String) -> UInt32? {
        // SAFETY: as above.
        getgrnam(name)?.pointee.gr_gid
    }

    /// The user's name, or the number itself when it has none. Call from one thread only.
    public static func user(_ uid: UInt32) -> String {
        // SAFETY: the name is copied before any other call that could overwrite it.
        getpwuid(uid).map { String(cString: $0.pointee.pw_name) } ?? "\(uid)"
    }

    /// The home directory that the user database gives.
    static func home(_ uid: UInt32) -> String? {
        // SAFETY: as above.
        getpwuid(uid).map { String(cString: $0.pointee.pw_dir) }
    }
}
