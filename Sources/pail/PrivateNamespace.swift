// A mount namespace for one command, so that nothing that is mounted for it can be left behind.

internal import Base
internal import CLinux

/// A command that has to do something while the process has one thread only.
protocol SoleThreadCommand {
    /// Called on the main thread before any other is started.
    func prepare() throws
}

/// The namespace that this process moved into.
enum PrivateNamespace {
    private static let entered = OneShot<Bool>()

    /// Whether mounts of this process are its own and its children's alone.
    static var isEntered: Bool { entered.current ?? false }

    /// Moves there where the machine allows it. Call once, while there is one thread.
    static func enter() {
        entered.set(pail_enter_private_namespace() == 0)
    }

    /// Runs `body`, in which programs that are started may mount.
    static func sharingMountRight<Failure: Error>(_ body: () throws(Failure) -> Void) throws(Failure) {
        guard isEntered else { return try body() }
        _ = pail_share_mount_right(1)
        defer { _ = pail_share_mount_right(0) }
        try body()
    }
}
