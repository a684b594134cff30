import Base
import Testing

@Suite(.timeLimit(.minutes(3)))
struct LockTests {
    private struct Failure: Error, Equatable {}

    @Test func noUpdateIsLost() async {
        let counter = Lock(0)
        await withTaskGroup(of: Void.self) { group in
            for _ in 0..<8 {
                group.addTask { for _ in 0..<10_000 { counter.withLock { $0 += 1 } } }
            }
        }
        #expect(counter.withLock { $0 } == 80_000)
    }

    @Test func errorsUnlock() {
        let lock = Lock(1)
        #expect(throws: Failure()) {
            try lock.withLock { (state) throws(Failure) in
                state = 2
                throw Failure()
            }
        }
        #expect(lock.withLock { $0 } == 2)
    }

    @Test func threadsRunTheirBody() async {
        let shot = OneShot<Int>()
        NamedThread.start("pail-test") { shot.set(3) }
        #expect(await shot.wait() == 3)
    }
}
