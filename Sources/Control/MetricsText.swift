// The figures of a mount in the text format of Prometheus
// (https://prometheus.io/docs/instrumenting/exposition_formats/, version 0.0.4).
//
// Names are a promise to dashboards, as the keys of `pail status --json` are: added, never renamed.

public import Base

/// What `/metrics` tells: the status, and histograms that a status has no room for.
public struct MountMetrics: Sendable {
    public var status: MountStatus
    /// By S3 operation, and by kind of FUSE request.
    public var requestLatencies: [String: LatencyTable.Histogram]
    public var operationLatencies: [String: LatencyTable.Histogram]
    /// Resident bytes of the process.
    public var residentBytes: Int
    /// File operations under way, of which a status lists some.
    public var waitingCount: Int
    /// Tries to upload a file that failed.
    public var uploadFailureCount: Int

    public init(
        status: MountStatus, requestLatencies: [String: LatencyTable.Histogram] = [:],
        operationLatencies: [String: LatencyTable.Histogram] = [:], residentBytes: Int = 0, waitingCount: Int = 0,
        uploadFailureCount: Int = 0
    ) {
        self.status = status
        self.requestLatencies = requestLatencies
        self.operationLatencies = operationLatencies
        self.residentBytes = residentBytes
        self.waitingCount = waitingCount
        self.uploadFailureCount = uploadFailureCount
    }

    /// The document.
    public var text: String {
        var text = MetricsText()
        text.gauge("pail_info", "Version and place; always 1.", [sample(1, infoLabels)])
        text.gauge("pail_uptime_seconds", "Since the mount began.", [sample(status.uptimeSeconds)])
        text.gauge("pail_healthy", "Whether /healthz answers 200.", [sample(isHealthy ? 1 : 0)])
        text.gauge(
            "pail_store_unreachable_seconds", "For how long the store has not answered; 0 while it does.",
            [sample(status.unreachableSeconds ?? 0)])
        addRequests(&text)
        addReading(&text)
        addWriting(&text)
        addOperations(&text)
        text.gauge(
            "pail_memory_bytes", "Memory by kind.",
            [
                sample(status.cache.memoryBytes, [("kind", "blocks")]),
                sample(residentBytes, [("kind", "resident")]),
            ])
        text.gauge("pail_memory_limit_bytes", "The budget for blocks.", [sample(status.cache.memoryLimit)])
        return text.lines.joined(separator: "\n") + "\n"
    }

    /// The store answers and no upload is failing.
    public var isHealthy: Bool { status.unreachableSeconds == nil && status.failedUploads == 0 }

    /// One line for `/healthz`.
    public var healthText: String {
        if let seconds = status.unreachableSeconds { return "the store has not answered for \(seconds) s" }
        if status.failedUploads > 0 { return "\(status.failedUploads) uploads are failing" }
        return "ok"
    }

    private var infoLabels: [(String, String)] {
        [("version", status.version), ("source", status.source), ("endpoint", status.endpoint)]
    }

    private func sample(_ value: Int, _ labels: [(String, String)] = []) -> MetricsText.Sample {
        MetricsText.Sample(labels: [("mountpoint", status.mountpoint)] + labels, value: "\(value)")
    }

    private func addRequests(_ text: inout MetricsText) {
        let requests = status.requests.sorted { $0.key < $1.key }
        func each(_ value: (MountStatus.Requests) -> Int) -> [MetricsText.Sample] {
            requests.map { sample(value($0.value), [("operation", $0.key)]) }
        }
        text.counter(
            "pail_s3_requests_total", "Requests on the wire, by operation and outcome.",
            requests.flatMap { name, figures in
                [
                    sample(figures.count - figures.errors, [("operation", name), ("outcome", "ok")]),
                    sample(figures.errors, [("operation", name), ("outcome", "error")]),
                ]
            })
        text.counter("pail_s3_retries_total", "Requests that were not the first of their call.", each(\.retries))
        text.counter("pail_s3_hedges_total", "Requests sent beside a late one.", each(\.hedged))
        text.counter("pail_s3_hedges_won_total", "Of these, those that came first.", each(\.hedgesWon))
        text.counter("pail_s3_stalls_total", "Requests given up because too little came.", each(\.stalled))
        text.counter("pail_s3_body_bytes_total", "Bytes of bodies, sent and received.", each(\.bytes))
        text.histogram(
            "pail_s3_request_seconds", "How long requests took.",
            requestLatencies.sorted { $0.key < $1.key }.map { name, histogram in
                ([("mountpoint", status.mountpoint), ("operation", name)], histogram)
            })
    }

