// What can go wrong between a program's write and the bucket.

internal import Glibc
public import ObjectModel
public import ObjectStore

/// A failure of staging or of bringing staged data to the store. The staged data itself is kept in every case.
public enum StagingError: Error, Sendable, Equatable, CustomStringConvertible {
    /// The local disk refused; `code` is the errno, `action` what was tried.
    case disk(code: Int32, action: String)
    /// `--staging-size` is reached and nothing that is being uploaded would free enough.
    case full(limitBytes: Int)
    /// A write failed after others had been acknowledged: what is staged is no state that a program made.
    case incomplete
    /// These bytes are in a part of an upload that is not completed: they must be brought to the store first.
    case inTransit
    /// Another client changed the object since it was read. The staged data was saved under `savedAs`, where known.
    case conflict(savedAs: ObjectKey?)
    /// The store refused, after all retries.
    case store(StoreError)
    /// The file has been removed, or the mount is ending.
    case abandoned

    /// Whether the local disk has no room.
    public var isDiskFull: Bool {
        if case .disk(let code, _) = self { code == ENOSPC || code == EDQUOT } else { false }
    }

    public var description: String {
        switch self {
        case .disk(let code, let action): "\(action): errno \(code)"
        case .full(let limitBytes): "the staging limit of \(limitBytes) bytes is reached"
        case .incomplete:
            "a write failed, so the file is not sent: write it again, truncate it or remove it"
        case .inTransit: "the bytes are on their way to the store"
        case .conflict(let savedAs):
            "another client changed the object" + (savedAs.map { "; the data was saved as '\($0)'" } ?? "")
        case .store(let error): error.description
        case .abandoned: "given up: the file was removed or the mount ended"
        }
    }
}
