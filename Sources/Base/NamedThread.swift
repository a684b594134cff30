// Threads that own something not thread-safe (a curl multi handle, a listening socket) or that must not run on the
// cooperative pool because they block.

internal import CLinux
internal import Glibc

/// A detached POSIX thread with a name visible in `ps -L`, `top -H` and gdb.
///
/// Start threads only after the daemon has re-executed itself, never before a fork.
public enum NamedThread {
    /// Starts a thread running `body` once.
    /// - Parameter name: at most 15 bytes are kept by the kernel (`pthread_setname_np`).
    public static func start(_ name: String, _ body: @escaping @Sendable () -> Void) {
        let box = Unmanaged.passRetained(Body(name: name, run: body))
        var attributes = pthread_attr_t()
        pthread_attr_init(&attributes)
        pthread_attr_setdetachstate(&attributes, Int32(PTHREAD_CREATE_DETACHED))
        var thread = pthread_t()
        // SAFETY: the retain above is balanced by `takeRetainedValue` in the new thread, which runs exactly once.
        let code = pthread_create(
            &thread, &attributes,
            { pointer in
                let body = Unmanaged<Body>.fromOpaque(pointer!).takeRetainedValue()
                pail_set_thread_name(body.name)
                body.run()
                return nil
            }, box.toOpaque())
        pthread_attr_destroy(&attributes)
        precondition(code == 0, "pthread_create failed with \(code): the machine is out of threads")
    }

    private final class Body: Sendable {
        let name: String
        let run: @Sendable () -> Void

        init(name: String, run: @escaping @Sendable () -> Void) {
            self.name = name
            self.run = run
        }
    }
}
