// Where a supervised process finds what outlives it.

internal import CLinux
internal import FuseAdapter
internal import Glibc

/// The descriptors that a supervisor gives to a process that serves.
struct ServingPlace: Sendable {
    /// How many processes served the mount before.
    let generation: UInt64
    /// Nil when it cannot be mapped: the mount works, without a successor.
    let ledger: HandleLedger?

    init(generation: UInt64) {
        self.generation = generation
        ledger = HandleLedger(descriptor: Supervisor.ledgerDescriptor)
        close(Supervisor.ledgerDescriptor)
        for descriptor in [Supervisor.channelDescriptor, Supervisor.deviceDescriptor, Supervisor.programDescriptor] {
            _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC)
        }
    }

    /// Whether the mount is there already.
    var isSuccessor: Bool { generation > 0 }

    /// Nodes of this process have numbers that no earlier one gave out.
    var firstNodeNumber: UInt64 { generation << EarlierRequests.nodeShift | 2 }

    /// Gives the supervisor the mount's device.
    func keep(_ device: Int32) {
        _ = Self.say(.device, device)
    }

    /// Another program is to go on when this process ends with `Supervisor.handedOver`. False when that cannot be told.
    func prepareHandOver(to program: Int32) -> Bool { Self.say(.program, program) }

    /// This process has taken over.
    func tellThatItServes() { _ = Self.say(.serves) }

    private static func say(_ message: Supervisor.Message, _ descriptor: Int32 = -1) -> Bool {
        pail_send_message(Supervisor.channelDescriptor, CChar(message.rawValue), descriptor) == 0
    }
}
