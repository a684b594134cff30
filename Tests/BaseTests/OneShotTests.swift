import Base
import Testing

@Suite(.timeLimit(.minutes(3)))
struct OneShotTests {
    @Test func firstValueStays() {
        let shot = OneShot<Int>()
        #expect(shot.current == nil)
        #expect(shot.set(1))
        #expect(!shot.set(2))
        #expect(shot.current == 1)
    }

    @Test func observersOfBothSides() {
        let shot = OneShot<Int>()
        let seen = Lock([String]())
        shot.observe { value in seen.withLock { $0.append("early \(value)") } }
        #expect(seen.withLock { $0 } == [])
        shot.set(7)
        shot.observe { value in seen.withLock { $0.append("late \(value)") } }
        shot.set(8)
        #expect(seen.withLock { $0 } == ["early 7", "late 7"])
    }

    /// No lock is held while observers run.
    @Test func observersMayComeBack() {
        let shot = OneShot<Int>()
        let seen = Lock([Int]())
        shot.observe { value in
            #expect(shot.current == value)
            #expect(!shot.set(99))
            shot.observe { inner in seen.withLock { $0.append(inner) } }
        }
        shot.set(3)
        #expect(seen.withLock { $0 } == [3])
    }

    @Test func anOptionalNilIsAValue() {
        let shot = OneShot<Int?>()
        #expect(shot.set(nil))
        #expect(!shot.set(1))
        #expect(shot.current == .some(nil))
    }

    @Test func waitersAllWake() async {
        let shot = OneShot<Int>()
        let sum = await withTaskGroup(of: Int.self) { group in
            for _ in 0..<100 { group.addTask { await shot.wait() } }
            group.addTask {
                shot.set(5)
                return 0
            }
            return await group.reduce(0, +)
        }
        #expect(sum == 500)
        #expect(await shot.wait() == 5)
    }

    @Test(arguments: 0..<20)
    func oneOfManySetters(_ round: Int) async {
        let shot = OneShot<Int>()
        let observed = Lock([Int]())
        let winners = await withTaskGroup(of: Int?.self) { group in
            for index in 0..<32 {
                group.addTask {
                    shot.observe { value in observed.withLock { $0.append(value) } }
                    return shot.set(index) ? index : nil
                }
            }
            return await group.reduce(into: [Int]()) { if let winner = $1 { $0.append(winner) } }
        }
        #expect(winners.count == 1)
        #expect(observed.withLock { $0 } == Array(repeating: winners[0], count: 32))
    }
}
