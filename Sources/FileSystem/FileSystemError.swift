// What a file operation can fail with; the adapter alone turns it into an errno.

internal import Glibc
public import ObjectStore
public import Staging

/// A failed file operation.
public struct FileSystemError: Error, Sendable, Equatable {
    public enum Kind: Sendable, Equatable {
        case notFound
        case alreadyExists
        case notDirectory
        case isDirectory
        case notEmpty
        case invalidArgument
        /// The operation is never possible here (hard links to directories, device nodes…).
        case notPermitted
        case accessDenied
        case readOnly
        case nameTooLong
        /// The object behind an open file was replaced or removed by another client.
        case stale
        /// The object is archived and must be restored before it can be read.
        case archived
        case noSpace
        case fileTooLarge
        /// There is no extended attribute of that name.
        case noAttribute
        /// More than user metadata can hold.
        case attributeTooLarge
        /// No data, or no hole, from there on.
        case outOfRange
        case unsupported
        case timedOut
        case unreachable
        case interrupted
        /// The store or the local disk failed.
        case inputOutput
        /// The local disk's own errno.
        case localDisk(Int32)
    }

    public let kind: Kind
    /// What the layer below said; for the log.
    public let cause: String?

    public init(_ kind: Kind, cause: String? = nil) {
        self.kind = kind
        self.cause = cause
    }

    /// `.notFound` comes only of a store that said so; whatever is not known is never "not found".
    public init(_ error: StoreError) {
        let kind: Kind =
            switch error.kind {
            case .notFound: .notFound
            case .preconditionFailed: .stale
            case .accessDenied, .badCredentials, .expiredCredentials: .accessDenied
            case .archived: .archived
            case .tooLarge: error.isOfLongKey ? .nameTooLong : .fileTooLarge
            case .quotaExceeded: .noSpace
            case .unsupported: .unsupported
            case .timedOut: .timedOut
            case .unreachable: .unreachable
            case .cancelled: .interrupted
            case .bucketNotFound, .invalidRange, .throttled, .serverFault, .invalidRequest, .malformedResponse,
                .sourceFailed:
                .inputOutput
            }
        self.init(kind, cause: error.description)
    }

    public init(_ error: StagingError) {
        switch error {
        case .disk(let code, _): self.init(.localDisk(code), cause: error.description)
        case .full, .incomplete: self.init(.noSpace, cause: error.description)
        case .inTransit: self.init(.inputOutput, cause: error.description)
        case .conflict: self.init(.stale, cause: error.description)
        case .store(let cause):
            // A write that finds its object or bucket gone has failed; "no such file" would be taken for an answer.
            let mapped = FileSystemError(cause)
            self = mapped.kind == .notFound ? FileSystemError(.inputOutput, cause: mapped.cause) : mapped
        case .abandoned: self.init(.inputOutput, cause: error.description)
        }
    }
}

extension FileSystemError {
    /// Whether the local disk has no room.
    var isOfFullDisk: Bool { kind == .localDisk(ENOSPC) || kind == .localDisk(EDQUOT) }
}
