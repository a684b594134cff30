// Messages to the service manager, for `Type=notify` units.

internal import CLinux
internal import Glibc

enum ServiceNotification {
    /// Sends `READY=1`, `STOPPING=1` or the like when systemd asked for it (sd_notify(3)); else does nothing.
    static func send(_ text: String) {
        guard let path = getenv("NOTIFY_SOCKET").map({ String(cString: $0) }) else { return }
        let descriptor = pail_connect_datagram(path)
        guard descriptor >= 0 else { return }
        defer { close(descriptor) }
        let bytes = Array(text.utf8)
        _ = Glibc.send(descriptor, bytes, bytes.count, Int32(MSG_NOSIGNAL))
    }
}
