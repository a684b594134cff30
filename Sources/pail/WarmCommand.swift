// `pail warm`: reads files and trees into the cache.
//
// It reads through the mount, as any program would: the daemon's read-ahead, its memory budget and the permissions of
// the caller hold without another way in, an error is the errno that a program would get, and the kernel keeps pages too.

internal import ArgumentParser
internal import Base
internal import Commands
internal import Control
internal import Mounts

struct WarmCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "warm",
        abstract: "Reads files and directories into the cache.",
        usage: "pail warm [--jobs N] PATH...")

    /// Enough to hide the round trips of small files; large ones read ahead by themselves.
    private static let jobsDefault = 16
    private static let jobsMax = 256

    @Option(help: ArgumentHelp("Files read at once. [16]", valueName: "n"))
    var jobs: String?
    @Argument(help: "Files or directories in a mount.")
    var paths: [String]

    mutating func run() throws {
        let jobCount = try jobs.map(Self.jobCount) ?? Self.jobsDefault
        let lookup = try MountLookup()
        let caches = try paths.map { try Self.cache(of: $0, lookup) }
        let cacheBytes = caches.map { max($0.memoryLimit, $0.disk?.limit ?? 0) }.min() ?? 0
        let job = WarmJob(limitBytes: cacheBytes, mustBeKept: caches.allSatisfy { $0.disk != nil })
        let line = ProgressLine("warming")
        line.show("looking for files")
        job.start(paths: paths, jobCount: jobCount)
        var rate = RateEstimate()
        let time = SystemTime()
        while let state = job.wait(milliseconds: 100) {
            rate.add(state.bytesDone, at: time.monotonicNanoseconds)
            line.show(
                Progress(
                    bytesDone: state.bytesDone, bytesTotal: state.bytesTotal, filesLeft: state.filesLeft,
                    rate: rate.perSecond))
        }
        line.clear()
        let outcome = job.outcome
        for failure in outcome.failures { say(Message.line("\(failure.path): \(failure.reason)")) }
        if outcome.leftOutFiles > 0 {
            say(
                Message.line(
                    "the cache holds \(ByteCount.describe(cacheBytes)); \(Message.count(outcome.leftOutFiles, "file")) of "
                        + "\(ByteCount.describe(outcome.leftOutBytes)) were left out"))
        }
        let keptBytes = max(0, outcome.bytesDone - outcome.lostBytes)
        print("\(Message.count(outcome.filesDone, "file")), \(ByteCount.describe(keptBytes)) in the cache")
        if outcome.lostFiles > 0 {
            throw CommandFailure(
                "\(ByteCount.describe(outcome.lostBytes)) of \(Message.count(outcome.lostFiles, "file")) did not stay in the "
                    + "cache: `pail status` and the log tell of its disk")
        }
        if outcome.failureCount > 0 {
            throw CommandFailure("\(Message.count(outcome.failureCount, "path")) could not be read")
        }
    }

    private static func jobCount(_ text: String) throws(UsageError) -> Int {
        guard let count = Int(text), (1...jobsMax).contains(count) else {
            throw UsageError("--jobs takes a number from 1 to \(jobsMax), not '\(text)'")
        }
        return count
    }

    /// The cache of the path's mount.
    private static func cache(of path: String, _ lookup: MountLookup) throws -> MountStatus.Cache {
        let canonical = try lookup.canonical(path)
        guard let mount = lookup.table.mount(containing: canonical), mount.isPail else {
            throw CommandFailure("\(path) is not in a mount of pail's")
        }
        do throws(ControlError) {
            return try lookup.connect(mount).status().cache
        } catch {
            throw CommandFailure("\(path): \(error)")
        }
    }
}
