// What passes while a process leaves its mount to another.

import Testing

@testable import FuseAdapter

@Suite(.timeLimit(.minutes(3)))
struct RequestGateTests {
    private static let mkdir: UInt32 = 9
    private static let read: UInt32 = 15
    private static let openDirectory: UInt32 = 27
    private static let releaseDirectory: UInt32 = 29

    @Test func directoriesComeToTheirEndFirst() {
        let gate = RequestGate()
        #expect(gate.enter(Self.openDirectory))
        gate.leave(Self.openDirectory, isDone: true)
        #expect(gate.enter(Self.openDirectory))
        gate.leave(Self.openDirectory)
        #expect(gate.openDirectories == 1, "one was refused")
        gate.leave()
        #expect(!gate.enter(Self.openDirectory))
        for opcode in [Self.mkdir, Self.read, Self.releaseDirectory] {
            #expect(gate.enter(opcode))
            gate.leave(opcode, isDone: true)
        }
        #expect(gate.openDirectories == 0 && gate.changesUnderWay == 0 && !gate.isMute)
    }

    @Test func changesThatWereBegunAreCounted() {
        let gate = RequestGate()
        #expect(gate.enter(Self.mkdir) && gate.enter(Self.read))
        gate.close()
        #expect(gate.changesUnderWay == 1, "a read may be done twice")
        #expect(!gate.enter(Self.mkdir) && !gate.enter(Self.read) && gate.changesUnderWay == 1)
        gate.leave(Self.mkdir, isDone: true)
        #expect(gate.changesUnderWay == 0 && !gate.isMute)
        gate.mute()
        #expect(gate.isMute && !gate.enter(Self.read))
    }
}
