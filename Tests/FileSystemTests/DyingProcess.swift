// The process of a mount, which dies at a given step: a change of the local disk, or of the store.

import Base
import Glibc
import ObjectModel
import ObjectStore
import Staging

/// Where a process dies.
struct CrashPoint: Sendable, CustomStringConvertible {
    enum Moment: String, Sendable, CaseIterable { case before, torn, after }

    /// Of the step, from 0; nil: the first of the name.
    let index: Int?
    let step: String?
    let moment: Moment

    init(index: Int, moment: Moment) {
        (self.index, step, self.moment) = (index, nil, moment)
    }

    /// The first of some requests or changes of the disk.
    init(first step: String, moment: Moment) {
        (index, self.step, self.moment) = (nil, step, moment)
    }

    var description: String { "\(moment.rawValue) \(step ?? "step") \(index.map(String.init) ?? "")" }
}

/// Counts the steps of what stands in for a process, and ends it at one: from then on neither disk nor store does anything for
/// it, also when the next process has begun. Thread-safe.
final class DyingProcess: Sendable {
    fileprivate struct State {
        var isCounting = false
        var point: CrashPoint?
        var steps: [String] = []
        var isDead = false
        /// Counts the processes.
        var number = 0
    }

    // The calls of the disk are made under it: what is on the disk is what was there when the process died.
    private let state = Lock(State())

    /// Counts from here on, and dies at `point`.
    func begin(at point: CrashPoint?) {
        state.withLock { $0 = State(isCounting: true, point: point, number: $0.number) }
    }

    /// Counts no more, and lives on.
    func endCounting() {
        state.withLock { $0 = State(number: $0.number) }
    }

    /// The next process begins, which dies at `point`, if that is one.
    func restart(at point: CrashPoint?) {
        state.withLock { $0 = State(isCounting: point != nil, point: point, number: $0.number + 1) }
    }

    /// What was done, in order.
    var steps: [String] { state.withLock { $0.steps } }
    var isDead: Bool { state.withLock { $0.isDead } }

    /// The disk of the present process.
    var disk: StagingDisk {
        let number = state.withLock { $0.number }
        return StagingDisk { [self] change, count, call in
            state.withLock { state in
                guard state.number == number else {
                    errno = EIO
                    return -1
                }
                let moment = state.begin(change == .write ? "write \(count)" : change.rawValue)
                if state.isDead, moment == nil || moment == .before {
                    errno = EIO
                    return -1
                }
                let result = call(moment == .torn && change == .write ? count / 2 : count)
                guard moment != nil else { return result }
                if change == .create { close(Int32(result)) }
                errno = EIO
                return -1
            }
        }
    }

    /// A request that changes something is about to be sent; throws when it is not.
    func beginRequest(_ operation: String) throws(StoreError) {
        let (moment, isDead) = state.withLock { ($0.begin(operation), $0.isDead) }
        if isDead, moment == nil || moment == .before { throw Self.dead(operation) }
    }

    /// The answer has come; throws when nobody is there to hear it.
    func endRequest(_ operation: String) throws(StoreError) {
        if isDead { throw Self.dead(operation) }
    }

    private static func dead(_ operation: String) -> StoreError {
        StoreError(.unreachable, operation: operation, message: "killed")
    }
}

extension DyingProcess.State {
    /// Counts a step; the moment at which the process dies, if it does so in this one.
    fileprivate mutating func begin(_ step: String) -> CrashPoint.Moment? {
        guard isCounting, !isDead else { return nil }
        steps.append(step)
        guard let point, point.index == steps.count - 1 || point.step == step else { return nil }
        isDead = true
        return point.moment
    }
}
