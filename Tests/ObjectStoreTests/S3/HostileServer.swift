// One object on a server that goes wrong in each way a network, a proxy or a server can, by the dice.

import Base
import HTTPTransport
import MemoryStore
import ObjectModel
import S3Protocol

/// Serves GETs of one object whose versions follow each other, and spoils answers. Thread-safe.
final class HostileServer: HTTPSending {
    enum Fault: CaseIterable, Sendable {
        case refused, busy, resetBeforeTheHead, resetInTheBody, stall
        /// A success whose body is shorter or longer than its head says.
        case shortBody, longBody, noBody
        case wrongLength, noLength, wrongETag, noETag, wrongRange, noRange
        case wholeObject
        /// What a captive portal or a proxy says, with status 200 or with 206.
        case page, partialPage
        /// The present version, whatever `If-Match` says.
        case ignoresTheCondition
    }

    /// Of no version: who names none must take it for one.
    static let wrongETag = ETag("another")!

    struct Version: Sendable {
        let number: Int
        let bytes: [UInt8]

        var etag: ETag { ETag("version-\(number)")! }
    }

    private struct State {
        var dice: SplitMix64
        var versions: [Version]
        var faultChance: Double
        var changeChance: Double
    }

    private let state: Lock<State>

    init(seed: UInt64, byteCount: Int, faultChance: Double, changeChance: Double) {
        let first = Self.version(1, byteCount)
        state = Lock(
            State(
                dice: SplitMix64(seed: seed), versions: [first], faultChance: faultChance, changeChance: changeChance))
    }

    /// All versions so far.
    var versions: [Version] { state.withLock { $0.versions } }

    func behave() {
        state.withLock { ($0.faultChance, $0.changeChance) = (0, 0) }
    }

    private static func version(_ number: Int, _ byteCount: Int) -> Version {
        var dice = SplitMix64(seed: UInt64(number))
        return Version(number: number, bytes: (0..<byteCount).map { _ in UInt8(dice.next() >> 40 % 255) + 1 })
    }

    /// An answer as it goes over the wire; `end` breaks it off behind the body.
    private struct Answer {
        var status: Int
        var headers: [String: String]
        var body: [UInt8]
        var end: HTTPError.Kind?
    }

    func send(
        _ request: HTTPRequest, body: (any HTTPBodySource)?, sink: (any HTTPResponseSink)?
    ) async throws(HTTPError) -> HTTPResponse {
        let (fault, version, dice): (Fault?, Version, UInt64) = state.withLock { state in
            if Double.random(in: 0..<1, using: &state.dice) < state.changeChance {
                let byteCount = Int.random(in: 1...6000, using: &state.dice)
                state.versions.append(Self.version(state.versions.count + 1, byteCount))
            }
            let isFaulty = Double.random(in: 0..<1, using: &state.dice) < state.faultChance
            let fault = isFaulty ? Fault.allCases.randomElement(using: &state.dice) : nil
            return (fault, state.versions.last!, state.dice.next())
        }
        if fault == .resetBeforeTheHead { throw Self.error(.receiveFailed) }
        let answer = Self.answer(HeaderFields(request.headers), version, fault, Int(dice % 10_000))
        let head = HTTPResponseHead(status: answer.status, headers: answer.headers.map { ($0.key, $0.value) })
        var collected: [UInt8] = []
        if let sink, sink.begin(head) {
            for start in stride(from: 0, to: answer.body.count, by: 700) {
                Array(answer.body[start..<min(start + 700, answer.body.count)]).withUnsafeBytes { sink.receive($0) }
            }
        } else {
            collected = answer.body
        }
        if let kind = answer.end { throw Self.error(kind) }
        return HTTPResponse(head: head, body: collected, metrics: HTTPMetrics())
    }

    private static func error(_ kind: HTTPError.Kind) -> HTTPError {
        HTTPError(kind, message: "hostile", mayHaveReachedServer: true)
    }

    private static func refusal(_ status: Int, _ code: String) -> Answer {
        Answer(status: status, headers: [:], body: Array("<Error><Code>\(code)</Code></Error>".utf8))
    }

    /// - Parameter random: 0 ..< 10,000.
    private static func answer(_ asked: HeaderFields, _ version: Version, _ fault: Fault?, _ random: Int) -> Answer {
        let total = version.bytes.count
        // Nobody could tell a page that is as long as the range.
        let page = Array(String(repeating: "<html>Please log in.</html>", count: 1 + random % 40).utf8)
        switch fault {
        case .refused: return refusal(500, "InternalError")
        case .busy: return refusal(503, "SlowDown")
        case .page: return Answer(status: 200, headers: ["Content-Length": "\(page.count)"], body: page)
        default: break
        }
        if fault != .ignoresTheCondition, let condition = asked["If-Match"], condition != "\"\(version.etag)\"" {
            return refusal(412, "PreconditionFailed")
        }
        let bounds = asked["Range"]?.dropFirst("bytes=".count).split(separator: "-").compactMap { Int($0) }
        var range = 0..<total
        if let bounds {
            guard bounds[0] < total else { return refusal(416, "InvalidRange") }
            range = bounds[0]..<min(bounds[1] + 1, total)
        }
        let isPartial = bounds != nil && fault != .wholeObject
        if !isPartial { range = 0..<total }
        var answer = Answer(
            status: isPartial ? 206 : 200,
            headers: [
                "ETag": "\"\(version.etag)\"", "Content-Length": "\(range.count)",
                "Last-Modified": "Fri, 24 May 2013 00:00:00 GMT",
            ], body: Array(version.bytes[range]))
        if isPartial { answer.headers["Content-Range"] = "bytes \(range.lowerBound)-\(range.upperBound - 1)/\(total)" }
        let some = random % max(1, range.count)
        switch fault {
        case .resetInTheBody: (answer.body, answer.end) = (Array(answer.body[..<some]), .receiveFailed)
        case .stall: (answer.body, answer.end) = (Array(answer.body[..<some]), .timedOut(.stall))
        case .shortBody: answer.body = Array(answer.body[..<some])
        case .longBody: answer.body += page
        case .noBody: answer.body = []
        case .wrongLength: answer.headers["Content-Length"] = "\(random)"
        case .noLength: answer.headers["Content-Length"] = nil
        case .wrongETag: answer.headers["ETag"] = "\"\(wrongETag)\""
        case .noETag: answer.headers["ETag"] = nil
        case .wrongRange:
            answer.headers["Content-Range"] =
                "bytes \(random)-\(random + range.count - 1)/\(max(total, random + range.count))"
        case .noRange: answer.headers["Content-Range"] = nil
        case .partialPage where page.count != range.count:
            (answer.headers["Content-Length"], answer.body) = ("\(page.count)", page)
        default: break
        }
        return answer
    }
}
