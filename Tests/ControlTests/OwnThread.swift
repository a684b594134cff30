// Tests that block: the client's calls wait for a server whose work runs on the cooperative pool, so they must not occupy
// the pool's few threads themselves.

import Base
import Testing

/// Runs each part of a task on a new thread.
private final class ThreadExecutor: TaskExecutor {
    func enqueue(_ job: consuming ExecutorJob) {
        let job = UnownedJob(job)
        NamedThread.start("blocking-test") { job.runSynchronously(on: self.asUnownedTaskExecutor()) }
    }
}

/// Runs the tests of a suite on threads of their own.
struct OwnThreadTrait: SuiteTrait, TestTrait, TestScoping {
    let isRecursive = true

    func provideScope(
        for test: Test, testCase: Test.Case?, performing function: @Sendable () async throws -> Void
    ) async throws {
        try await withTaskExecutorPreference(ThreadExecutor()) { try await function() }
    }
}

extension Trait where Self == OwnThreadTrait {
    static var onItsOwnThread: Self { Self() }
}
