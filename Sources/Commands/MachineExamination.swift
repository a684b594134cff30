// What a mount needs of this machine.

internal import Base
internal import Glibc
public import Mounts

/// The part of `pail doctor` that asks no server.
public enum MachineExamination {
    /// Room for staged data below which writing large files will soon fail, in bytes.
    static let freeBytesMin = 5 << 30

    public static func run(
        _ fuse: FuseEnvironment, stateDirectory: String, _ report: (DoctorFinding) -> Void
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
        if let path = fuse.fusermountPath {
            report(DoctorFinding(.ok, "fusermount3", path))
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
        examineDisk(stateDirectory, report)
    }

    private static func examineDisk(_ stateDirectory: String, _ report: (DoctorFinding) -> Void) {
        // It need not be there yet: the nearest directory above it is on the same disk.
        var path = stateDirectory
        var status = statvfs()
        while statvfs(path, &status) != 0, path != "/" {
            let parent = path.utf8.lastIndex(of: UInt8(ascii: "/")).map { String(path[..<$0]) } ?? ""
            path = parent.isEmpty ? "/" : parent
        }
        let free = Int(status.f_bavail) * Int(status.f_frsize)
        let text = "\(ByteCount.describe(free)) free for data not yet in S3 (\(stateDirectory))"
        report(
            free >= freeBytesMin
                ? DoctorFinding(.ok, "state directory", text)
                : DoctorFinding(
                    free < 64 << 20 ? .fail : .warn, "state directory", text,
                    remedy: "make room, or name another with --state-dir"))
    }
}
