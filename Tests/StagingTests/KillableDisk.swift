// A local disk that shows what a killed process leaves on it, or that is full.

import Base
import FoundationEssentials

/// Takes a copy of the state directory right before a write; or has no room. Thread-safe.
final class KillableDisk: Sendable {
    private struct State {
        var directory = ""
        var byteCount = 0
        var copy: String?
        var isFull = false
    }

    private let state = Lock(State())

    /// What the process left, had it been killed then; nil before.
    var copy: String? { state.withLock { $0.copy } }

    /// Copies the directory before the next write of so many bytes.
    func copyDirectory(_ directory: String, before byteCount: Int) {
        state.withLock { $0 = State(directory: directory, byteCount: byteCount) }
    }

    func setFull(_ isFull: Bool) {
        state.withLock { $0.isFull = isFull }
    }

    /// How many of so many bytes are granted.
    func room(_ count: Int) -> Int {
        state.withLock { state in
            if count == state.byteCount, state.copy == nil, !state.directory.isEmpty {
                let copy = "\(state.directory)-copy"
                try? FileManager.default.copyItem(atPath: state.directory, toPath: copy)
                state.copy = copy
            }
            return state.isFull ? 0 : count
        }
    }
}
