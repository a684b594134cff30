// What mounts that ended left staged, looked at by who did not stage it.

internal import Glibc
public import ObjectModel

/// Data that ended mounts of one bucket left, and which is not in the bucket. Looking changes nothing and locks nothing: a mount
/// that starts meanwhile would take what is locked for somebody else's.
public struct StagedRest: Sendable, Equatable {
    public struct File: Sendable, Equatable {
        /// Nil when its journal is damaged.
        public let key: ObjectKey?
        public let dirtyByteCount: Int
    }

    /// Files to upload, and objects to remove; the latter with 0 bytes.
    public private(set) var files: [File] = []
    /// Renames of directories that are not done.
    public private(set) var planCount = 0

    public var isEmpty: Bool { files.isEmpty && planCount == 0 }
    public var dirtyByteCount: Int { files.reduce(0) { $0 + $1.dirtyByteCount } }

    /// What is left in sessions that no mount uses, of the bucket of a session.
    /// - Parameter session: as `StagingArea.sessionDirectory` told it; nothing is left of it when it is not there.
    public static func ofBucket(of session: String) -> StagedRest {
        guard let slash = session.lastIndex(of: "/"), let identity = StagingArea.readText(session + "/owner") else {
            return StagedRest()
        }
        return ended(in: String(session[..<slash])) { $0 == identity }
    }

    /// The same by the name of the bucket, whatever its endpoint: for who knows no session.
    public static func ofBucket(named bucket: String, stateDirectory: String) -> StagedRest {
        ended(in: stateDirectory + "/staging") { identity in
            // Endpoint, bucket, and what else tells whose it is.
            identity.split(separator: " ").dropFirst().first.map { $0 == bucket } ?? false
        }
    }

    /// What ended mounts of other buckets left beside a session, one for each of theirs; by session.
    public static func ofOthers(than session: String) -> [StagingLeftover] {
        guard let slash = session.lastIndex(of: "/"), let identity = StagingArea.readText(session + "/owner") else {
            return []
        }
        return leftovers(in: String(session[..<slash])) { $0 != identity }
    }

    /// What this user's ended mounts left in a state directory, of whatever bucket; by session. Nothing when there is no such directory.
    public static func ofAll(stateDirectory: String) -> [StagingLeftover] {
        leftovers(in: stateDirectory + "/staging") { _ in true }
    }

    private static func leftovers(in root: String, where isWanted: (String) -> Bool) -> [StagingLeftover] {
        sessions(in: root, where: isWanted).compactMap { directory, identity in
            var rest = StagedRest()
            rest.add(directory)
            guard !rest.isEmpty else { return nil }
            return StagingLeftover(
                bucketIdentity: identity, mountpoint: StagingArea.readText(directory + "/owner", line: 1) ?? "",
                directory: directory, fileCount: rest.files.count + rest.planCount, byteCount: rest.dirtyByteCount)
        }
    }

    /// Whether the mount of a session lives.
    public static func isInUse(_ session: String) -> Bool {
        var status = stat()
        return lstat(session + "/owner", &status) == 0 && lockedInodes().contains(UInt64(status.st_ino))
    }

    private static func ended(in root: String, where isWanted: (String) -> Bool) -> StagedRest {
        var rest = StagedRest()
        for (directory, _) in sessions(in: root, where: isWanted) { rest.add(directory) }
        return rest
    }

    /// The sessions that no mount uses.
    private static func sessions(
        in root: String, where isWanted: (String) -> Bool
    ) -> [(directory: String, identity: String)] {
        let locked = lockedInodes()
        return StagingArea.entries(of: root).compactMap { name in
            let directory = root + "/" + name
            var status = stat()
            guard lstat(directory + "/owner", &status) == 0, status.st_mode & S_IFMT == S_IFREG,
                status.st_uid == geteuid(), !locked.contains(UInt64(status.st_ino)),
                let identity = StagingArea.readText(directory + "/owner"), isWanted(identity)
            else { return nil }
            return (directory, identity)
        }
    }

    private mutating func add(_ directory: String) {
        for name in StagingArea.entries(of: directory) {
            let path = directory + "/" + name
            if name.hasSuffix(StagingArea.planSuffix) {
                planCount += 1
            } else if name.hasSuffix(RemovalJournal.suffix) {
                files += Self.files(RemovalJournal.load(path))
            } else if name.hasSuffix(MarkerJournal.suffix) {
                files += Self.files(MarkerJournal.load(path))
            } else if name.hasSuffix(StagingPair.journalSuffix) {
                guard let records = Journal.peek(path) else {
                    files.append(File(key: nil, dirtyByteCount: 0))
                    continue
                }
                guard let contents = StagedContents(replaying: records), contents.isChanged else { continue }
                files.append(File(key: contents.identity.key, dirtyByteCount: contents.dirtyByteCount))
            }
        }
    }

    /// What a journal of requests names. Of one that is damaged nobody knows; it is told as one.
    private static func files(_ requests: [some JournalledRequest]?) -> [File] {
        guard let requests else { return [File(key: nil, dirtyByteCount: 0)] }
        return Set(requests.map(\.key)).sorted().map { File(key: $0, dirtyByteCount: 0) }
    }

    /// The inodes of all files that anybody holds an flock on (proc_locks(5)). Its device numbers are not stat's on every
    /// file system, so the inode must do.
    private static func lockedInodes() -> Set<UInt64> {
        let descriptor = open("/proc/locks", O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return [] }
        defer { close(descriptor) }
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 64 << 10)
        while true {
            let count = read(descriptor, &buffer, buffer.count)
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { break }
            bytes += buffer[..<count]
        }
        return lockedInodes(String(decoding: bytes, as: UTF8.self))
    }

    /// `5: FLOCK  ADVISORY  WRITE 1234 08:01:131 0 EOF`; a waiter has `->` behind the number.
    static func lockedInodes(_ text: String) -> Set<UInt64> {
        Set(
            text.split(separator: "\n").compactMap { line in
                let words = line.split(separator: " ")
                guard words.count >= 6, words[1] == "FLOCK" else { return nil }
                return words[5].split(separator: ":").last.flatMap { UInt64($0) }
            })
    }
}
