// When to try again, and what: tables of event and action, and whole runs on simulated time.

import Base
import Glibc
import Testing

@testable import Mounts

private let second: UInt64 = 1_000_000_000

@Suite(.timeLimit(.minutes(3)))
struct UnmountRetryTests {
    @Test(arguments: [(0.0, 0.75), (0.5, 1.0), (0.999_999, 1.25)])
    func pausesGrowByHalfUpToTwoSeconds(random: Double, factor: Double) {
        var schedule = RetrySchedule()
        let pauses = (0..<14).map { _ in Double(schedule.next(random: random)) / 1e6 }
        var expected = 50.0
        for pause in pauses {
            #expect(abs(pause - expected * factor) < 0.01)
            expected = min(expected * 1.5, 2_000)
        }
        #expect(abs(pauses[13] - 2_000 * factor) < 0.01)
    }

    private func retry(_ whenBusy: UnmountRequest.WhenBusy, timeout: UInt64 = 0) -> UnmountRetry {
        var retry = UnmountRetry(
            UnmountRequest(mountpoint: "/m", timeoutNanoseconds: timeout, whenBusy: whenBusy), nowNanoseconds: 5)
        #expect(retry.start() == .attempt(.plain))
        return retry
    }

    @Test(
        arguments: [
            (.done, .finish(.unmounted)),
            (.notMounted, .finish(.notMounted)),
            (.notPermitted(remedy: "ask"), .finish(.notPermitted(remedy: "ask"))),
            (.failed(errno: EIO), .finish(.failed(errno: EIO))),
            (.busy, .giveUp),
        ] as [(UnmountAttempt, UnmountRetry.Action)])
    func theFirstAnswerWithoutTimeDecides(answer: UnmountAttempt, action: UnmountRetry.Action) {
        var retry = retry(.report)
        #expect(retry.attempted(answer, nowNanoseconds: 5, random: 0.5) == action)
    }

    @Test(
        arguments: [
            (.detach, .attempt(.detach)), (.force, .attempt(.force)),
        ] as [(UnmountRequest.WhenBusy, UnmountRetry.Action)])
    func aBusyMountIsTakenAwayWhenAskedFor(whenBusy: UnmountRequest.WhenBusy, action: UnmountRetry.Action) {
        for answer in [UnmountAttempt.busy, .failed(errno: ETIMEDOUT)] {
            var retry = retry(whenBusy)
            #expect(retry.attempted(answer, nowNanoseconds: 5, random: 0.5) == action)
            #expect(retry.attempted(.done, nowNanoseconds: 5, random: 0.5) == .finish(.detached))
        }
        var stubborn = retry(whenBusy)
        _ = stubborn.attempted(.busy, nowNanoseconds: 5, random: 0.5)
        #expect(stubborn.attempted(.busy, nowNanoseconds: 5, random: 0.5) == .giveUp)
    }

    @Test func timeIsUsedUpBeforeAnythingElse() {
        var retry = retry(.detach, timeout: 60_000_000)
        #expect(retry.attempted(.busy, nowNanoseconds: 5, random: 0.5) == .pause(nanoseconds: 50_000_000))
        #expect(retry.resumed() == .attempt(.plain))
        // The last pause ends with the time.
        #expect(
            retry.attempted(.busy, nowNanoseconds: 50_000_005, random: 0.5) == .pause(nanoseconds: 10_000_000))
        #expect(retry.resumed() == .attempt(.plain))
        #expect(retry.attempted(.busy, nowNanoseconds: 60_000_005, random: 0.5) == .attempt(.detach))
        #expect(retry.attemptCount == 4)
    }

    @Test func aMountThatWentByItselfMeanwhileIsUnmounted() {
        var retry = retry(.report, timeout: second)
        _ = retry.attempted(.busy, nowNanoseconds: 5, random: 0.5)
        _ = retry.resumed()
        #expect(retry.attempted(.notMounted, nowNanoseconds: 6, random: 0.5) == .finish(.unmounted))
    }
}

/// A mount that answers from a script, and is busy for ever after.
private final class ScriptedCalls: UnmountCalling {
    let answers: Lock<[UnmountAttempt]>
    let modes = Lock([UnmountMode]())
    let searchCount = Lock(0)
    let isMounted: Bool

    init(_ answers: [UnmountAttempt], isMounted: Bool = true) {
        self.answers = Lock(answers)
        self.isMounted = isMounted
    }

    func table() throws(SystemCallError) -> MountTable {
        let text = "1 0 0:1 / / rw - ext4 root rw\n" + (isMounted ? "2 1 0:2 / /m rw - fuse.pail s3://b rw\n" : "")
        return MountTable(parsing: Array(text.utf8))
    }

