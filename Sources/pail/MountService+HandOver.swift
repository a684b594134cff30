// Leaving a mount to another program: `pail upgrade`.

internal import Base
internal import BlockCache
internal import Commands
internal import Control
internal import FileSystem
internal import FuseAdapter
internal import Glibc
internal import Logging
internal import Mounts
internal import ObjectStore

extension MountService {
    /// How long changes that were begun (a rename, say) may take until they are answered.
    private static let changesNanoseconds: UInt64 = 20_000_000_000
    /// How long uploads and caches may take to come to rest. What is not in order by then is in the state that a kill leaves.
    private static let restNanoseconds: UInt64 = 5_000_000_000

    /// Prepares all that can fail, while this process goes on serving.
    /// - Throws: with what is in the way; nothing has changed then.
    func prepareHandOver(to program: String) throws(ControlError) {
        guard let place, place.ledger != nil else {
            throw ControlError(
                .other, "it was not mounted with --supervised: unmount it, and mount it again by the new program")
        }
        // Open files are compared with the bucket by the next process.
        if !plan.isOffline, !store.reachability.isReachable {
            throw ControlError(.other, "the bucket cannot be reached at present: try again when it can")
        }
        if let problem = ProgramTrial.problem(of: program) { throw ControlError(.other, problem) }
        let file = open(program, O_RDONLY | O_CLOEXEC)
        guard file >= 0 else {
            throw ControlError(.other, "\(program) cannot be opened: \(String(cString: strerror(errno)))")
        }
        defer { close(file) }
        guard place.prepareHandOver(to: file) else {
            throw ControlError(.other, "the process that supervises this mount does not answer")
        }
    }

    /// Comes to rest between two requests, and ends; the supervisor starts the program that was prepared.
    func handOver() async -> Never {
        log.notice("another program goes on with this mount")
        let time = SystemTime()
        let leftCount = await session.handOver(timeoutNanoseconds: Self.changesNanoseconds)
        if leftCount > 0 {
            log.warning("\(Message.count(leftCount, "change")) will be made once more: not answered in time")
        }
        let isAtRest = OneShot<Void>()
        Task {
            await fileSystem.shutDown()
            await cache.disk?.drain(timeoutNanoseconds: Self.restNanoseconds)
            await fileSystem.attributes?.drain()
            isAtRest.set(())
        }
        let start = time.monotonicNanoseconds
        while isAtRest.current == nil, time.monotonicNanoseconds - start < Self.restNanoseconds {
            try? await time.sleep(nanoseconds: 2_000_000)
        }
        LogOutput.shared.flush()
        // Not `exit`, which would end what the mount still stands on.
        _exit(Supervisor.handedOver)
    }
}
