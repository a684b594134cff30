// What fusermount3 says, understood. Its exit code is 1 for every failure, so the text is all there is; it sets no locale,
// and its texts are those of strerror in English.

internal import Base
internal import Glibc

enum FusermountMessage {
    static func parse(_ message: String, mount: MountEntry) -> UnmountAttempt {
        // The mountpoint in the message could contain any of these words: look behind it.
        let text = afterMountpoint(message, mount)
        for (words, answer) in [
            ("Device or resource busy", UnmountAttempt.busy),
            ("Invalid argument", .notMounted),
            ("No such file or directory", .notMounted),
            (" not mounted", .notMounted),
            // It looks in /etc/mtab for a FUSE mount of this user; the mount table says that something is mounted.
            ("not found in", .notPermitted(remedy: ownershipRemedy(mount))),
            ("Operation not permitted", .notPermitted(remedy: ownershipRemedy(mount))),
            ("Permission denied", .notPermitted(remedy: ownershipRemedy(mount))),
        ] where text.utf8Contains(words) {
            return answer
        }
        return .failed(errno: EIO)
    }

    /// Whom to ask when this user may not unmount.
    static func ownershipRemedy(_ mount: MountEntry) -> String {
        if let owner = mount.fuseUserID, owner != geteuid() {
            return "it was mounted by \(UserName.of(owner)): unmount it as that user or as root"
        }
        return "unmount it as root; if fusermount3 is not set-user-ID root, reinstall the package fuse3"
    }

    private static func afterMountpoint(_ message: String, _ mount: MountEntry) -> String {
        let bytes = Array(message.utf8)
        let name = Array(mount.mountpoint.string.utf8)
        guard bytes.count >= name.count else { return message }
        for start in stride(from: bytes.count - name.count, through: 0, by: -1)
        where bytes[start..<(start + name.count)].elementsEqual(name) {
            return String(decoding: bytes[(start + name.count)...], as: UTF8.self)
        }
        return message
    }
}

extension String {
    fileprivate func utf8Contains(_ words: String) -> Bool {
        var rest = utf8[...]
        while rest.count >= words.utf8.count {
            if rest.starts(with: words.utf8) { return true }
            rest = rest.dropFirst()
        }
        return false
    }
}
