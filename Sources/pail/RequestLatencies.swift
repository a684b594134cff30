// How long requests to the store took.

internal import Base
internal import ObjectStore
internal import S3Protocol

/// Latencies of requests on the wire, by operation. Thread-safe.
final class RequestLatencies: Sendable {
    private static let operations = S3Operation.allCases

    private let table = LatencyTable(kindCount: RequestLatencies.operations.count)

    /// Counts one; those that we gave up ourselves say nothing about the store.
    func note(_ record: S3RequestRecord) {
        guard record.failure != "cancelled", let kind = Self.operations.firstIndex(of: record.operation) else { return }
        table.record(kind: kind, nanoseconds: record.durationNanoseconds)
    }

    /// Those of operations that were used, by name.
    var histograms: [String: LatencyTable.Histogram] {
        var result: [String: LatencyTable.Histogram] = [:]
        for (kind, operation) in Self.operations.enumerated() {
            let histogram = table.histogram(kind: kind)
            if histogram.count > 0 { result[operation.rawValue] = histogram }
        }
        return result
    }
}
