// The state of a mount, for people.

internal import Base
public import Control

/// The text of `pail status`.
public enum StatusReport {
    /// Uploads beyond it are only counted.
    static let uploadCountMax = 20

    /// The lines of one mount.
    public static func lines(_ status: MountStatus) -> [String] {
        let access = status.isReadOnly ? "read-only" : "read-write"
        let state = status.state == .draining ? "draining" : "mounted"
        let age = Interval.clock(seconds: Double(status.uptimeSeconds))
        var lines = [
            "\(status.mountpoint)  \(status.source)",
            "  \(state) \(access) for \(age), pid \(status.pid), pail \(status.version)",
            "  endpoint   \(status.endpoint)" + (status.region.isEmpty ? "" : " (region \(status.region))"),
            "  to upload  \(toUpload(status))",
            "  cache      \(cache(status.cache))",
        ]
        if let seconds = status.unreachableSeconds {
            lines.append("  no answer  from the endpoint for \(Interval.clock(seconds: Double(seconds)))")
        }
        if let disk = status.cache.disk { lines.append("  disk cache \(self.disk(disk))") }
        if let prefetch = status.prefetch, prefetch.files > 0 {
            lines.append(
                "  neighbours \(Message.count(prefetch.files, "file")) prefetched, \(prefetch.used) used, "
                    + "\(prefetch.wasted) wasted")
        }
        if !status.requests.isEmpty { lines.append("  requests   \(requests(status.requests))") }
        for rename in status.renames ?? [] {
            lines.append(
                "  renaming   \(rename.from) to \(rename.to): \(rename.objectsCopied) of "
                    + "\(Message.count(rename.objectsTotal, "object")) copied"
                    + (rename.isResumed ? ", begun by an earlier mount" : ""))
        }
        lines += uploads(status)
        lines += status.leftovers.map { "  \(text($0))" }
        for path in status.damaged ?? [] {
            lines.append("  damaged    \(path): staged data of an earlier mount, left where it is")
        }
        if !status.lastErrors.isEmpty {
            lines.append("  last errors, newest first:")
            lines += status.lastErrors.map { "    \($0)" }
        }
        return lines.map(Message.oneLine)
    }

    /// What a mount that is gone left, and what to do about it.
    public static func text(_ leftover: MountStatus.Leftover) -> String {
        let place = leftover.mountpoint.isEmpty ? "another mount" : leftover.mountpoint
        return Message.oneLine(
            "left behind by \(place): \(Message.count(leftover.files, "file")), \(ByteCount.describe(leftover.bytes)); "
                + "mount \(leftover.source)\(leftover.endpoint.map { " --endpoint \($0)" } ?? "")\(leftover.needsCustomerKey == true ? " with its --sse-c-key-file" : "") to upload them"
        )
    }

    private static func toUpload(_ status: MountStatus) -> String {
        if status.dirtyFiles == 0 { return "nothing" }
        var text = "\(Message.count(status.dirtyFiles, "file")), \(ByteCount.describe(status.dirtyBytes))"
        if status.failedUploads > 0 { text += " (\(status.failedUploads) failed, tried again)" }
        return text
    }

    private static func cache(_ cache: MountStatus.Cache) -> String {
        let memory = "\(ByteCount.describe(cache.memoryBytes)) of \(ByteCount.describe(cache.memoryLimit)) in memory"
        let asked = cache.hits + cache.misses
        let share = asked == 0 ? "" : " (\(cache.hits * 100 / asked) %)"
        return "\(memory), \(cache.hits) hits\(share), \(cache.misses) misses, "
            + "\(ByteCount.describe(cache.bytesFetched)) fetched"
    }

    private static func disk(_ disk: MountStatus.Disk) -> String {
        var text = "\(ByteCount.describe(disk.bytes)) of \(ByteCount.describe(disk.limit)) in \(disk.directory), "
        text += "\(ByteCount.describe(disk.bytesRead)) read, \(ByteCount.describe(disk.bytesWritten)) written"
        if disk.writesSkipped > 0 { text += ", \(Message.count(disk.writesSkipped, "block")) not written" }
        if disk.corruptBlocks > 0 { text += ", \(Message.count(disk.corruptBlocks, "block")) damaged" }
        return text
    }

    private static func requests(_ requests: [String: MountStatus.Requests]) -> String {
        requests.sorted { $0.key < $1.key }.map { name, figures in
            var notes: [String] = []
            if figures.bytes > 0 { notes.append(ByteCount.describe(figures.bytes)) }
            if figures.hedged > 0 { notes.append("\(figures.hedged) raced, \(figures.hedgesWon) won") }
            if figures.stalled > 0 { notes.append("\(figures.stalled) stalled and replaced") }
            if figures.errors > 0 { notes.append(Message.count(figures.errors, "error")) }
            return "\(name) \(figures.count)" + (notes.isEmpty ? "" : " (\(notes.joined(separator: ", ")))")
        }.joined(separator: ", ")
    }

    private static func failure(_ upload: MountStatus.Upload, _ error: String) -> String {
        error + (upload.ageSeconds.map { " (waits for \(Interval.clock(seconds: Double($0))))" } ?? "")
    }

    private static func uploads(_ status: MountStatus) -> [String] {
        guard !status.uploads.isEmpty else { return [] }
        var table = TextTable([.right, .right, .right])
        for upload in status.uploads.prefix(uploadCountMax) {
            let fraction = upload.bytesTotal > 0 ? Double(upload.bytesDone) / Double(upload.bytesTotal) : 0
            table.add([
                "\(Int(min(1, max(0, fraction)) * 100)) %", ByteCount.describe(upload.bytesTotal),
                upload.bytesPerSecond.map { "\(ByteCount.describe($0))/s" } ?? "", Message.oneLine(upload.path),
                upload.tries > 1 ? "try \(upload.tries)" : "", upload.lastError.map { failure(upload, $0) } ?? "",
            ])
        }
        let omitted = max(0, status.uploads.count - uploadCountMax) + status.uploadsOmitted
        return table.lines.map { "    \($0)" } + (omitted > 0 ? ["    and \(Message.count(omitted, "file")) more"] : [])
    }
}
