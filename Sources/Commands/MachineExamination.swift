// What a mount needs of this machine.

internal import Base
internal import Glibc
public import Mounts

/// The part of `pail doctor` that asks no server.
public enum MachineExamination {
    /// Room for staged data below which writing large files will soon fail, in bytes.
    static let freeBytesMin = 5 << 30

    /// - Parameters:
    ///   - cacheDirectory: empty for none.
    ///   - cacheFreePercent: how much of its file system a cache leaves free.
    public static func run(
        _ fuse: FuseEnvironment, stateDirectory: String, cacheDirectory: String, cacheFreePercent: Int,
        _ report: (DoctorFinding) -> Void
    ) {
        let descriptor = open(fuse.devicePath, O_RDWR | O_CLOEXEC)
        if descriptor >= 0 {
            close(descriptor)
            report(DoctorFinding(.ok, "fuse device", fuse.devicePath))
        } else {
            report(
                DoctorFinding(
                    .fail, "fuse device", "\(fuse.devicePath): \(String(cString: strerror(errno)))",
                    remedy: "modprobe fuse; in a container: --device /dev/fuse --cap-add SYS_ADMIN"))
        }
        var status = stat()
        if let path = fuse.fusermountPath, stat(path, &status) == 0 {
            // Root mounts without it, and others with its rights alone.
            report(
                status.st_mode & S_ISUID != 0 || fuse.userID == 0
                    ? DoctorFinding(.ok, "fusermount3", path)
                    : DoctorFinding(
                        .fail, "fusermount3", "\(path) is not set-user-ID: ordinary users cannot mount",
                        remedy: "chown root \(path) && chmod 4755 \(path), or install the package fuse3 again"))
        } else {
            let isNeeded = fuse.userID != 0
            report(
                DoctorFinding(
                    isNeeded ? .fail : .warn, "fusermount3", "not found; ordinary users need it to mount",
                    remedy: "install the package fuse3"))
        }
        report(
            fuse.allowsOthersForUsers || fuse.userID == 0
                ? DoctorFinding(.ok, "user_allow_other", fuse.userID == 0 ? "not needed by root" : "is set")
                : DoctorFinding(
                    .warn, "user_allow_other", "not set: --allow-other is for root only",
                    remedy: "add the line user_allow_other to \(fuse.configurationPath)"))
        examineState(stateDirectory, report)
        if !cacheDirectory.isEmpty { examineCache(cacheDirectory, freePercent: cacheFreePercent, report) }
    }

    /// The bytes that are free for us where a directory is, or would be, and those that there are in all.
    private static func disk(of directory: String) -> (freeBytes: Int, bytes: Int) {
        // It need not be there yet: the nearest directory above it is on the same disk.
        var path = directory
        var status = statvfs()
        while statvfs(path, &status) != 0, path != "/" {
            let parent = path.utf8.lastIndex(of: UInt8(ascii: "/")).map { String(path[..<$0]) } ?? ""
            path = parent.isEmpty ? "/" : parent
        }
        return (Int(status.f_bavail) * Int(status.f_frsize), Int(status.f_blocks) * Int(status.f_frsize))
    }

    private static func examineCache(
        _ directory: String, freePercent: Int, _ report: (DoctorFinding) -> Void
    ) {
        let (free, total) = disk(of: directory)
        let room = max(0, free - total / 100 * freePercent)
        let text =
            "\(ByteCount.describe(free)) free, \(ByteCount.describe(room)) of it for what was read (\(directory))"
        report(
            room >= 64 << 20
                ? DoctorFinding(.ok, "cache directory", text)
                : DoctorFinding(
                    .warn, "cache directory", text,
                    remedy: "make room, name another with --cache-dir, or leave less free with --cache-free"))
    }

    private static func examineState(_ stateDirectory: String, _ report: (DoctorFinding) -> Void) {
        let free = disk(of: stateDirectory).freeBytes
        let text = "\(ByteCount.describe(free)) free for data not yet in S3 (\(stateDirectory))"
        report(
            free >= freeBytesMin
                ? DoctorFinding(.ok, "state directory", text)
                : DoctorFinding(
                    free < 64 << 20 ? .fail : .warn, "state directory", text,
                    remedy: "make room, or name another with --state-dir"))
    }
}
