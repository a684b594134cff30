// The last failures of a mount, for `pail status`.

internal import Base
internal import ObjectModel
internal import ObjectStore

/// The newest failed requests. Thread-safe.
final class RecentErrors: Sendable {
    static let countMax = 10

    private let lines = Lock<[String]>([])

    func note(_ record: S3RequestRecord) {
        guard record.isFailure else { return }
        let what = record.failure ?? record.status.map { "HTTP \($0)" } ?? "no answer"
        let line =
            "\(record.operation) \(record.key?.string ?? ""): \(what)" + (record.requestID.map { " [\($0)]" } ?? "")
        lines.withLock { lines in
            lines.insert(line, at: 0)
            if lines.count > Self.countMax { lines.removeLast() }
        }
    }

    /// The newest first.
    var newest: [String] { lines.withLock { $0 } }
}
