// How long an upload waits before it is tried.

internal import Base
internal import ObjectModel
internal import ObjectStore

extension UploadQueue {
    /// Properties alone wait a moment for more of their kind.
    func linger(_ file: StagedFile) async {
        let isPropertiesOnly = file.state.withLock {
            $0.contents.dirty.isEmpty && $0.identity.base?.byteCount == $0.identity.byteCount
        }
        guard isPropertiesOnly else { return }
        await pause(file, nanoseconds: configuration.propertiesLingerNanoseconds)
    }

    func backOff(_ file: StagedFile, tries: Int) async {
        let growing = configuration.retryNanoseconds << UInt64(min(tries - 1, 10))
        // A store that does not answer is asked now and then, and everything goes on once somebody has seen it back.
        let isOut = !store.reachability.isReachable
        let bounded = min(
            growing, isOut ? configuration.outageRetryNanosecondsMax : configuration.retryNanosecondsMax)
        await pause(file, nanoseconds: UInt64.random(in: bounded / 2...bounded), untilReachable: isOut)
    }

    /// Sleeps in short steps, and no longer once somebody waits for the file.
    private func pause(_ file: StagedFile, nanoseconds: UInt64, untilReachable: Bool = false) async {
        let until = time.monotonicNanoseconds &+ nanoseconds
        while time.monotonicNanoseconds < until {
            let isUrgent = file.state.withLock { state in
                defer { state.isUrgent = false }
                return state.isUrgent
            }
            if isUrgent || Task.isCancelled || untilReachable && store.reachability.isReachable { return }
            try? await time.sleep(nanoseconds: min(100_000_000, until &- time.monotonicNanoseconds))
        }
    }
}
