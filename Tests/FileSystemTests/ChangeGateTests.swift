// The gate between renames of directories and everything else.

import Base
import Testing

@testable import FileSystem

@Suite(.timeLimit(.minutes(5)))
struct ChangeGateTests {
    @Test func oneAloneOrManyTogether() async {
        let gate = ChangeGate()
        let inside = Lock((shared: 0, exclusive: 0, sharedPeak: 0, breaches: 0))
        await withTaskGroup(of: Void.self) { group in
            for index in 0..<400 {
                group.addTask {
                    if index % 7 == 0 {
                        await gate.enterExclusive()
                        inside.withLock { state in
                            state.exclusive += 1
                            if state.exclusive > 1 || state.shared > 0 { state.breaches += 1 }
                        }
                        await Task.yield()
                        inside.withLock { $0.exclusive -= 1 }
                        gate.leaveExclusive()
                    } else {
                        await gate.enterShared()
                        inside.withLock { state in
                            state.shared += 1
                            state.sharedPeak = max(state.sharedPeak, state.shared)
                            if state.exclusive > 0 { state.breaches += 1 }
                        }
                        await Task.yield()
                        inside.withLock { $0.shared -= 1 }
                        gate.leaveShared()
                    }
                }
            }
        }
        #expect(inside.withLock { $0.breaches } == 0)
        #expect(inside.withLock { $0.sharedPeak } > 1)
        #expect(gate.tryEnterShared(), "all have left")
    }

    /// Who comes after a waiting exclusive one waits too: it is not starved.
    @Test func firstComeFirstServed() async {
        let gate = ChangeGate()
        #expect(gate.tryEnterShared())
        let order = Lock<[String]>([])
        let exclusive = Task {
            await gate.enterExclusive()
            order.withLock { $0.append("exclusive") }
            gate.leaveExclusive()
        }
        while gate.tryEnterShared() {
            gate.leaveShared()
            await Task.yield()
        }
        let late = Task {
            await gate.enterShared()
            order.withLock { $0.append("shared") }
            gate.leaveShared()
        }
        for _ in 0..<20 { await Task.yield() }
        #expect(order.withLock { $0.isEmpty })
        gate.leaveShared()
        await exclusive.value
        await late.value
        #expect(order.withLock { $0 } == ["exclusive", "shared"])
    }
}
