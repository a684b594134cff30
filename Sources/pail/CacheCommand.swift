// `pail cache`: what is kept on disk of what was read, and its removal.

internal import ArgumentParser
internal import Base
internal import BlockCache
internal import Commands
internal import FileSystem

struct CacheCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "cache",
        abstract: "Shows or clears the disk cache; mounts may be using it.",
        usage: "pail cache [status | clear] [--cache-dir DIR]")

    enum Action: String, ExpressibleByArgument, CaseIterable {
        case status, clear
    }

    @Option(
        help: ArgumentHelp(
            "The cache directory. [$PAIL_CACHE_DIR; XDG cache directory, root: /var/cache/pail]", valueName: "dir"))
    var cacheDir: String?
    @Argument(help: "status: how much is kept, by bucket; clear: removes it all. [status]")
    var action: Action = .status

    mutating func run() throws {
        let environment = LaunchEnvironment.current()
        let directory: String
        if let cacheDir {
            guard !cacheDir.isEmpty else { throw UsageError("--cache-dir needs a value") }
            directory = environment.absolute(cacheDir)
        } else {
            directory = try environment.completedCacheDirectory()
        }
        do throws(DiskCacheContents.Failure) {
            switch action {
            case .status:
                for line in CacheReport.lines(
                    directory: directory, try DiskCacheContents.buckets(directory: directory).map(Self.row))
                { print(line) }
            case .clear:
                AttributeStore.clear(cacheDirectory: directory)
                try DiskCacheContents.clear(directory: directory)
            }
        } catch {
            throw CommandFailure("\(directory): \(error.text)")
        }
    }

    private static func row(_ bucket: DiskCacheContents.Bucket) -> CacheReport.Row {
        CacheReport.Row(bucket: bucket.name, objects: bucket.objects, bytes: bucket.bytes)
    }
}
