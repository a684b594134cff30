// What the transport costs: ranged GETs of one URL over several connections, the bodies thrown away.
//
//   transport-benchmark URL TOTAL_MIB CONNECTIONS [LOOPS [RANGE_MIB [CA_BUNDLE]]]
//
// The URL is a presigned one, say. Prints rate, CPU seconds per GB (10^9 bytes), and connections made.

import Glibc
import HTTPTransport
import Synchronization

/// Counts what comes.
final class Counter: HTTPResponseSink {
    let pieceCount = Atomic(0)

    func begin(_ head: HTTPResponseHead) -> Bool { (200..<300).contains(head.status) }

    func receive(_ bytes: UnsafeRawBufferPointer) {
        pieceCount.add(1, ordering: .relaxed)
    }
}

func cpuSeconds() -> (user: Double, system: Double) {
    var usage = rusage()
    getrusage(RUSAGE_SELF.rawValue, &usage)
    func seconds(_ time: timeval) -> Double { Double(time.tv_sec) + Double(time.tv_usec) / 1e6 }
    return (seconds(usage.ru_utime), seconds(usage.ru_stime))
}

func clockSeconds() -> Double {
    var now = timespec()
    clock_gettime(CLOCK_MONOTONIC, &now)
    return Double(now.tv_sec) + Double(now.tv_nsec) / 1e9
}

let arguments = CommandLine.arguments
guard arguments.count >= 4, let totalMebibytes = Int(arguments[2]), let connections = Int(arguments[3]) else {
    print("usage: transport-benchmark URL TOTAL_MIB CONNECTIONS [LOOPS [RANGE_MIB [CA_BUNDLE]]]")
    exit(2)
}
let loops = arguments.count > 4 ? Int(arguments[4]) ?? 1 : 1
let rangeBytes = (arguments.count > 5 ? Int(arguments[5]) ?? 8 : 8) << 20
let requestCount = (totalMebibytes << 20) / rangeBytes
let transport = HTTPTransport(
    configuration: HTTPConfiguration(
        loopCount: loops, connectionsMax: connections, caBundlePath: arguments.count > 6 ? arguments[6] : nil))
let url = arguments[1]
let next = Atomic(0)
let received = Atomic(0)
let handshakes = Atomic(0)
let counter = Counter()

let began = clockSeconds()
let cpuBefore = cpuSeconds()
await withTaskGroup(of: Void.self) { group in
    for _ in 0..<connections {
        group.addTask {
            while true {
                let index = next.add(1, ordering: .relaxed).oldValue
                guard index < requestCount else { return }
                let start = index * rangeBytes
                let request = HTTPRequest(
                    method: .get, url: url, headers: [("Range", "bytes=\(start)-\(start + rangeBytes - 1)")])
                do throws(HTTPError) {
                    let response = try await transport.send(request, sink: counter)
                    guard response.status == 206 else {
                        print(
                            "status \(response.status): \(String(decoding: response.body.prefix(300), as: UTF8.self))")
                        exit(1)
                    }
                    received.add(response.metrics.bodyBytesReceived, ordering: .relaxed)
                    if !response.metrics.isConnectionReused { handshakes.add(1, ordering: .relaxed) }
                } catch {
                    print("\(error)")
                    exit(1)
                }
            }
        }
    }
}
let elapsed = clockSeconds() - began
let cpu = cpuSeconds()
let gigabytes = Double(received.load(ordering: .relaxed)) / 1e9
let user = (cpu.user - cpuBefore.user) / gigabytes
let system = (cpu.system - cpuBefore.system) / gigabytes
func rounded(_ value: Double) -> Double { (value * 1000).rounded() / 1000 }
print(
    "\(rounded(gigabytes)) GB at \(Int(gigabytes * 1000 / elapsed)) MB/s; CPU s per GB: \(rounded(user + system))",
    "(user \(rounded(user)), system \(rounded(system))); connections made \(handshakes.load(ordering: .relaxed));",
    "bytes per piece \(received.load(ordering: .relaxed) / max(1, counter.pieceCount.load(ordering: .relaxed)))")
