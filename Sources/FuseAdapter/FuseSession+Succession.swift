// Going on with a mount whose process has died or handed it over: the same device, another process.

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
    /// So long directories that are being read may take to come to their end; a successor cannot go on in the middle.
    private static let directoriesNanosecondsMax: UInt64 = 1_000_000_000
    /// More directories are not told to a successor; open files have the same places.
    private static let directoryCountMax = 2048

    /// Takes the place of the process that served the mount before, of which `ledger` tells. Its open files are opened anew,
    /// where they are still the same; the kernel's requests wait meanwhile. Requests are answered once `serve` runs.
    /// - Parameter device: the mount's; it becomes this session's.
    public func succeed(on device: Int32) async throws(FuseError) {
        guard let ledger else { preconditionFailure("a successor has a ledger") }
        guard ledger.isReadable else {
            throw FuseError(description: "the earlier process is of a version that tells of its files in another way")
        }
        let request = ledger.initRequest
        guard !request.isEmpty else { throw FuseError(description: "the earlier process had not begun to serve") }
        let fileSystem = fileSystem
        let earlier = EarlierRequests(generation: generation) {
            fileSystem.names(of: $0)
        } onReleased: {
            ledger.forget($0)
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
        let entries = ledger.entries()
        for entry in entries where entry.isDirectory {
            earlier.add(directory: entry.facts.number, names: entry.facts.names)
        }
        for entry in entries where !entry.isDirectory {
            guard let handle = await fileSystem.reopen(entry.facts) else {
                ledger.forget(entry.handle)
                lostCount += 1
                continue
            }
            ledger.keep(entry, as: handle)
            earlier.add(
                entry, handle: number(Unmanaged.passRetained(handle).toOpaque()), node: handle.node.number)
        }
        if lostCount > 0 { log.warning("\(lostCount) files that were open are others now, or gone: ESTALE for them") }
        guard Self.answer(device, error: Self.resend, unique: 0) else {
            throw FuseError(description: "this kernel does not send requests again (Linux 6.9 does)")
        }
        // Until now another process would have needed them.
        for entry in entries where entry.isDirectory { ledger.forget(entry.handle) }
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

    /// Leaves the mount to a successor: begins no further request, waits until each change that was begun is answered, and then tells
    /// the kernel nothing more. What is not answered by then comes again to the successor, reads for example.
    ///
    /// For a supervised session that serves. The caller writes down what is to be kept, and ends the process.
    /// - Returns: how many changes were not done in the time given: the successor makes them once more.
    public func handOver(timeoutNanoseconds: UInt64) async -> Int {
        guard let gate else { return 0 }
        func wait(_ nanoseconds: UInt64, while isBusy: () -> Bool) async {
            let deadline = time.monotonicNanoseconds + nanoseconds
            while isBusy(), time.monotonicNanoseconds < deadline { try? await time.sleep(nanoseconds: 2_000_000) }
        }
        gate.leave()
        await wait(Self.directoriesNanosecondsMax) { gate.openDirectories > 0 }
        gate.close()
        await wait(timeoutNanoseconds) { gate.changesUnderWay > 0 }
        gate.mute()
        noteDirectories()
        return gate.changesUnderWay
    }

    /// What the kernel knows of directories, for the successor: who stands in one goes on there.
    private func noteDirectories() {
        guard let ledger else { return }
        let known = fileSystem.kernelDirectories().map { (kernelNumber($0.number), $0.names) }
        for (number, names) in (known + (earlier?.directories ?? [])).prefix(Self.directoryCountMax) {
            let facts = OpenFileFacts(number: number, mayWrite: false, names: names, etag: nil)
            ledger.note(HandleLedger.Entry(handle: number, facts: facts, isDirectory: true))
        }
    }

    /// By which number the kernel knows a node.
    func kernelNumber(_ node: UInt64, isDirectory: Bool = false) -> UInt64 {
        earlier?.kernelNumber(node, isDirectory: isDirectory) ?? node
    }

    /// Whether a request is one for this process at once; else it is answered, or follows when a directory has been looked up.
    func mayServe(_ message: UnsafeMutableRawBufferPointer, _ earlier: EarlierRequests, _ device: Int32) -> Bool {
        switch earlier.judge(message) {
        case .serve: return true
        case .answer(let code):
            _ = Self.answer(device, error: -code, unique: message.loadUnaligned(fromByteOffset: 8, as: UInt64.self))
            gate?.leave(FuseOpcode.of(UnsafeRawBufferPointer(message)))
            return false
        case .lookUp(let number, let names):
            let copy = Array(message)
            // The hook that reads has to go on: a worker never waits for the network.
            Task {
                earlier.found(number, node: await self.fileSystem.lookUpDirectory(names))
                self.serveLater(copy, earlier, device)
            }
            return false
        }
    }

    private func serveLater(_ message: [UInt8], _ earlier: EarlierRequests, _ device: Int32) {
        var message = message
        message.withUnsafeMutableBytes { bytes in
            guard mayServe(bytes, earlier, device) else { return }
            traffic.received(UnsafeRawBufferPointer(bytes))
            // SAFETY: libfuse copies what it keeps of a request, and is thread-safe.
            var buffer = fuse_buf()
            buffer.mem = bytes.baseAddress
            buffer.size = bytes.count
            fuse_session_process_buf(session, &buffer)
        }
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
