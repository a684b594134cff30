// The gate between renames of directories and everything else.

import Base
import Testing

@testable import FileSystem

@Suite(.timeLimit(.minutes(5)))
struct ChangeGateTests {
    /// Claims and places are the letters that they are about.
    private typealias Gate = ChangeGate<Set<Character>>

    @Test func oneAloneWithWhatItClaims() async {
        let gate = Gate()
        let inside = Lock(
            (changes: [Character: Int](), claims: [Set<Character>](), peak: 0, breaches: 0, besideCount: 0))
        await withTaskGroup(of: Void.self) { group in
            for index in 0..<600 {
                let letter = Array("abcdef")[index % 6]
                group.addTask {
                    if index % 7 == 0 {
                        let claim: Set<Character> = [letter, "a"]
                        try? await gate.exclusive(claim) { () async throws(FileSystemError) in
                            inside.withLock { state in
                                state.claims.append(claim)
                                if state.claims.count > 1 { state.breaches += 1 }
                                if claim.contains(where: { state.changes[$0, default: 0] > 0 }) { state.breaches += 1 }
                            }
                            for _ in 0..<5 { await Task.yield() }
                            inside.withLock { _ = $0.claims.removeLast() }
                        }
                    } else {
                        try? await gate.shared({ $0.contains(letter) }) { () async throws(FileSystemError) in
                            inside.withLock { state in
                                state.changes[letter, default: 0] += 1
                                state.peak = max(state.peak, state.changes.values.reduce(0, +))
                                if state.claims.contains(where: { $0.contains(letter) }) { state.breaches += 1 }
                                if !state.claims.isEmpty { state.besideCount += 1 }
                            }
                            await Task.yield()
                            inside.withLock { $0.changes[letter]! -= 1 }
                        }
                    }
                }
            }
        }
        #expect(inside.withLock { $0.breaches } == 0)
        #expect(inside.withLock { $0.peak } > 1)
        #expect(gate.tryEnter { _ in true } != nil, "all have left")
    }

    /// Who comes after a waiting rename waits too if it is in its way: the rename is not starved. Others do not wait.
    @Test func firstComeFirstServed() async throws {
        let gate = Gate()
        let first = try #require(gate.tryEnter { _ in true })
        let order = Lock<[String]>([])
        let rename = Task {
            try? await gate.exclusive(["a"]) { () async throws(FileSystemError) in
                order.withLock { $0.append("rename") }
            }
        }
        while let ticket = gate.tryEnter({ $0.contains("a") }) {
            gate.leave(ticket)
            await Task.yield()
        }
        let late = Task {
            try? await gate.shared({ $0.contains("a") }) { () async throws(FileSystemError) in
                order.withLock { $0.append("change") }
            }
        }
        let beside = try #require(gate.tryEnter { $0.contains("b") })
        for _ in 0..<20 { await Task.yield() }
        #expect(order.withLock { $0.isEmpty })
        gate.leave(first)
        await rename.value
        await late.value
        #expect(order.withLock { $0 } == ["rename", "change"])
        gate.leave(beside)
    }

    /// A rename waits for every change that came before it, also for one that itself waits for an earlier rename.
    @Test func aChangeThatWaitsCountsForLaterRenames() async throws {
        let gate = Gate()
        let order = Lock<[String]>([])
        let (isIn, goesOn) = (OneShot<Void>(), OneShot<Void>())
        let first = Task {
            try? await gate.exclusive(["a"]) { () async throws(FileSystemError) in
                isIn.set(())
                await goesOn.wait()
            }
        }
        await isIn.wait()
        let place = Lock<Character>("a")
        let change = Task {
            try? await gate.shared({ claim in place.withLock { claim.contains($0) } }) {
                () async throws(FileSystemError) in
                for _ in 0..<20 { await Task.yield() }
                order.withLock { $0.append("change") }
            }
        }
        for _ in 0..<50 { await Task.yield() }
        let second = Task {
            try? await gate.exclusive(["b"]) { () async throws(FileSystemError) in
                order.withLock { $0.append("second") }
            }
        }
        while gate.tryEnter({ $0.contains("b") }).map({ gate.leave($0) }) != nil { await Task.yield() }
        // The first rename takes the change's place to where the second one is to come.
        place.withLock { $0 = "b" }
        goesOn.set(())
        await first.value
        await change.value
        await second.value
        #expect(order.withLock { $0 } == ["change", "second"])
    }
}
