// What the paths of the fault server do.

import Glibc

extension FaultServer {
    /// Answers one request. False ends the connection.
    func answer(_ request: ServerRequest, on connection: inout ServerConnection) -> Bool {
        if connection.dropsNext {
            _ = discardBody(of: request, on: &connection)
            return false
        }
        switch request.words.first {
        case "echo": return echo(request, on: &connection)
        case "take": return take(request, on: &connection)
        case "bytes": return sendBytes(request, on: &connection)
        case "chunked": return sendChunked(request.number(1), on: connection)
        case "once":
            connection.dropsNext = true
            return discardBody(of: request, on: &connection) && respond("ok", on: connection)
        case "close":
            _ = respond("ok", fields: ["Connection: close"], on: connection)
            return false
        case "status": return respond("status", status: "\(request.number(1)) Whatever", on: connection)
        case "interim":
            return connection.send("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
                && respond("ok", fields: ["X-Final: yes"], on: connection)
        case "head-bytes":
            return respond("ok", fields: ["X-Pad: " + String(repeating: "x", count: request.number(1))], on: connection)
        case "gate":
            waitAtGate()
            return respond("ok", on: connection)
        default: return misbehave(request, on: &connection)
        }
    }

    private func misbehave(_ request: ServerRequest, on connection: inout ServerConnection) -> Bool {
        switch request.words.first {
        // /slow/COUNT/MILLISECONDS: one byte at a time.
        case "slow": sendSlowly(request.number(1), milliseconds: request.number(2), on: connection)
        // /stall/COUNT: twice as much is announced, then nothing moves.
        case "stall":
            let count = request.number(1)
            if connection.send("HTTP/1.1 200 OK\r\nContent-Length: \(count * 2)\r\n\r\n") {
                _ = sendPattern(0..<count, on: connection)
            }
            connection.drain()
        case "silent": connection.drain()
        // /cut/ANNOUNCED/SENT
        case "cut":
            if connection.send("HTTP/1.1 200 OK\r\nContent-Length: \(request.number(1))\r\n\r\n") {
                _ = sendPattern(0..<request.number(2), on: connection)
            }
        case "cut-chunk": _ = connection.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n100\r\nshort")
        case "reset": connection.resetOnClose()
        case "reset-in-body":
            _ = connection.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc")
            connection.resetOnClose()
        case "empty": break
        case "garbage": _ = connection.send("this is not HTTP\r\n\r\n")
        case "bad-status": _ = connection.send("HTTP/1.1 abc What\r\n\r\n")
        case "bad-field": _ = connection.send("HTTP/1.1 200 OK\r\n: nothing\r\n\r\n")
        // The body is refused while it is on its way; what still comes is read, so that the answer is not lost.
        case "forbid":
            if respond("<Error/>", status: "403 Forbidden", fields: ["Connection: close"], on: connection) {
                Glibc.shutdown(connection.socket, Int32(SHUT_WR))
                connection.drain()
            }
        // Takes some of the body and breaks off.
        case "break-upload":
            _ = connection.body(atMost: 1000)
            connection.resetOnClose()
        default: _ = respond("no such path", status: "404 Not Found", on: connection)
        }
        return false
    }

    private func respond(
        _ text: String, status: String = "200 OK", fields: [String] = [], on connection: ServerConnection
    ) -> Bool {
        let lines = ["HTTP/1.1 \(status)", "Content-Length: \(text.utf8.count)"] + fields
        return connection.send(lines.map { $0 + "\r\n" }.joined() + "\r\n" + text)
    }

    /// The body of the request; without one, its head.
    private func echo(_ request: ServerRequest, on connection: inout ServerConnection) -> Bool {
        var body: [UInt8] = []
        while body.count < request.contentLength {
            guard let piece = connection.body(atMost: request.contentLength - body.count) else { return false }
            body += piece
        }
        if request.method == "GET" || request.method == "DELETE" { body = Array(request.head.utf8) }
        let fields = request.head.split(separator: "\r\n").dropFirst().map { "Echo-\($0)\r\n" }.joined()
        let head = "HTTP/1.1 200 OK\r\nContent-Length: \(body.count)\r\nEcho-Method: \(request.method)\r\n\(fields)\r\n"
        return connection.send(head) && (request.method == "HEAD" || connection.send(body))
    }

    /// Reads a body and says whether it was the pattern.
    private func take(_ request: ServerRequest, on connection: inout ServerConnection) -> Bool {
        var offset = 0
        var isPattern = true
        while offset < request.contentLength {
            guard let piece = connection.body(atMost: min(1 << 20, request.contentLength - offset)) else {
                return false
            }
            isPattern = isPattern && piece.withUnsafeBytes { Pattern.matches($0, at: offset) }
            offset += piece.count
            countBody(piece.count)
        }
        return respond(isPattern ? "pattern" : "other", on: connection)
    }

    private func discardBody(of request: ServerRequest, on connection: inout ServerConnection) -> Bool {
        var left = request.contentLength
        while left > 0 {
            guard let piece = connection.body(atMost: left) else { return false }
            left -= piece.count
        }
        return true
    }

    /// /bytes/COUNT, with `Range: bytes=A-B`.
    private func sendBytes(_ request: ServerRequest, on connection: inout ServerConnection) -> Bool {
        let count = request.number(1)
        var range = 0..<count
        var status = "200 OK"
        var fields = ""
        if let text = request.field("range")?.split(separator: "=").last {
            let ends = text.split(separator: "-").compactMap { Int($0) }
            range = ends[0]..<(ends[1] + 1)
            status = "206 Partial Content"
            fields = "Content-Range: bytes \(ends[0])-\(ends[1])/\(count)\r\n"
        }
        let head = "HTTP/1.1 \(status)\r\nContent-Length: \(range.count)\r\n\(fields)\r\n"
        return connection.send(head) && (request.method == "HEAD" || sendPattern(range, on: connection))
    }

    private func sendChunked(_ count: Int, on connection: ServerConnection) -> Bool {
        guard connection.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n") else { return false }
        var offset = 0
        while offset < count {
            let size = min(count - offset, 10_007)
            guard connection.send(String(size, radix: 16) + "\r\n"),
                sendPattern(offset..<(offset + size), on: connection), connection.send("\r\n")
            else { return false }
            offset += size
        }
        return connection.send("0\r\nX-Trailer: last\r\n\r\n")
    }

    private func sendPattern(_ range: Range<Int>, on connection: ServerConnection) -> Bool {
        var buffer = [UInt8](repeating: 0, count: min(range.count, 1 << 20))
        var offset = range.lowerBound
        while offset < range.upperBound {
            let count = min(buffer.count, range.upperBound - offset)
            let isSent = buffer.withUnsafeMutableBytes { bytes in
                let piece = UnsafeMutableRawBufferPointer(rebasing: bytes[..<count])
                Pattern.fill(piece, at: offset)
                return connection.send(UnsafeRawBufferPointer(piece))
            }
            if !isSent { return false }
            offset += count
        }
        return true
    }

    private func sendSlowly(_ count: Int, milliseconds: Int, on connection: ServerConnection) {
        guard connection.send("HTTP/1.1 200 OK\r\nContent-Length: \(count)\r\n\r\n") else { return }
        for offset in 0..<count {
            usleep(UInt32(milliseconds) * 1000)
            guard sendPattern(offset..<(offset + 1), on: connection) else { return }
        }
    }
}
