// What several suites expect of a mount.

import MemoryStore
import Testing

@testable import FileSystem

/// The kind of error that `body` fails with; nil when it does not fail.
func failure(_ body: () async throws -> Void) async -> FileSystemError.Kind? {
    do {
        try await body()
        return nil
    } catch {
        return (error as? FileSystemError)?.kind
    }
}

/// Bytes whose neighbours differ; never zero.
func pattern(_ count: Int, fill: UInt8 = 0) -> [UInt8] { RandomCall.bytes(count: count, fill: fill) }

extension Mount {
    /// The requests that `body` makes.
    func requests(_ body: () async throws -> Void) async throws -> RequestCounts {
        await settle()
        store.resetRequests()
        try await body()
        await settle()
        return store.requests
    }

    /// As above, while others are under way.
    func requestsNow(_ body: () -> Void) -> RequestCounts {
        store.resetRequests()
        body()
        return store.requests
    }

    /// Makes uploads known to work, so that close() does not wait for them.
    func prove() async throws {
        try await write("proof", "x")
        try await unlink("proof")
        // It was listed for that file, a moment ago.
        fileSystem.refresh(path: "")
    }
}
