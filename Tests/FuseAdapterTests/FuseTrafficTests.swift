// Requests and answers as they go over the device.

import Base
import Glibc
import Testing

@testable import FuseAdapter

@Suite(.timeLimit(.minutes(3)))
struct FuseTrafficTests {
    let time = SimulatedTime()

    static func request(_ opcode: UInt32, unique: UInt64, node: UInt64 = 7, thread: Int32 = 42) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: 40)
        bytes.withUnsafeMutableBytes { buffer in
            buffer.storeBytes(of: 40, toByteOffset: 0, as: UInt32.self)
            buffer.storeBytes(of: opcode, toByteOffset: 4, as: UInt32.self)
            buffer.storeBytes(of: unique, toByteOffset: 8, as: UInt64.self)
            buffer.storeBytes(of: node, toByteOffset: 16, as: UInt64.self)
            buffer.storeBytes(of: thread, toByteOffset: 32, as: Int32.self)
        }
        return bytes
    }

    static func answer(unique: UInt64, error: Int32 = 0) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: 16)
        bytes.withUnsafeMutableBytes { buffer in
            buffer.storeBytes(of: 16, toByteOffset: 0, as: UInt32.self)
            buffer.storeBytes(of: -error, toByteOffset: 4, as: Int32.self)
            buffer.storeBytes(of: unique, toByteOffset: 8, as: UInt64.self)
        }
        return bytes
    }

    func receive(_ traffic: FuseTraffic, _ bytes: [UInt8]) { bytes.withUnsafeBytes { traffic.received($0) } }
    func answer(_ traffic: FuseTraffic, _ bytes: [UInt8]) { bytes.withUnsafeBytes { _ = traffic.answered($0) } }

    @Test func operationsAreCountedByKindWithTheirTime() {
        let traffic = FuseTraffic(time: time)
        receive(traffic, Self.request(15, unique: 2))
        receive(traffic, Self.request(1, unique: 4))
        time.advance(nanoseconds: 50_000)
        answer(traffic, Self.answer(unique: 2))
        time.advance(nanoseconds: 50_000)
        answer(traffic, Self.answer(unique: 4, error: ENOENT))
        let figures = traffic.figures
        #expect(figures.map(\.operation) == ["lookup", "read"])
        #expect(figures.map(\.errorCount) == [1, 0])
        #expect(figures.map(\.latency.sumNanoseconds) == [100_000, 50_000])
        #expect(traffic.waiting().isEmpty)
    }

    @Test func whatWaitsIsShownTheLongestFirst() {
        let traffic = FuseTraffic(time: time)
        receive(traffic, Self.request(15, unique: 2, node: 5, thread: 10))
        time.advance(nanoseconds: 1_000)
        receive(traffic, Self.request(16, unique: 4, node: 6, thread: 11))
        time.advance(nanoseconds: 1_000)
        #expect(
            traffic.waiting() == [
                .init(operation: "read", number: 5, threadID: 10, nanoseconds: 2_000),
                .init(operation: "write", number: 6, threadID: 11, nanoseconds: 1_000),
            ])
    }

    @Test func whatHasNoAnswerDoesNotWait() {
        let traffic = FuseTraffic(time: time)
        for opcode: UInt32 in [2, 36, 38, 41, 42, 63, 5000] { receive(traffic, Self.request(opcode, unique: 2)) }
        #expect(traffic.waiting().isEmpty)
    }

    @Test func answersToNobodyAndTornMessagesAreNothing() {
        let traffic = FuseTraffic(time: time)
        answer(traffic, Self.answer(unique: 0, error: 2))
        answer(traffic, Self.answer(unique: 99))
        answer(traffic, [1, 2, 3])
        receive(traffic, [UInt8](repeating: 1, count: 39))
        #expect(traffic.figures.isEmpty)
    }

    @Test func moreAtOnceThanThereIsRoomForIsStillServed() {
        let traffic = FuseTraffic(time: time)
        for unique in 1...10_000 as ClosedRange<UInt64> { receive(traffic, Self.request(15, unique: unique * 2)) }
        for unique in 1...10_000 as ClosedRange<UInt64> { answer(traffic, Self.answer(unique: unique * 2)) }
        #expect(traffic.waiting().isEmpty)
        #expect(traffic.figures[0].latency.count > 4_000)
        // And there is room again.
        receive(traffic, Self.request(15, unique: 2))
        #expect(traffic.waiting().count == 1)
    }

    @Test func whoAsksMostIsKnownAmongThousands() {
        let traffic = FuseTraffic(time: time)
        for thread in 1...5_000 as ClosedRange<Int32> {
            receive(traffic, Self.request(15, unique: UInt64(thread) * 4, thread: thread))
            receive(traffic, Self.request(15, unique: UInt64(thread) * 4 + 2, thread: 77_777))
        }
        #expect(traffic.callerCounts().first?.threadID == 77_777)
        #expect(traffic.callerCounts().first?.count == 5_000)
    }

    @Test func whileTracingEachAnswerIsTold() {
        let told = Lock<[String]>([])
        let traffic = FuseTraffic(time: time, isTracing: { true })
        traffic.trace { operation, number, thread, code, nanoseconds in
            told.withLock { $0.append("\(operation) \(number) \(thread) \(code) \(nanoseconds)") }
        }
        receive(traffic, Self.request(3, unique: 2))
        time.advance(nanoseconds: 9)
        answer(traffic, Self.answer(unique: 2, error: EIO))
        #expect(told.withLock { $0 } == ["getattr 7 42 \(EIO) 9"])
    }
}
