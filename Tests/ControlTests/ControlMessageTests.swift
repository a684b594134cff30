// The JSON of the protocol and of the status: fixed texts, because scripts read them.

import Testing

@testable import Control

@Suite(.timeLimit(.minutes(3)))
struct ControlMessageTests {
    private static let progress = UploadProgress(filesLeft: 2, bytesLeft: 10, bytesPerSecond: 5, lastError: "SlowDown")

    @Test(
        arguments: [
            (.ping, #"{"request":"ping","version":1}"#),
            (.status, #"{"request":"status","version":1}"#),
            (.drain, #"{"request":"drain","version":1}"#),
            (.refresh(path: "a/ü \"x\""), #"{"path":"a/ü \"x\"","request":"refresh","version":1}"#),
            (.flush(path: "a", timeoutSeconds: nil), #"{"path":"a","request":"flush","version":1}"#),
            (
                .flush(path: "a\nb", timeoutSeconds: 1.5),
                #"{"path":"a\nb","request":"flush","timeout_seconds":1.5,"version":1}"#
            ),
        ] as [(ControlRequest, String)])
    func requestsHaveTheirText(request: ControlRequest, text: String) throws {
        #expect(ControlCoding.line(request) == Array("\(text)\n".utf8))
        #expect(try ControlCoding.request(Array(text.utf8)) == request)
    }

    @Test(
        arguments: [
            (.done, #"{"reply":"done","version":1}"#),
            (.progress(nil), #"{"reply":"progress","version":1}"#),
            (
                .progress(progress),
                #"{"progress":{"bytes_left":10,"bytes_per_second":5,"files_left":2,"last_error":"SlowDown"},"reply":"progress","version":1}"#
            ),
            (
                .drained(DrainResult(filesLeft: 1, bytesLeft: 3, failures: [.init(path: "p", error: "e")])),
                #"{"reply":"drained","result":{"bytes_left":3,"failures":[{"error":"e","path":"p"}],"files_left":1},"version":1}"#
            ),
            (
                .failed(ControlError(.notFound, "no such file")),
                #"{"error":{"code":"not_found","message":"no such file"},"reply":"error","version":1}"#
            ),
        ] as [(ControlReply, String)])
    func repliesHaveTheirText(reply: ControlReply, text: String) throws {
        #expect(ControlCoding.line(reply) == Array("\(text)\n".utf8))
        #expect(try ControlCoding.reply(Array(text.utf8)) == reply)
    }

    @Test func aCodeOfANewerVersionIsOther() throws {
        let text = #"{"error":{"code":"quota","message":"m"},"reply":"error","version":1}"#
        #expect(try ControlCoding.reply(Array(text.utf8)) == .failed(ControlError(.other, "m")))
    }

    @Test func theStatusHasTheDocumentedKeys() throws {
        let status = MountStatus(
            version: "0.1.0", pid: 7, mountpoint: "/m", source: "s3://b/p", endpoint: "https://s3", region: "r",
            startedAt: MountStatus.timeText(secondsSince1970: 1_767_225_600), uptimeSeconds: 9, state: .draining,
            isReadOnly: true, dirtyFiles: 1, dirtyBytes: 2,
            uploads: [.init(path: "u", bytesDone: 1, bytesTotal: 2, tries: 3, lastError: "e", since: "s")],
            uploadsOmitted: 4, failedUploads: 5,
            leftovers: [.init(source: "s3://c", mountpoint: "/n", files: 6, bytes: 7)],
            cache: .init(memoryBytes: 1, memoryLimit: 2, hits: 3, misses: 4, bytesFetched: 5),
            requests: ["GetObject": .init(count: 1, errors: 2, bytes: 3)], lastErrors: ["x"])
        let expected = """
            {"cache":{"bytes_fetched":5,"hits":3,"memory_bytes":1,"memory_limit":2,"misses":4},"dirty_bytes":2,\
            "dirty_files":1,"endpoint":"https://s3","failed_uploads":5,"last_errors":["x"],\
            "leftovers":[{"bytes":7,"files":6,"mountpoint":"/n","source":"s3://c"}],"mountpoint":"/m","pid":7,\
            "read_only":true,"region":"r","requests":{"GetObject":{"bytes":3,"count":1,"errors":2,\
            "hedged":0,"hedges_won":0,"retries":0,"stalled":0}},\
            "source":"s3://b/p","started_at":"2026-01-01T00:00:00Z","state":"draining","uploads":[{"bytes_done":1,\
            "bytes_total":2,"last_error":"e","path":"u","since":"s","tries":3}],"uploads_omitted":4,\
            "uptime_seconds":9,"version":"0.1.0"}
            """
        #expect(status.json() == expected)
        guard case .status(let back) = try ControlCoding.reply(ControlCoding.line(ControlReply.status(status)))
        else {
            Issue.record("no status")
            return
        }
        #expect(back == status)
        #expect(status.json(pretty: true).contains("\n  \"pid\" : 7"))
    }
}
