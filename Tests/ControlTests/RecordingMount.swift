// A mount for tests: answers from a script, and records what it was asked.

import Base
import Glibc
import Testing

@testable import Control

final class RecordingMount: ControlDelegate {
    struct State {
        var asked: [String] = []
        var progress: [UploadProgress] = []
        var failure: ControlError?
        var drainResult = DrainResult()
        var status = MountStatus(
            version: "1.2.3", pid: getpid(), mountpoint: "/mnt/data", source: "s3://bucket/prefix",
            endpoint: "https://s3.example", region: "eu-north-1", startedAt: "2026-07-30T10:00:00Z", uptimeSeconds: 60)
    }

    let state = Lock(State())
    /// While not set, flush and drain do not return, unless they are cancelled.
    let gate: OneShot<Void>
    /// Set when a flush or drain has begun, and when one was cancelled.
    let begun = OneShot<Void>()
    let cancelled = OneShot<Void>()

    /// - Parameter isOpen: whether flush and drain return at once.
    init(isOpen: Bool = true) {
        gate = OneShot()
        if isOpen { gate.set(()) }
    }

    private func record(_ what: String) throws(ControlError) {
        let failure = state.withLock { state in
            state.asked.append(what)
            return state.failure
        }
        if let failure { throw failure }
    }

    private func work(_ progress: (UploadProgress) -> Void) async {
        for step in state.withLock({ $0.progress }) { progress(step) }
        begun.set(())
        await withTaskCancellationHandler {
            await gate.wait()
        } onCancel: {
            cancelled.set(())
            gate.set(())
        }
    }

    func status() async -> MountStatus {
        state.withLock { $0.status }
    }

    func flush(path: String, progress: @escaping @Sendable (UploadProgress) -> Void) async throws(ControlError) {
        try record("flush \(path)")
        await work(progress)
    }

    func drain(progress: @escaping @Sendable (UploadProgress) -> Void) async throws(ControlError) -> DrainResult {
        try record("drain")
        await work(progress)
        return state.withLock { $0.drainResult }
    }

    func refresh(path: String) async throws(ControlError) {
        try record("refresh \(path)")
    }

    func upgrade(program: String) async throws(ControlError) {
        try record("upgrade \(program)")
    }
}

/// A runtime directory removed at the end of the test.
final class RuntimeDirectory: Sendable {
    let path: String

    var directory: ControlDirectory { ControlDirectory(path: "\(path)/run") }

    init() throws {
        var template = Array("/tmp/pail-control-XXXXXX".utf8CString)
        let made = template.withUnsafeMutableBufferPointer { mkdtemp($0.baseAddress!) != nil }
        try #require(made)
        path = template.withUnsafeBufferPointer { String(cString: $0.baseAddress!) }
    }

    deinit {
        Self.removeTree(path)
    }

    private static func removeTree(_ path: String) {
        if let stream = opendir(path) {
            while let entry = readdir(stream) {
                let name = withUnsafePointer(to: &entry.pointee.d_name) { pointer in
                    pointer.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
                }
                guard name != ".", name != ".." else { continue }
                if entry.pointee.d_type == UInt8(DT_DIR) {
                    removeTree("\(path)/\(name)")
                } else {
                    unlink("\(path)/\(name)")
                }
            }
            closedir(stream)
        }
        rmdir(path)
    }
}

func modeOf(_ path: String) -> UInt32? {
    var information = stat()
    return lstat(path, &information) == 0 ? information.st_mode & 0o777 : nil
}
