// `pail status --watch`: what a mount does right now, from two states a moment apart.

internal import Base
public import Control

/// The live view of one mount. Pure: the caller brings the states and the time between them.
public enum WatchReport {
    static let uploadCountMax = 8
    static let waitingCountMax = 5
    static let requestCountMax = 5
    /// What is answered within a blink of an eye is not slow.
    private static let slowSeconds = 0.1
    static let processCountMax = 5
    private static let barColumns = 20

    /// The lines of one mount, cut to `columns`.
    /// - Parameters:
    ///   - before: an earlier state of the same mount; nil at first, when nothing can be said of rates.
    ///   - seconds: between the two.
    public static func lines(
        _ status: MountStatus, before: MountStatus?, seconds: Double, columns: Int
    ) -> [String] {
        var lines = ["\(status.mountpoint)  \(status.source)  pid \(status.pid)"]
        let before = before?.pid == status.pid ? before : nil
        lines.append("  now      \(rates(status, before, seconds))")
        lines.append("  upload   \(uploadSummary(status))")
        if let unreachable = status.unreachableSeconds {
            lines.append("  silent   the endpoint has not answered for \(Interval.clock(seconds: Double(unreachable)))")
        }
        lines += uploads(status)
        lines += requests(status, before, seconds)
        lines += slowestRequests(status)
        lines += waiting(status)
        lines += processes(status, before)
        if let error = status.lastErrors.first { lines.append("  error    \(error)") }
        return lines.map { String(Message.oneLine($0).prefix(max(20, columns - 1))) }
    }

    private static func rates(_ status: MountStatus, _ before: MountStatus?, _ seconds: Double) -> String {
        guard let before, seconds > 0 else { return "…" }
        func rate(_ names: [String]) -> Int {
            let change = names.reduce(0) {
                $0 + (status.requests[$1]?.bytes ?? 0) - (before.requests[$1]?.bytes ?? 0)
            }
            return Int(Double(max(0, change)) / seconds)
        }
        let hits = max(0, status.cache.hits - before.cache.hits)
        let asked = hits + max(0, status.cache.misses - before.cache.misses)
        let share = asked == 0 ? "no reads" : "\(hits * 100 / asked) % of reads from memory"
        let operations = operationCount(status) - operationCount(before)
        return "\(ByteCount.describe(rate(["GetObject"])))/s down, "
            + "\(ByteCount.describe(rate(["PutObject", "UploadPart"])))/s up, \(share), "
            + "\(Int(Double(max(0, operations)) / seconds)) operations/s"
    }

    private static func operationCount(_ status: MountStatus) -> Int {
        (status.operations ?? [:]).values.reduce(0) { $0 + $1.count }
    }

    private static func uploadSummary(_ status: MountStatus) -> String {
        if status.dirtyFiles == 0 { return "nothing" }
        var text = "\(Message.count(status.dirtyFiles, "file")), \(ByteCount.describe(status.dirtyBytes))"
        if let seconds = status.oldestDirtySeconds {
            text += ", the oldest for \(Interval.clock(seconds: Double(seconds)))"
        }
        if status.failedUploads > 0 { text += ", \(status.failedUploads) failed" }
        return text
    }

    private static func uploads(_ status: MountStatus) -> [String] {
        // What moves first: those that wait are only counted.
        let moving = status.uploads.filter { $0.bytesDone > 0 || $0.lastError != nil }
        let shown = (moving + status.uploads.filter { $0.bytesDone == 0 && $0.lastError == nil }).prefix(uploadCountMax)
        var lines = shown.map { upload in
            let fraction = upload.bytesTotal > 0 ? Double(upload.bytesDone) / Double(upload.bytesTotal) : 0
            let filled = Int(min(1, max(0, fraction)) * Double(barColumns))
            let bar = String(repeating: "#", count: filled) + String(repeating: ".", count: barColumns - filled)
            let rate = upload.bytesPerSecond.map { ", \(ByteCount.describe($0))/s" } ?? ""
            let note = (upload.tries > 1 ? "  try \(upload.tries)" : "") + (upload.lastError.map { " \($0)" } ?? "")
            return "    [\(bar)] \(ByteCount.describe(upload.bytesTotal))\(rate)  \(upload.path)\(note)"
        }
        let omitted = status.uploads.count - shown.count + status.uploadsOmitted
        if omitted > 0 { lines.append("    and \(Message.count(omitted, "file")) more") }
        return lines
    }

    private static func requests(_ status: MountStatus, _ before: MountStatus?, _ seconds: Double) -> [String] {
        guard !status.requests.isEmpty else { return [] }
        var table = TextTable([.left, .right, .right, .right, .right, .right])
        table.add(["  requests", "all", "per s", "p50", "p99", "errors"])
        for (name, figures) in status.requests.sorted(by: { ($0.value.count, $1.key) > ($1.value.count, $0.key) }) {
            let change = figures.count - (before?.requests[name]?.count ?? figures.count)
            table.add([
                "    \(name)", "\(figures.count)", seconds > 0 ? "\(Int(Double(max(0, change)) / seconds))" : "",
                figures.p50Seconds.map(Interval.latency) ?? "", figures.p99Seconds.map(Interval.latency) ?? "",
                figures.errors > 0 ? "\(figures.errors)" : "",
            ])
        }
        return table.lines
    }

    private static func slowestRequests(_ status: MountStatus) -> [String] {
        let slow = (status.requestsUnderWay ?? []).filter { $0.seconds >= slowSeconds }.prefix(requestCountMax)
        guard !slow.isEmpty else { return [] }
        var table = TextTable([.right])
        for request in slow {
            table.add([
                "    \(Interval.latency(seconds: request.seconds))", request.operation, "try \(request.attempt)",
                (request.key ?? "") + (request.isHedge ? "  (beside a late one)" : ""),
            ])
        }
        return ["  slowest requests under way"] + table.lines
    }

    private static func waiting(_ status: MountStatus) -> [String] {
        let slow = (status.waiting ?? []).filter { $0.seconds >= slowSeconds }.prefix(waitingCountMax)
        guard !slow.isEmpty else { return [] }
        var table = TextTable([.right])
        for waiting in slow {
            table.add([
                "    \(Interval.latency(seconds: waiting.seconds))", waiting.operation, waiting.path, "\(waiting.pid)",
            ])
        }
        return ["  waiting"] + table.lines
    }

    private static func processes(_ status: MountStatus, _ before: MountStatus?) -> [String] {
        guard let processes = status.processes, !processes.isEmpty else { return [] }
        var table = TextTable([.right, .left, .right])
        for process in processes.prefix(processCountMax) {
            table.add([process.pid == 0 ? "    -" : "    \(process.pid)", process.command, "\(process.requests)"])
        }
        return ["  processes, by operations asked for"] + table.lines
    }
}
