// The log backend: form of a line, collapsing of repeats, levels, files.

import Glibc
import Logging
import Testing

@testable import Base

@Suite(.timeLimit(.minutes(3)))
struct LogTests {
    @Test(arguments: [
        (Int64(0), Int32(0), "1970-01-01T00:00:00.000Z"),
        (951_782_400, 0, "2000-02-29T00:00:00.000Z"),
        (951_868_800, 0, "2000-03-01T00:00:00.000Z"),
        (1_767_225_600, 123_999_999, "2026-01-01T00:00:00.123Z"),
        (1_767_225_599, 999_000_000, "2025-12-31T23:59:59.999Z"),
        (4_107_542_399, 0, "2100-02-28T23:59:59.000Z"),
        (4_107_542_400, 0, "2100-03-01T00:00:00.000Z"),
        (-1, 0, "1969-12-31T23:59:59.000Z"),
    ])
    func timeIsWrittenInUTC(seconds: Int64, nanoseconds: Int32, text: String) {
        #expect(LogLine.describe(Timestamp(seconds: seconds, nanoseconds: nanoseconds)) == text)
    }

    @Test func aRecordIsOneLineWhateverItHolds() {
        let body = LogLine.body(
            level: .warning, component: "s3", message: "a\nb\u{1b}[31m\u{2028}é", metadata: [("key", "x\ty")])
        #expect(body == "warning s3: a\\nb\\u{1b}[31m\\u{2028}é key=x\\ty")
    }

    @Test func repeatsAreCountedAndToldAfterTheWindow() {
        var repeats = LogRepeats(windowNanoseconds: 10)
        #expect(repeats.admit("a", at: 0).write)
        #expect(repeats.admit("b", at: 1).write)
        #expect(!repeats.admit("a", at: 2).write)
        #expect(!repeats.admit("a", at: 9).write)
        let late = repeats.admit("a", at: 10)
        #expect(late.write)
        #expect(late.summaries == [.init(body: "a", count: 2)])
        #expect(repeats.drain().isEmpty)
    }

    @Test func theTableOfRepeatsIsBounded() {
        var repeats = LogRepeats(windowNanoseconds: 1000)
        _ = repeats.admit("0", at: 0)
        _ = repeats.admit("0", at: 0)
        var summaries: [LogRepeats.Summary] = []
        for number in 1...LogRepeats.entryCountMax { summaries += repeats.admit("\(number)", at: 1).summaries }
        #expect(summaries == [.init(body: "0", count: 1)])
    }

    /// Only the stream that systemd made is the journal: a service may have its standard error redirected.
    @Test func theJournalIsToldPriorities() throws {
        let path = "/tmp/pail-log-priorities-\(getpid()).log"
        let descriptor = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
        try #require(descriptor >= 0)
        defer {
            close(descriptor)
            unlink(path)
        }
        var status = stat()
        fstat(descriptor, &status)
        for stream in ["\(status.st_dev):\(status.st_ino)", "\(status.st_dev):\(status.st_ino + 1)", nil, ""] {
            let output = LogOutput(sink: .lines(descriptor, journalStream: stream), level: .info, time: SimulatedTime())
            let logger = Logger(label: "mount") { LogHandlerToOutput(component: $0, output: output) }
            logger.error("one")
            logger.notice("two")
        }
        var bytes = [UInt8](repeating: 0, count: 4096)
        let count = pread(descriptor, &bytes, bytes.count, 0)
        let lines = String(decoding: bytes[..<count], as: UTF8.self).split(separator: "\n").map(String.init)
        #expect(lines.prefix(2) == ["<3>error mount: one", "<5>notice mount: two"])
        #expect(lines.count == 8 && lines.dropFirst(2).allSatisfy { !$0.hasPrefix("<") && $0.contains("Z ") })
    }

    @Test func linesReachTheFileAtTheLevelInForce() throws {
        let path = "/tmp/pail-log-test-\(getpid()).log"
        unlink(path)
        defer { unlink(path) }
        let time = SimulatedTime(now: Timestamp(seconds: 1_767_225_600, nanoseconds: 5_000_000))
        let output = LogOutput(sink: try #require(LogSink.file(path)), level: .info, time: time)
        var logger = Logger(label: "mount") { LogHandlerToOutput(component: $0, output: output) }
        logger[metadataKey: "path"] = "/a"
        logger.debug("hidden")
        logger.info("seen")
        output.level = .debug
        logger.debug("now seen", metadata: ["b": "2"])
        logger.debug("now seen", metadata: ["b": "2"])
        output.flush()
        #expect(
            contents(path) == """
                2026-01-01T00:00:00.005Z info mount: seen path=/a
                2026-01-01T00:00:00.005Z debug mount: now seen b=2 path=/a
                2026-01-01T00:00:00.005Z info log: repeated once more: debug mount: now seen b=2 path=/a

                """)
        var status = stat()
        stat(path, &status)
        #expect(status.st_mode & 0o777 == 0o600)
    }

    @Test func aLogThatCannotBeOpenedIsNil() {
        #expect(LogSink.file("/nonexistent/x.log") == nil)
        #expect(LogSink.file("/tmp") == nil)
        #expect(LogSink.system(socketRoot: "/nonexistent") == nil)
    }

    private func contents(_ path: String) -> String {
        guard let file = fopen(path, "r") else { return "" }
        defer { fclose(file) }
        var bytes = [UInt8](repeating: 0, count: 4096)
        let count = fread(&bytes, 1, bytes.count, file)
        return String(decoding: bytes.prefix(count), as: UTF8.self)
    }
}