    private func addReading(_ text: inout MetricsText) {
        let cache = status.cache
        text.counter("pail_cache_hits_total", "Reads answered from memory at once.", [sample(cache.hits)])
        text.counter("pail_cache_misses_total", "Reads that had to wait.", [sample(cache.misses)])
        text.counter("pail_cache_fetched_bytes_total", "Bytes that came from the store.", [sample(cache.bytesFetched)])
        if let disk = cache.disk {
            text.gauge("pail_disk_cache_bytes", "On disk now.", [sample(disk.bytes)])
            text.counter("pail_disk_cache_hits_total", "Blocks read from disk.", [sample(disk.hits)])
            text.counter("pail_disk_cache_read_bytes_total", "Bytes read from disk.", [sample(disk.bytesRead)])
            text.counter("pail_disk_cache_written_bytes_total", "Bytes written to disk.", [sample(disk.bytesWritten)])
            text.counter("pail_disk_cache_corrupt_total", "Blocks damaged on disk.", [sample(disk.corruptBlocks)])
            text.counter("pail_disk_cache_evictions_total", "Files removed to make room.", [sample(disk.evictions)])
        }
        if let prefetch = status.prefetch {
            text.counter(
                "pail_prefetched_files_total", "Small files fetched ahead of their neighbours.",
                [sample(prefetch.files)])
        }
        if let connections = status.connections {
            text.gauge("pail_read_requests", "GETs of file content under way.", [sample(connections.reading)])
            text.gauge(
                "pail_read_requests_limit", "How many there may be on this link.", [sample(connections.readingMax)])
        }
    }

    private func addWriting(_ text: inout MetricsText) {
        text.gauge("pail_dirty_files", "Files with data that is not in the bucket yet.", [sample(status.dirtyFiles)])
        text.gauge("pail_dirty_bytes", "Their bytes.", [sample(status.dirtyBytes)])
        text.gauge(
            "pail_oldest_dirty_seconds", "How long the oldest of them has waited.",
            [sample(status.oldestDirtySeconds ?? 0)])
        text.counter(
            "pail_upload_failures_total", "Tries to upload a file that failed.", [sample(uploadFailureCount)])
        text.gauge("pail_failing_uploads", "Uploads whose last try failed.", [sample(status.failedUploads)])
    }

    private func addOperations(_ text: inout MetricsText) {
        let operations = (status.operations ?? [:]).sorted { $0.key < $1.key }
        text.counter(
            "pail_fuse_errors_total", "File operations answered with an error, a name that is not there among them.",
            operations.map { sample($0.value.errors, [("operation", $0.key)]) })
        text.histogram(
            "pail_fuse_operation_seconds", "How long file operations took.",
            operationLatencies.sorted { $0.key < $1.key }.map { name, histogram in
                ([("mountpoint", status.mountpoint), ("operation", name)], histogram)
            })
        text.gauge("pail_fuse_waiting", "File operations under way.", [sample(waitingCount)])
    }
}

/// Builds the document, family by family.
struct MetricsText {
    struct Sample {
        var labels: [(String, String)]
        var value: String
    }

    private(set) var lines: [String] = []

    mutating func counter(_ name: String, _ help: String, _ samples: [Sample]) {
        family(name, "counter", help, samples)
    }

    mutating func gauge(_ name: String, _ help: String, _ samples: [Sample]) {
        family(name, "gauge", help, samples)
    }

    mutating func histogram(
        _ name: String, _ help: String, _ samples: [(labels: [(String, String)], LatencyTable.Histogram)]
    ) {
        guard !samples.isEmpty else { return }
        begin(name, "histogram", help)
        for (labels, histogram) in samples {
            var total: UInt64 = 0
            for (index, bound) in LatencyTable.upperNanoseconds.enumerated() {
                total += histogram.counts[index]
                add("\(name)_bucket", labels + [("le", Self.seconds(bound))], "\(total)")
            }
            total += histogram.counts[LatencyTable.bucketCount - 1]
            add("\(name)_bucket", labels + [("le", "+Inf")], "\(total)")
            add("\(name)_sum", labels, Self.seconds(histogram.sumNanoseconds))
            add("\(name)_count", labels, "\(total)")
        }
    }

    private mutating func family(_ name: String, _ type: String, _ help: String, _ samples: [Sample]) {
        guard !samples.isEmpty else { return }
        begin(name, type, help)
        for sample in samples { add(name, sample.labels, sample.value) }
    }

    private mutating func begin(_ name: String, _ type: String, _ help: String) {
        lines.append("# HELP \(name) \(help)")
        lines.append("# TYPE \(name) \(type)")
    }

    private mutating func add(_ name: String, _ labels: [(String, String)], _ value: String) {
        let text = labels.map { "\($0.0)=\"\(Self.escaped($0.1))\"" }.joined(separator: ",")
        lines.append("\(name){\(text)} \(value)")
    }

    /// Backslash, quote and line break, as the format asks.
    static func escaped(_ text: String) -> String {
        var result = ""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\\": result += "\\\\"
            case "\"": result += "\\\""
            case "\n": result += "\\n"
            default: result.unicodeScalars.append(scalar)
            }
        }
        return result
    }

    private static func seconds(_ nanoseconds: UInt64) -> String { "\(Double(nanoseconds) / 1e9)" }
}
