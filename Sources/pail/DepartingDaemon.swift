// The daemon of a mount that is taken away: how it is asked, and how one knows that it has ended, and with what.

internal import Base
internal import CLinux
internal import Commands
internal import Control
internal import Glibc
internal import Mounts
internal import ObjectModel
internal import Staging

/// The daemon of a mount: its control socket, its process, and its record. Used by one task.
final class DepartingDaemon {
    /// What a daemon that has ended left staged.
    enum Rest {
        case nothing
        case some(DrainResult)
        /// There is no record of it.
        case unknown
    }

    let source: String
    /// 0 where it is not known.
    let pid: Int32
    private let mount: MountEntry
    private let lookup: MountLookup
    private let directories: [ControlDirectory]
    private let connection: ControlClient?
    private let record: MountRecord?
    /// Becomes readable when the process ends; -1 when it has ended, or is not known.
    private let process: Int32

    /// One that answers.
    init(_ mount: MountEntry) throws(ControlError) {
        guard let lookup = try? MountLookup() else { throw ControlError(.other, "cannot read the mount table") }
        (self.mount, self.lookup, source) = (mount, lookup, "\(mount.source)")
        directories = lookup.directories(userID: mount.fuseUserID)
        let client = try lookup.connect(mount)
        connection = client
        pid = try client.status().pid
        record = Self.record(mount, directories).flatMap { [pid] in $0.pid == pid ? $0 : nil }
        process = pail_open_process(pid)
    }

    /// One that does not answer, and may be dead.
    init(silent mount: MountEntry) throws(ControlError) {
        guard let lookup = try? MountLookup() else { throw ControlError(.other, "cannot read the mount table") }
        (self.mount, self.lookup, source) = (mount, lookup, "\(mount.source)")
        directories = lookup.directories(userID: mount.fuseUserID)
        connection = nil
        record = Self.record(mount, directories)
        pid = record?.pid ?? 0
        // The lock first: while it is held the number is nobody else's.
        let lives = record.map { StagedRest.isInUse($0.stagingDirectory) } ?? false
        process = lives ? pail_open_process(pid) : -1
    }

    deinit {
        if process >= 0 { close(process) }
    }

    /// The first connection, of a daemon that answered.
    var client: ControlClient {
        get throws(ControlError) { if let connection { connection } else { try reconnected() } }
    }

    /// A new connection: one that was given up in the middle cannot be used again.
    func reconnected() throws(ControlError) -> ControlClient {
        try ControlClient.connect(
            mountpoint: mount.mountpoint.string, directories: directories, silenceSeconds: 3)
    }

    /// What it says now; nil when nobody answers, or another one does.
    func status() -> MountStatus? {
        guard let status = try? reconnected().status(), status.pid == pid else { return nil }
        return status
    }

    /// Whether the process has ended, after waiting a little.
    func hasEnded(waitMilliseconds: Int32) -> Bool {
        guard process >= 0 else { return true }
        var watch = pollfd(fd: process, events: Int16(POLLIN), revents: 0)
        return poll(&watch, 1, waitMilliseconds) > 0
    }

    /// What it left. Call when it has ended.
    func rest() -> Rest {
        let latest = Self.record(mount, directories).flatMap { [pid] in $0.pid == pid ? $0 : nil }
        defer {
            latest?.remove(
                mountpoint: mount.mountpoint.string, directories: directories, ownerID: mount.fuseUserID ?? geteuid())
        }
        if let left = latest?.left { return left.filesLeft == 0 ? .nothing : .some(left) }
        let rest: StagedRest
        if let record = latest ?? record {
            rest = .ofBucket(of: record.stagingDirectory)
        } else if let bucket = try? BucketLocation.parse(source).bucket, mount.fuseUserID == geteuid() {
            // No record is left of it: what is staged of a bucket of that name is taken for its.
            rest = .ofBucket(named: bucket, stateDirectory: lookup.stateDirectory)
            if rest.isEmpty { return .unknown }
        } else {
            return .unknown
        }
        return rest.isEmpty ? .nothing : .some(Self.result(rest))
    }

    private static func record(_ mount: MountEntry, _ directories: [ControlDirectory]) -> MountRecord? {
        MountRecord.read(
            mountpoint: mount.mountpoint.string, directories: directories, ownerID: mount.fuseUserID ?? geteuid())
    }

    private static func result(_ rest: StagedRest) -> DrainResult {
        DrainResult(
            filesLeft: rest.files.count + rest.planCount, bytesLeft: rest.dirtyByteCount,
            failures: rest.files.prefix(20).map {
                DrainResult.Failure(path: $0.key?.string ?? "a damaged file", error: "not uploaded")
            })
    }
}
