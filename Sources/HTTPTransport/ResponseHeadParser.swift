// From the header lines that curl hands over, one by one, to the final head. Pure: no curl, no I/O.

/// Collects the head of a response. States: reading a head → (1xx: reading the next head) → final; lines after the
/// final head are trailer fields and are dropped.
struct ResponseHeadParser {
    enum Event: Equatable {
        /// The line was taken; more are needed.
        case more
        /// The final head is complete: `head` holds it. Comes once.
        case complete
        /// The lines exceed the limit together.
        case tooLarge
        /// The status line or a field makes no sense.
        case malformed
    }

    private(set) var head = HTTPResponseHead(status: 0)
    private(set) var isComplete = false
    /// All header bytes so far, those of 1xx answers and trailers included.
    private(set) var byteCount = 0
    private let byteCountMax: Int

    init(byteCountMax: Int) {
        self.byteCountMax = byteCountMax
    }

    /// Takes one line, with or without its line end.
    mutating func receive(_ line: UnsafeRawBufferPointer) -> Event {
        byteCount += line.count
        guard byteCount <= byteCountMax else { return .tooLarge }
        guard !isComplete else { return .more }
        let text = Self.trim(line[...])
        if head.status == 0 { return receiveStatus(text) }
        if text.isEmpty, !Self.isFolded(line) { return endHead() }
        return Self.isFolded(line) ? receiveContinuation(text) : receiveField(text)
    }

    private mutating func receiveStatus(_ text: Slice<UnsafeRawBufferPointer>) -> Event {
        // `HTTP/1.1 200 OK`; the reason may be missing.
        let parts = text.split(separator: 0x20, maxSplits: 2)
        guard parts.count >= 2, parts[0].starts(with: "HTTP/".utf8), parts[1].count == 3,
            let status = Int(String(decoding: parts[1], as: UTF8.self)), (100...999).contains(status)
        else { return .malformed }
        head = HTTPResponseHead(status: status)
        return .more
    }

    private mutating func receiveField(_ text: Slice<UnsafeRawBufferPointer>) -> Event {
        guard let colon = text.firstIndex(of: 0x3A), colon > text.startIndex else { return .malformed }
        let name = String(decoding: text[..<colon], as: UTF8.self)
        let value = String(decoding: Self.trim(text[(colon + 1)...]), as: UTF8.self)
        head.headers.append((name: name, value: value))
        return .more
    }

    /// A folded line belongs to the field before it (RFC 9112, 5.2).
    private mutating func receiveContinuation(_ text: Slice<UnsafeRawBufferPointer>) -> Event {
        guard let last = head.headers.indices.last else { return .malformed }
        head.headers[last].value += " " + String(decoding: text, as: UTF8.self)
        return .more
    }

    private mutating func endHead() -> Event {
        if head.status < 200 {
            head = HTTPResponseHead(status: 0)
            return .more
        }
        isComplete = true
        return .complete
    }

    private static func isFolded(_ line: UnsafeRawBufferPointer) -> Bool {
        line.first == 0x20 || line.first == 0x09
    }

    private static func trim(_ bytes: Slice<UnsafeRawBufferPointer>) -> Slice<UnsafeRawBufferPointer> {
        func isSpace(_ byte: UInt8) -> Bool { byte == 0x20 || byte == 0x09 || byte == 0x0D || byte == 0x0A }
        var bytes = bytes
        while let first = bytes.first, isSpace(first) { bytes.removeFirst() }
        while let last = bytes.last, isSpace(last) { bytes.removeLast() }
        return bytes
    }
}