    func attempt(_ mode: UnmountMode, on mount: MountEntry) -> UnmountAttempt {
        modes.withLock { $0.append(mode) }
        return answers.withLock { $0.isEmpty ? .busy : $0.removeFirst() }
    }

    func holders(of mount: MountEntry, in table: MountTable) -> MountHolders {
        searchCount.withLock { $0 += 1 }
        return MountHolders(unreadableProcessCount: 7)
    }
}

@Suite(.timeLimit(.minutes(3)))
struct UnmounterRunTests {
    @Test func aHolderThatLetsGoEndsTheRetries() async {
        let calls = ScriptedCalls([.busy, .busy, .busy, .done])
        let time = SimulatedTime()
        let told = Lock([UnmountProgress]())
        let outcome = await Unmounter(calls: calls, time: time).unmount(
            UnmountRequest(mountpoint: "/m", timeoutNanoseconds: 10 * second)
        ) { progress in told.withLock { $0.append(progress) } }
        #expect(outcome == .unmounted)
        #expect(told.withLock { $0.map(\.attempt) } == [1, 2, 3])
        // Looked up after the second attempt, and not again within the second.
        #expect(told.withLock { $0.map { $0.holders?.unreadableProcessCount } } == [nil, 7, 7])
        #expect(calls.searchCount.withLock { $0 } == 1)
    }

    @Test func theTimeoutIsKeptAndTheHoldersAreNamed() async {
        let calls = ScriptedCalls([])
        let time = SimulatedTime()
        let start = time.monotonicNanoseconds
        let outcome = await Unmounter(calls: calls, time: time).unmount(
            UnmountRequest(mountpoint: "/m", timeoutNanoseconds: 30 * second))
        #expect(outcome == .stillBusy(MountHolders(unreadableProcessCount: 7)))
        #expect(time.monotonicNanoseconds - start == 30 * second)
        let attempts = calls.modes.withLock { $0.count }
        // 50 ms growing by half to 2 s: some ten while growing, some thirteen after.
        #expect((18...30).contains(attempts))
    }

    @Test func nothingMountedIsNotAnAttempt() async {
        let calls = ScriptedCalls([], isMounted: false)
        let outcome = await Unmounter(calls: calls, time: SimulatedTime()).unmount(
            UnmountRequest(mountpoint: "/m", timeoutNanoseconds: 0))
        #expect(outcome == .notMounted)
        #expect(calls.modes.withLock { $0 } == [])
    }

    @Test func aMountThatStaysIsNotCalledGone() async {
        let outcome = await Unmounter(calls: ScriptedCalls([.notMounted]), time: SimulatedTime()).unmount(
            UnmountRequest(mountpoint: "/m", timeoutNanoseconds: 0))
        #expect(outcome == .failed(errno: EINVAL))
    }

    @Test func forceComesLast() async {
        let calls = ScriptedCalls([.busy, .done])
        let outcome = await Unmounter(calls: calls, time: SimulatedTime()).unmount(
            UnmountRequest(mountpoint: "/m", timeoutNanoseconds: 0, whenBusy: .force))
        #expect(outcome == .detached)
        #expect(calls.modes.withLock { $0 } == [.plain, .force])
    }

    @Test func aCancelledWaitReportsTheHolders() async {
        let calls = ScriptedCalls([])
        let task = Task {
            withUnsafeCurrentTask { $0?.cancel() }
            return await Unmounter(calls: calls, time: SimulatedTime()).unmount(
                UnmountRequest(mountpoint: "/m", timeoutNanoseconds: 30 * second))
        }
        #expect(await task.value == .stillBusy(MountHolders(unreadableProcessCount: 7)))
        #expect(calls.modes.withLock { $0 } == [.plain])
    }
}

@Suite(.timeLimit(.minutes(3)))
struct FusermountMessageTests {
    private let mount = MountTable(
        parsing: Array("2 1 0:2 / /Invalid\\040argument rw - fuse.pail s3://b rw,user_id=0\n".utf8)
    ).entries[0]

    @Test(arguments: [
        ("fusermount3: failed to unmount /Invalid argument: Device or resource busy\n", "busy"),
        ("fusermount3: failed to unmount /Invalid argument: Invalid argument\n", "notMounted"),
        ("fusermount3: failed to unmount /Invalid argument: No such file or directory\n", "notMounted"),
        ("fusermount3: failed to unmount /Invalid argument: Operation not permitted\n", "notPermitted"),
        ("fusermount3: entry for /Invalid argument not found in /etc/mtab\n", "notPermitted"),
        ("fusermount3: bad mount point /Invalid argument: Permission denied\n", "notPermitted"),
        ("fusermount: something new\n", "failed"),
        ("", "failed"),
    ])
    func messagesAreUnderstood(message: String, expected: String) {
        let answer = FusermountMessage.parse(message, mount: mount)
        #expect("\(answer)".hasPrefix(expected))
    }
}
