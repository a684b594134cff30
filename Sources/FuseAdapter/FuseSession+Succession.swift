// Going on with a mount whose process has died: the same device, another process.

internal import Base
internal import CFuse
internal import FileSystem
internal import Glibc
internal import Logging

extension FuseSession {
    /// FUSE_NOTIFY_RESEND of <linux/fuse.h>, Linux 6.9: the kernel sends again what was read and never answered.
    private static let resend: Int32 = 7
    /// `struct fuse_out_header`: length, error or notification, number of the request.
    private static let answerHeaderBytes = 16

    /// Takes the place of the process that served the mount before, of which `ledger` tells. Its open files are opened anew,
    /// where they are still the same; the kernel's requests wait meanwhile. Requests are answered once `serve` runs.
    /// - Parameter device: the mount's; it becomes this session's.
    public func succeed(on device: Int32) async throws(FuseError) {
        guard let ledger else { preconditionFailure("a successor has a ledger") }
        let request = ledger.initRequest
        guard !request.isEmpty else { throw FuseError(description: "the earlier process had not begun to serve") }
        let fileSystem = fileSystem
        let earlier = EarlierRequests(generation: generation) { handle, node in
            ledger.forget(handle)
            fileSystem.forget(node, count: 1)
        }
        self.earlier = earlier
        try make()
        do throws(FuseError) {
            try watchTraffic(on: device)
            try agree(request, ledger.initAnswer)
        } catch {
            destroy()
            throw error
        }
        var lostCount = 0
        for entry in ledger.takeEntries() {
            guard let handle = await fileSystem.reopen(entry.facts) else {
                lostCount += 1
                continue
            }
            // The kernel goes on using the first numbers, and so would the next successor.
            ledger.note(entry, of: handle)
            earlier.add(
                entry, handle: number(Unmanaged.passRetained(handle).toOpaque()), node: handle.node.number)
        }
        if lostCount > 0 { log.warning("\(lostCount) files that were open are others now, or gone: ESTALE for them") }
        guard Self.answer(device, error: Self.resend, unique: 0) else {
            throw FuseError(description: "this kernel does not send requests again (Linux 6.9 does)")
        }
    }

    /// Brings libfuse to the state that it had after INIT.
    private func agree(_ request: [UInt8], _ answer: [UInt8]) throws(FuseError) {
        var bytes = request
        bytes.withUnsafeMutableBytes { memory in
            var buffer = fuse_buf()
            buffer.mem = memory.baseAddress
            buffer.size = memory.count
            fuse_session_process_buf(session, &buffer)
        }
        guard repeatedAnswer.withLock({ $0 }) == answer else {
            throw FuseError(
                description: "this version would agree on other things with the kernel than the earlier one did")
        }
    }

    /// Whether a request is one for this process; else it is answered.
    static func mayServe(
        _ message: UnsafeMutableRawBufferPointer, _ earlier: EarlierRequests, _ device: Int32
    ) -> Bool {
        guard case .answer(let code) = earlier.judge(message) else { return true }
        _ = answer(device, error: -code, unique: message.loadUnaligned(fromByteOffset: 8, as: UInt64.self))
        return false
    }

    private static func answer(_ device: Int32, error: Int32, unique: UInt64) -> Bool {
        withUnsafeTemporaryAllocation(byteCount: answerHeaderBytes, alignment: 8) { header in
            header.storeBytes(of: UInt32(answerHeaderBytes), as: UInt32.self)
            header.storeBytes(of: error, toByteOffset: 4, as: Int32.self)
            header.storeBytes(of: unique, toByteOffset: 8, as: UInt64.self)
            return Glibc.write(device, header.baseAddress, header.count) == header.count
        }
    }
}
