// The process dies at each step of each scenario: the next mount has what was acknowledged, once, and leaves nothing behind.

import Base
import FoundationEssentials
import MemoryStore
import ObjectModel
import Staging
import Testing

@testable import FileSystem

/// How many times each point is gone through; `PAIL_TEST_LONG=1` is for the night.
private let rounds = ProcessInfo.processInfo.environment["PAIL_TEST_LONG"] == nil ? 1 : 12

@Suite(.timeLimit(.minutes(rounds == 1 ? 5 : 60)))
struct CrashTableTests {
    /// A run that nothing happens in counts the steps; then one run dies before, within (of a write, half of which is done)
    /// and after each. In every second one the next mount dies, too, at some step of its recovery.
    @Test(arguments: CrashScenario.all)
    func everyStepMayBeTheLast(scenario: CrashScenario) async throws {
        let steps = try await CrashRun(scenario).run()
        #expect(!steps.isEmpty)
        var runCount = 0
        for round in 0..<rounds {
            for (index, step) in steps.enumerated() {
                for moment in CrashPoint.Moment.allCases where moment != .torn || step.hasPrefix("write") {
                    runCount += 1
                    let point = CrashPoint(index: index, moment: moment)
                    let second = (runCount + round) % 2 == 0 ? Self.point(inRecovery: runCount / 2 + 7 * round) : nil
                    let difference = await differenceInTime { say in
                        say("\(scenario.name), dead \(point), \(step)\(second.map { ", and again \($0)" } ?? "")")
                        _ = try await CrashRun(scenario).run(at: point, again: second)
                    }
                    if let difference { Issue.record("\(difference)") }
                }
            }
        }
    }

    /// Most recoveries have fewer steps than this; one that has not gets to its end.
    private static let recoveryStepsMax = 23

    private static func point(inRecovery number: Int) -> CrashPoint {
        let moments = CrashPoint.Moment.allCases
        return CrashPoint(index: number % recoveryStepsMax, moment: moments[number % moments.count])
    }
}

/// One run of a scenario, and the mounts after it. For one task.
final class CrashRun {
    private let scenario: CrashScenario
    private let process = DyingProcess()
    private let run: ModelRun
    /// What another client has overwritten, and what it put there.
    private var conflict: (path: String, ours: [UInt8], changes: [UInt8], theirs: [UInt8], winner: [UInt8])?
    /// Uploads whose begin the store had done and no journal named yet.
    private var namelessCount = 0

    init(_ scenario: CrashScenario) throws {
        self.scenario = scenario
        run = try ModelRun(isSmall: true, process: process)
    }

    private var mount: Mount { run.mount }

    /// Runs it, and dies where it is told to. Returns the steps that were done until then.
    func run(at point: CrashPoint? = nil, again second: CrashPoint? = nil) async throws -> [String] {
        for (key, count) in scenario.objects {
            let bytes = RandomCall.bytes(count: count, fill: 1)
            // Of an object without POSIX metadata only its ETag says that it was copied, and here each copy has another.
            let isMoved = key.contains("/")
            mount.store.write(
                bytes, at: key, properties: ObjectProperties(metadata: isMoved ? ["mode": "33188"] : [:]))
            run.model.writeRemotely(key, bytes, mode: 0o644)
        }
        try await mount.prove()
        for call in scenario.earlier { try await run.step(call) }
        await mount.settle()
        process.begin(at: point)
        var last: CrashScenario.Step?
        for step in scenario.steps where !process.isDead {
            last = step
            do { try await make(step) } catch { guard process.isDead else { throw error } }
        }
        let steps = process.steps
        guard process.isDead, case let last? = last else {
            try takeConflictCopy()
            showConflict()
            try await finish()
            return steps
        }
        let outcomes = possibleOutcomes(of: last)
        run.slots = [:]
        try await kill(again: second)
        if second != nil {
            await recover()
            await mount.drain()
            if process.isDead { try await kill(again: nil) }
            process.endCounting()
        }
        await recover()
        guard mount.damaged.isEmpty else { throw Difference("damaged: \(mount.damaged), after \(steps)") }
        do {
            if conflict != nil { try await drainToTheEnd() }
            try takeConflictCopy()
            try await adopt(outcomes)
            try await finish()
        } catch {
            throw Difference("\(error), after \(steps)")
        }
        return steps
    }

    private func make(_ step: CrashScenario.Step) async throws {
        switch step {
        case .call(let call): try await run.step(call)
        case .drain: await mount.drain()
        case .settle: await mount.settle()
        case .conflict(let path, let count, let changed):
            let theirs = RandomCall.bytes(count: count, fill: 77)
            guard let ours = run.model.entries[path]?.file?.bytes else { preconditionFailure("no file '\(path)'") }
            conflict = (path, ours, Array(ours[changed]), theirs, theirs)
            mount.store.write(theirs, at: path)
        }
    }

