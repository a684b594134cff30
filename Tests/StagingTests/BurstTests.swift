// Files that were just closed.

import Base
import Glibc
import MemoryStore
import ObjectModel
import ObjectStore
import Testing

@testable import Staging

@Suite(.timeLimit(.minutes(3)))
struct BurstTests {
    /// A burst ends with the first pause, or after half a second; and so does the next one.
    @Test func lastsUntilAPauseAndNotForEver() {
        var burst = Burst(pauseNanoseconds: 50, holdNanosecondsMax: 500)
        for _ in 0..<2 {
            burst.add()
            var counts: [Int] = []
            for _ in 0..<15 {
                burst.add()
                counts.append(burst.leaving())
            }
            #expect(counts == (0..<15).map { $0 == 9 ? 10 : 0 } && burst.heldCount == 6)
            let last = burst.leaving()
            #expect(last > 0 && burst.heldCount == 0, "a pause ends it")
            burst.add()
            let alone = burst.leaving()
            #expect(alone == 1, "a file on its own waits for one pause")
            burst.add()
            burst.prolong()
            let changed = [burst.leaving(), burst.leaving()]
            #expect(changed == [0, 1], "a change of it is no pause")
        }
    }

    /// A burst that lasts too long sends none that was closed a moment ago: whoever writes and renames has not renamed it yet.
    @Test func regression_aLongBurstHoldsBackWhatWasJustClosed() {
        var burst = Burst(pauseNanoseconds: 50, holdNanosecondsMax: 500)
        var counts: [Int] = []
        for _ in 0..<30 {
            burst.add()
            burst.add()
            counts.append(burst.leaving())
        }
        #expect(counts.enumerated().filter { $0.element > 0 }.map(\.offset) == [9, 18, 27])
        #expect(counts[9] == 18 && counts[18] == 18 && counts[27] == 18)
    }

    private func eventually(_ condition: () -> Bool) async -> Bool {
        for _ in 0..<2000 {
            if condition() { return true }
            try? await Task.sleep(nanoseconds: 5_000_000)
        }
        return false
    }

    private func write(_ fixture: StagingFixture, _ count: Int) throws -> [StagedFile] {
        let files = try (0..<count).map { try fixture.newFile("f\($0)") }
        for file in files { try file.write([1, 2, 3], at: 0) }
        for file in files { fixture.queue.submit(file, mayWait: true) }
        return files
    }

    /// All of a burst arrive, without anybody asking for them.
    @Test func aBurstArrives() async throws {
        let fixture = try StagingFixture()
        defer { fixture.removeDirectory() }
        let files = try write(fixture, 40)
        let isDone = await eventually { files.allSatisfy { !$0.needsUpload } }
        #expect(isDone)
        #expect((0..<40).allSatisfy { fixture.store.bytes(at: "f\($0)") == [1, 2, 3] })
    }

    /// Who waits for one file waits for no burst; and the others stay held back.
    @Test func whoWaitsGoesFirst() async throws {
        let time = StoppedTime()
        let fixture = try StagingFixture(time: time)
        defer { fixture.removeDirectory() }
        let files = try write(fixture, 3)
        try await fixture.queue.flush(files[2])
        #expect(!files[2].needsUpload)
        #expect(files[1].needsUpload)
        #expect(fixture.store.bytes(at: "f1") == nil)
        time.goOn()
        let isDone = await eventually { !files[1].needsUpload }
        #expect(isDone)
    }

    /// A file that is renamed while it is held back was never sent under its first name.
    @Test func aFileThatIsRenamedInTheBurstIsSentOnce() async throws {
        let time = StoppedTime()
        let fixture = try StagingFixture(time: time)
        defer { fixture.removeDirectory() }
        let files = try write(fixture, 2)
        await fixture.queue.hold(files[1])
        try files[1].rekey(MemoryStore.objectKey("renamed"), condition: .none)
        fixture.queue.resume(files[1])
        try await fixture.queue.flush(files[1])
        #expect(fixture.store.bytes(at: "f1") == nil)
        #expect(fixture.store.bytes(at: "renamed") == [1, 2, 3])
    }
}

/// A clock that stands still, whose sleepers sleep until it goes on.
private final class StoppedTime: TimeSource {
    private let gate = OneShot<Void>()
    let now = Timestamp(seconds: 1_700_000_000)
    let monotonicNanoseconds: UInt64 = 1

    func sleep(nanoseconds: UInt64) async throws { await gate.wait() }
    func goOn() { gate.set(()) }
}
