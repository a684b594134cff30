// The server's end of one connection: plain blocking reads and writes.

import Glibc

struct ServerRequest {
    var method: String
    var target: String
    /// Request line and fields, as they came, without the empty line.
    var head: String
    var contentLength: Int

    /// `/cut/100/50` has the words `cut`, `100`, `50`.
    var words: [String] { target.split(separator: "/").map(String.init) }

    func number(_ index: Int) -> Int { Int(words[index]) ?? 0 }

    /// The value of a field, by its lower-case name.
    func field(_ name: String) -> String? {
        for line in head.split(separator: "\r\n").dropFirst() where line.lowercased().hasPrefix(name + ":") {
            return String(line.dropFirst(name.count + 1).drop { $0 == " " })
        }
        return nil
    }
}

struct ServerConnection {
    let socket: Int32
    /// Set by `/once`: the next request on this connection is read and not answered.
    var dropsNext = false
    private var buffered: [UInt8] = []

    init(socket: Int32) {
        self.socket = socket
        var on: Int32 = 1
        setsockopt(socket, Int32(IPPROTO_TCP), TCP_NODELAY, &on, socklen_t(MemoryLayout<Int32>.size))
    }

    /// Nil when the peer has closed.
    mutating func nextRequest() -> ServerRequest? {
        while true {
            if let end = endOfHead() {
                let head = String(decoding: buffered[..<end], as: UTF8.self)
                buffered.removeFirst(end + 4)
                let words = head.prefix { $0 != "\r\n" }.split(separator: " ").map(String.init)
                guard words.count == 3 else { return nil }
                var request = ServerRequest(method: words[0], target: words[1], head: head, contentLength: 0)
                request.contentLength = request.field("content-length").flatMap { Int($0) } ?? 0
                return request
            }
            guard let bytes = receive(atMost: 65536) else { return nil }
            buffered += bytes
        }
    }

    /// The next bytes of a request body; nil when the peer has closed.
    mutating func body(atMost count: Int) -> [UInt8]? {
        if buffered.isEmpty { return receive(atMost: count) }
        let piece = Array(buffered.prefix(count))
        buffered.removeFirst(piece.count)
        return piece
    }

    /// False when the peer has closed.
    func send(_ text: String) -> Bool { send(Array(text.utf8)) }

    func send(_ bytes: [UInt8]) -> Bool {
        bytes.withUnsafeBytes { send($0) }
    }

    func send(_ bytes: UnsafeRawBufferPointer) -> Bool {
        var sent = 0
        while sent < bytes.count {
            let count = Glibc.send(socket, bytes.baseAddress! + sent, bytes.count - sent, Int32(MSG_NOSIGNAL))
            if count <= 0 { return false }
            sent += count
        }
        return true
    }

    /// Reads until the peer closes.
    func drain() {
        while receive(atMost: 1 << 20) != nil {}
    }

    /// Makes the close a reset instead of an orderly end.
    func resetOnClose() {
        var value = linger(l_onoff: 1, l_linger: 0)
        setsockopt(socket, SOL_SOCKET, SO_LINGER, &value, socklen_t(MemoryLayout<linger>.size))
    }

    func close() { Glibc.close(socket) }

    private func receive(atMost capacity: Int) -> [UInt8]? {
        let bytes = [UInt8](unsafeUninitializedCapacity: capacity) { buffer, count in
            count = max(0, recv(socket, buffer.baseAddress, capacity, 0))
        }
        return bytes.isEmpty ? nil : bytes
    }

    private func endOfHead() -> Int? {
        guard buffered.count >= 4 else { return nil }
        return (0...(buffered.count - 4)).first { Array(buffered[$0..<($0 + 4)]) == [13, 10, 13, 10] }
    }
}
