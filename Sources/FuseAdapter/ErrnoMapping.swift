// The one place that knows errno.

internal import FileSystem
internal import Glibc

extension FileSystemError {
    /// The errno that the program gets.
    var code: Int32 {
        switch kind {
        case .notFound: ENOENT
        case .alreadyExists: EEXIST
        case .notDirectory: ENOTDIR
        case .isDirectory: EISDIR
        case .notEmpty: ENOTEMPTY
        case .invalidArgument: EINVAL
        case .notPermitted: EPERM
        case .accessDenied: EACCES
        case .readOnly: EROFS
        case .nameTooLong: ENAMETOOLONG
        case .stale: ESTALE
        // What s3fs answers too: "object is remote".
        case .archived: EREMOTE
        case .noSpace: ENOSPC
        case .fileTooLarge: EFBIG
        case .noAttribute: ENODATA
        case .attributeTooLarge: E2BIG
        case .outOfRange: ENXIO
        case .unsupported: EOPNOTSUPP
        case .timedOut: ETIMEDOUT
        case .unreachable: EHOSTUNREACH
        case .interrupted: EINTR
        case .inputOutput: EIO
        case .localDisk(let code): code
        }
    }
}