    private func kill(again point: CrashPoint?) async throws {
        // Parts are sent once the journal names the upload. Before that nobody can, and half a record is none.
        let steps = process.steps
        if let begun = steps.lastIndex(of: "createUpload"),
            !steps[begun...].contains(where: { $0.hasPrefix("uploadPart") })
        {
            namelessCount += 1
            mount.begunUploads.withLock { $0 = [] }
        }
        try await mount.kill(again: point)
    }

    private func recover() async {
        await mount.fileSystem.settleDepartures()
        await mount.resumed()
    }

    /// Also the uploader has told the filesystem, which is a few steps after the answer.
    private func drainToTheEnd() async throws {
        await mount.drain()
        let deadline = SystemTime().monotonicNanoseconds + 20_000_000_000
        while !mount.area.files.isEmpty {
            guard SystemTime().monotonicNanoseconds < deadline else {
                throw Difference("kept staged files: \(mount.area.files.map(\.key))")
            }
            await Task.yield()
        }
    }

    // MARK: What may be there

    /// The states that the last step may have left; the one before it only where it was not acknowledged.
    private func possibleOutcomes(of step: CrashScenario.Step) -> [ModelState] {
        guard case .call(let call) = step, let attempt = run.attempt else { return [ModelState(run.model)] }
        var outcomes = [attempt.after, attempt.before]
        switch call {
        case .write(let slot, let offset, let count, let fill):
            // Dirty bytes that were being overwritten.
            guard let file = run.slots[slot]?.model else { break }
            let model = attempt.before.restore()
            file.write(Array(RandomCall.bytes(count: count, fill: fill).prefix(count / 2)), at: offset)
            outcomes.append(ModelState(model))
        case .rename(let old, let new, _):
            // Copied, and the old name not removed yet.
            var model = attempt.before.restore()
            guard let entry = model.entries[old], !entry.isDirectory else { break }
            model.entries[new] = entry.file.map { .file($0.copy) } ?? entry
            outcomes.append(ModelState(model))
        default: break
        }
        return outcomes
    }

    /// Goes on from the state that the mount shows.
    private func adopt(_ outcomes: [ModelState]) async throws {
        var reasons: [String] = []
        // Of a conflict the mount may hear after its copy was taken from the bucket: then it is to look once more.
        for round in 0..<(conflict == nil ? 1 : 20) {
            if round > 0 {
                try await Task.sleep(nanoseconds: 20_000_000)
                mount.fileSystem.refresh(path: "")
            }
            reasons = []
            for outcome in outcomes {
                run.model = outcome.restore()
                showConflict()
                do {
                    try await run.compareTree()
                    return
                } catch {
                    reasons.append("\(error)")
                }
            }
        }
        throw Difference("the next mount shows none of what may be there: \(reasons)")
    }

    /// Of two versions one has the name, and the other one is beside it.
    private func takeConflictCopy() throws {
        guard let conflict else { return }
        let saved = mount.store.keys(under: "\(conflict.path).conflict-")
        let isOurs = mount.store.bytes(at: conflict.path) == conflict.ours
        self.conflict!.winner = isOurs ? conflict.ours : conflict.theirs
        let wanted = isOurs ? conflict.theirs : conflict.ours
        // Theirs may have been moved aside twice.
        guard isOurs ? !saved.isEmpty : saved.count == 1 else { throw Difference("saved: \(saved)") }
        for key in saved {
            let bytes = mount.store.bytes(at: key) ?? []
            let isKept =
                key.hasSuffix(".changes")
                ? bytes.suffix(conflict.changes.count).elementsEqual(conflict.changes) : bytes == wanted
            guard isKept else { throw Difference("'\(key)' has \(bytes.count) bytes") }
            mount.store.remove(at: key)
        }
        mount.fileSystem.refresh(path: "")
    }

    private func showConflict() {
        if let conflict { run.model.entries[conflict.path] = .file(.init(bytes: conflict.winner, mode: 0o644)) }
    }

    /// Everything is in the bucket, and nothing of it anywhere else.
    private func finish() async throws {
        process.endCounting()
        try await run.finish()
        let deadline = SystemTime().monotonicNanoseconds + 2_000_000_000
        while mount.store.openUploads.count > namelessCount {
            guard SystemTime().monotonicNanoseconds < deadline else {
                throw Difference("uploads are left open: \(mount.store.openUploads)")
            }
            try await Task.sleep(nanoseconds: 1_000_000)
        }
        await mount.fileSystem.shutDown()
        let left = try FileManager.default.subpathsOfDirectory(atPath: mount.directory + "/staging")
        guard left.isEmpty, mount.damaged.isEmpty else {
            throw Difference("left on the disk: \(left) \(mount.damaged)")
        }
    }
}
