// An HTTP/1.1 server that misbehaves on request: the path says how.

import Base
import Glibc
import Testing

/// A server on 127.0.0.1 with a thread per connection. See `FaultServer+Answers.swift` for what the paths do.
final class FaultServer: Sendable {
    struct Counts {
        var connections = 0
        var openConnections = 0
        var openConnectionsMax = 0
        var requests = 0
        var bodyBytes = 0
    }

    let port: Int
    private let listener: Int32
    private let counts = Lock(Counts())
    private let gate = OneShot<Void>()
    private let gateArrivals = Lock(0)

    init() {
        (listener, port) = FaultServer.listen(backlog: 512)
        NamedThread.start("fault-server") { [listener, weak self] in
            // Only here, once nothing is accepted any more: the number may be another server's listener a moment later.
            defer { close(listener) }
            while true {
                let connection = accept(listener, nil, nil)
                if connection < 0 { return }
                // A child that holds a connection would keep it from ending when we close it.
                _ = fcntl(connection, F_SETFD, FD_CLOEXEC)
                guard let self else {
                    close(connection)
                    return
                }
                self.serve(connection)
            }
        }
    }

    deinit {
        // Ends the accepting thread.
        Glibc.shutdown(listener, Int32(SHUT_RDWR))
        gate.set(())
    }

    var current: Counts { counts.withLock { $0 } }

    func url(_ path: String) -> String { "http://127.0.0.1:\(port)\(path)" }

    /// Lets the requests for `/gate` go on, now and later.
    func openGate() { gate.set(()) }

    /// Returns when that many requests have reached `/gate`; a request that failed on its way is no reason to wait for ever.
    func arrivalsAtGate(_ count: Int) async {
        for _ in 0..<12_000 {
            if gateArrivals.withLock({ $0 }) >= count { return }
            try? await Task.sleep(nanoseconds: 5_000_000)
        }
        Issue.record("no \(count) requests at the gate within a minute")
    }

    func waitAtGate() {
        gateArrivals.withLock { $0 += 1 }
        let semaphore = Semaphore()
        gate.observe { semaphore.signal() }
        semaphore.wait()
    }

    func countBody(_ bytes: Int) { counts.withLock { $0.bodyBytes += bytes } }

    /// A listening socket on a free port of 127.0.0.1.
    static func listen(backlog: Int32) -> (socket: Int32, port: Int) {
        let listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        var address = loopback(port: 0)
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { address in
                precondition(bind(listener, address, length) == 0)
                precondition(getsockname(listener, address, &length) == 0)
            }
        }
        precondition(Glibc.listen(listener, backlog) == 0)
        return (listener, Int(address.sin_port.bigEndian))
    }

    static func loopback(port: Int) -> sockaddr_in {
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = in_port_t(port).bigEndian
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        return address
    }

    private func serve(_ socket: Int32) {
        counts.withLock { counts in
            counts.connections += 1
            counts.openConnections += 1
            counts.openConnectionsMax = max(counts.openConnectionsMax, counts.openConnections)
        }
        NamedThread.start("fault-conn") { [weak self] in
            var connection = ServerConnection(socket: socket)
            while let request = connection.nextRequest() {
                // The server goes away with the test, at the latest when its connections do.
                guard let self else { break }
                self.counts.withLock { $0.requests += 1 }
                guard self.answer(request, on: &connection) else { break }
            }
            // Before the close: who sees the end of the connection sees the count too.
            self?.counts.withLock { $0.openConnections -= 1 }
            connection.close()
        }
    }
}

/// Lets a thread wait for another.
final class Semaphore: @unchecked Sendable {
    // SAFETY: a POSIX semaphore is made for several threads; it lives as long as this object.
    private let semaphore = UnsafeMutablePointer<sem_t>.allocate(capacity: 1)

    init() { sem_init(semaphore, 0, 0) }

    deinit {
        sem_destroy(semaphore)
        semaphore.deallocate()
    }

    func signal() { sem_post(semaphore) }

    func wait() {
        while sem_wait(semaphore) != 0, errno == EINTR {}
    }
}
