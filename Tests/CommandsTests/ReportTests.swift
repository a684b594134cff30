// What umount and status print.

import Base
import Control
import Mounts
import S3Protocol
import Testing

@testable import Commands

@Suite(.timeLimit(.minutes(3)))
struct ReportTests {
    static let mount = MountEntry(
        id: 2, parentID: 1, device: DeviceNumber(major: 0, minor: 50), root: "/", mountpoint: "/mnt/in\nside",
        options: [], propagation: [], fileSystemType: "tmpfs", source: "x", superOptions: [])

    @Test func holdersAreListedWithWhatTheyHold() {
        let holders = MountHolders(
            processes: [
                HolderProcess(
                    pid: 7, userID: 0, user: "root", commandLine: "bash",
                    holdings: [Holding(.workingDirectory, path: "/mnt/a")]),
                HolderProcess(
                    pid: 1234, userID: 1000, user: "alice", commandLine: "python3 a.py",
                    holdings: [
                        Holding(.openFile(descriptor: 3), path: "/mnt/x\ny"),
                        Holding(.mappedFile, path: "/mnt/z", isDeleted: true),
                    ], omittedHoldingCount: 5),
            ],
            nestedMounts: [Self.mount], kernelUses: [.loopDevice("loop0", backing: "/mnt/i"), .swapFile("/mnt/s")],
            isComplete: false)
        #expect(
            HolderListing.lines(holders) == [
                "     7  root   bash          working directory: /mnt/a",
                "  1234  alice  python3 a.py  open file 3: /mnt/x\\ny",
                "                             mapped file: /mnt/z (deleted)",
                "                             and 5 more",
                "  mounted inside: /mnt/in\\nside (tmpfs)",
                "  loop device loop0: /mnt/i",
                "  swap file: /mnt/s",
                "  (the search was not finished)",
            ])
        #expect(HolderListing.summary(holders) == "7 (bash) and 1 other")
        #expect(HolderListing.summary(MountHolders()) == nil)
        #expect(HolderListing.lines(MountHolders()).count == 1)
    }

    @Test func aRenameIsShown() {
        var status = MountStatus(
            version: "0.1.0", pid: 42, mountpoint: "/mnt", source: "s3://b", endpoint: "http://h:9", region: "",
            startedAt: "2026-01-01T00:00:00Z", uptimeSeconds: 1)
        status.renames = [
            .init(from: "a", to: "b/c", objectsCopied: 3, objectsTotal: 7, isResumed: false),
            .init(from: "d", to: "e\nf", objectsCopied: 0, objectsTotal: 1, isResumed: true),
        ]
        let lines = StatusReport.lines(status)
        #expect(lines.contains("  renaming   a to b/c: 3 of 7 objects copied"))
        #expect(lines.contains("  renaming   d to e\\nf: 0 of 1 object copied, begun by an earlier mount"))
        #expect(status.json().contains("\"objects_copied\":3"))
    }

    @Test func statusForPeople() {
        var status = MountStatus(
            version: "0.1.0", pid: 42, mountpoint: "/mnt", source: "s3://b/p/", endpoint: "http://h:9",
            region: "us-east-1", startedAt: "2026-01-01T00:00:00Z", uptimeSeconds: 3723, dirtyFiles: 2,
            dirtyBytes: 3 << 20,
            uploads: [
                .init(path: "a\nb", bytesDone: 1 << 19, bytesTotal: 1 << 20, tries: 1, since: ""),
                .init(path: "c", bytesDone: 0, bytesTotal: 2 << 20, tries: 3, lastError: "AccessDenied", since: ""),
            ], failedUploads: 1,
            leftovers: [
                .init(source: "s3://b", mountpoint: "/old", files: 1, bytes: 10),
                .init(source: "s3://c", endpoint: "http://h", mountpoint: "", directory: "/d", files: 2, bytes: 3),
            ],
            cache: .init(memoryBytes: 1 << 20, memoryLimit: 1 << 30, hits: 3, misses: 1, bytesFetched: 4096),
            requests: [
                "PutObject": .init(count: 2, errors: 1, bytes: 0), "GetObject": .init(count: 1, bytes: 4096),
                "HeadObject": .init(count: 9, hedged: 3, hedgesWon: 2, stalled: 1),
            ],
            lastErrors: ["PutObject 'c' AccessDenied"])
        status.uploads[0].bytesPerSecond = 12 << 20
        status.uploads[1].ageSeconds = 754
        status.damaged = ["/state/staging/1/2.journal"]
        #expect(
            StatusReport.lines(status) == [
                "/mnt  s3://b/p/",
                "  mounted read-write for 1:02:03, pid 42, pail 0.1.0",
                "  endpoint   http://h:9 (region us-east-1)",
                "  to upload  2 files, 3.0 MiB (1 failed, tried again)",
                "  cache      1.0 MiB of 1.0 GiB in memory, 3 hits (75 %), 1 misses, 4.0 KiB fetched",
                "  requests   GetObject 1 (4.0 KiB), HeadObject 9 (3 raced, 2 won, 1 stalled and replaced), "
                    + "PutObject 2 (1 error)",
                "    50 %  1.0 MiB  12.0 MiB/s  a\\nb",
                "     0 %  2.0 MiB              c     try 3  AccessDenied (waits for 12:34)",
                "  left behind by /old: 1 file, 10 B; mount s3://b to upload them",
                "  left behind by another mount: 2 files, 3 B; mount s3://c --endpoint http://h to upload them",
                "  damaged    /state/staging/1/2.journal: staged data of an earlier mount, left where it is",
                "  last errors, newest first:",
                "    PutObject 'c' AccessDenied",
            ])
    }

    @Test func statusOfASilentServer() {
        var status = MountStatus(
            version: "0.1.0", pid: 42, mountpoint: "/mnt", source: "s3://b", endpoint: "http://h:9", region: "",
            startedAt: "2026-01-01T00:00:00Z", uptimeSeconds: 3723)
        let line = "  no answer  from the endpoint for 1:05"
        #expect(!StatusReport.lines(status).contains(line))
        status.unreachableSeconds = 65
        #expect(StatusReport.lines(status).contains(line))
        #expect(status.json().contains("\"unreachable_seconds\""))
    }

    @Test func uploadsOfAGrowingQueue() {
        var watch = UploadWatch()
        let second: UInt64 = 1_000_000_000
        #expect(
            watch.progress(UploadProgress(filesLeft: 2, bytesLeft: 100), at: 0)
                == Progress(bytesDone: 0, bytesTotal: 100, filesLeft: 2, rate: nil))
        #expect(
            watch.progress(UploadProgress(filesLeft: 1, bytesLeft: 40), at: second)
                == Progress(bytesDone: 60, bytesTotal: 100, filesLeft: 1, rate: 60))
        // A program writes meanwhile.
        #expect(
            watch.progress(UploadProgress(filesLeft: 2, bytesLeft: 140, bytesPerSecond: 7), at: 2 * second)
                == Progress(bytesDone: 60, bytesTotal: 200, filesLeft: 2, rate: 7))
        #expect(watch.progress(UploadProgress(filesLeft: 0, bytesLeft: 0), at: 3 * second).bytesDone == 200)
    }

    @Test func mountpointProblemsKeepTheirRemedy() {
        #expect(
            MountFailure(MountPointProblem.missing("/a;b")).line(cannotMount: "s3://b")
                == "pail: cannot mount s3://b: the mountpoint /a;b does not exist; create it with mkdir")
        #expect(MountFailure(MountPointProblem.missing("/a;b")).remedy == "create it with mkdir")
    }

    @Test func slowRequestsAreWatched() {
        var status = MountStatus(
            version: "1", pid: 1, mountpoint: "/m", source: "s3://b", endpoint: "http://h", region: "r", startedAt: "",
            uptimeSeconds: 1)
        status.requestsUnderWay = [
            MountStatus.RequestUnderWay(
                operation: "UploadPart", key: "dir/a", attempt: 3, isHedge: false, seconds: 12.3),
            MountStatus.RequestUnderWay(operation: "GetObject", key: "b", attempt: 1, isHedge: true, seconds: 0.5),
            MountStatus.RequestUnderWay(
                operation: "ListObjectsV2", key: nil, attempt: 1, isHedge: false, seconds: 0.05),
        ]
        let lines = WatchReport.lines(status, before: nil, seconds: 0, columns: 100)
        #expect(
            lines.drop { !$0.contains("slowest") } == [
                "  slowest requests under way",
                "    12.3 s  UploadPart  try 3  dir/a",
                "    500 ms  GetObject   try 1  b  (beside a late one)",
            ])
        status.requestsUnderWay = nil
        #expect(!WatchReport.lines(status, before: nil, seconds: 0, columns: 100).contains { $0.contains("slowest") })
    }

    /// Seconds that are left, whether a file has them, and what is said.
    @Test(
        arguments: [
            (nil, true, .ok, "nothing says when they end"), (nil, false, .warn, "keeps the environment"),
            (86_400, true, .ok, "until 1970-01-02T00:00:01Z (in 24:00:00); renew them in the file"),
            (3600, true, .warn, "(in 1:00:00)"), (86_400, false, .warn, "put them into a profile"),
            (0, true, .fail, "have ended at 1970-01-01T00:00:01Z; get new ones"),
        ] as [(Int64?, Bool, DoctorFinding.Grade, String)])
    func temporaryCredentials(seconds: Int64?, isFile: Bool, grade: DoctorFinding.Grade, text: String) {
        let now = Timestamp(seconds: 1)
        let credentials = AWSCredentials(
            accessKeyID: "A", secretAccessKey: "S", sessionToken: "T",
            expiry: seconds.map { Timestamp(seconds: 1 + $0) })
        let finding = CredentialReport.finding(credentials, origin: "here", isFile: isFile, now: now)
        #expect(finding.grade == grade && finding.line.contains(text), "\(finding.line)")
        #expect(finding.line.contains("access key A, from here") && !finding.line.contains("S,"))
    }

    @Test func lastingCredentials() {
        let finding = CredentialReport.finding(
            AWSCredentials(accessKeyID: "A", secretAccessKey: "S"), origin: "here", isFile: false,
            now: Timestamp(seconds: 0))
        #expect(finding == DoctorFinding(.ok, "credentials", "access key A, from here"))
    }
}
