import Base
import Testing

@Suite(.timeLimit(.minutes(3)))
struct ListenerTests {
    @Test func tellsTheLastOneThatWasSet() {
        let listener = Listener<Int>()
        listener.tell(1)
        let told = Lock<[Int]>([])
        listener.set { event in told.withLock { $0.append(-event) } }
        listener.set { event in told.withLock { $0.append(event) } }
        listener.tell(2)
        listener.tell(3)
        #expect(told.withLock { $0 } == [2, 3])
    }

    /// However often it is told, the call is as deep as the first one.
    @Test func regression_callsGetNoDeeper() {
        let listener = Listener<Int>()
        let places = Lock<[Int]>([])
        listener.set { _ in
            var here = 0
            let place = withUnsafeMutablePointer(to: &here) { Int(bitPattern: $0) }
            places.withLock { $0.append(place) }
        }
        for event in 0..<10_000 { listener.tell(event) }
        let found = places.withLock { $0 }
        #expect(found.count == 10_000 && found.max()! - found.min()! < 4096)
    }
}
