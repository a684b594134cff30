// Unmounts, and keeps trying while the mount is busy. The decisions are UnmountRetry's; this executes them.

public import Base
internal import Glibc

/// Takes mounts away, of whatever kind. Thread-safe; kills nobody.
public struct Unmounter: Sendable {
    /// How often the holders are looked up while waiting.
    private static let holdersIntervalNanoseconds: UInt64 = 1_000_000_000

    private let calls: any UnmountCalling
    private let time: any TimeSource

    public init(time: some TimeSource = SystemTime()) {
        self.init(calls: UnmountCalls(), time: time)
    }

    init(calls: some UnmountCalling, time: some TimeSource) {
        self.calls = calls
        self.time = time
    }

    /// Unmounts the topmost mount at the mountpoint.
    ///
    /// The calling process must not have its working directory on the mount, or it will be its own holder. A cancelled
    /// task stops trying and reports `.stillBusy`.
    /// - Parameter onBusy: called after each attempt that found the mount busy, before the pause.
    public func unmount(
        _ request: UnmountRequest, onBusy: @Sendable (UnmountProgress) -> Void = { _ in }
    ) async -> UnmountOutcome {
        let target: MountEntry
        do {
            guard let mount = try calls.table().mount(at: request.mountpoint) else { return .notMounted }
            target = mount
        } catch {
            return .failed(errno: error.errno)
        }
        var retry = UnmountRetry(request, nowNanoseconds: time.monotonicNanoseconds)
        var holders: (found: MountHolders, atNanoseconds: UInt64)?
        var action = retry.start()
        while true {
            switch action {
            case .attempt(let mode):
                let answer = await attempt(mode, target)
                action = retry.attempted(
                    answer, nowNanoseconds: time.monotonicNanoseconds, random: Double.random(in: 0..<1))
            case .pause(let nanoseconds):
                let now = time.monotonicNanoseconds
                // Nobody is asked after the first attempt: most mounts are free a moment later.
                if retry.attemptCount > 1,
                    holders.map({ now &- $0.atNanoseconds >= Self.holdersIntervalNanoseconds }) ?? true
                {
                    holders = (await findHolders(of: target), now)
                }
                onBusy(
                    UnmountProgress(
                        attempt: retry.attemptCount, elapsedNanoseconds: retry.elapsedNanoseconds(now),
                        pauseNanoseconds: nanoseconds, holders: holders?.found))
                do {
                    try await time.sleep(nanoseconds: nanoseconds)
                } catch {
                    return .stillBusy(await findHolders(of: target))
                }
                action = retry.resumed()
            case .giveUp:
                return .stillBusy(await findHolders(of: target))
            case .finish(let outcome):
                return outcome
            }
        }
    }

    private func attempt(_ mode: UnmountMode, _ target: MountEntry) async -> UnmountAttempt {
        await offPool { [calls] in
            // The mount seen at the start must be the one that goes: another one may have been mounted on top, or it may
            // have gone by itself.
            if let table = try? calls.table(), table.mount(at: target.mountpoint)?.id != target.id {
                return table.entry(id: target.id)?.mountpoint == target.mountpoint ? .busy : .notMounted
            }
            let answer = calls.attempt(mode, on: target)
            // "Not mounted" of a mount that is still there: a name that cannot be spelled, or a mount locked in place in a
            // namespace of less privilege.
            if answer == .notMounted, (try? calls.table())?.entry(id: target.id)?.mountpoint == target.mountpoint {
                return .failed(errno: EINVAL)
            }
            return answer
        }
    }

    private func findHolders(of target: MountEntry) async -> MountHolders {
        await offPool { [calls] in
            guard let table = try? calls.table() else { return MountHolders(isComplete: false) }
            return calls.holders(of: target, in: table)
        }
    }

    /// Runs blocking work on a thread of its own, not on the cooperative pool.
    private func offPool<Value: Sendable>(_ work: @escaping @Sendable () -> Value) async -> Value {
        let result = OneShot<Value>()
        NamedThread.start("pail-umount") { result.set(work()) }
        return await result.wait()
    }
}
