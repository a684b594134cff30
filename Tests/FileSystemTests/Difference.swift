// What a random test came to when the mount is not as the model.

import Base

/// How a mount differed from the model.
struct Difference: Error, CustomStringConvertible {
    let description: String

    init(_ description: String) {
        self.description = description
    }
}

/// A run takes milliseconds; while other suites have all threads, longer.
private let deadlineNanoseconds: UInt64 = 120_000_000_000

/// The difference that `follow` throws, with what it said it was doing; nil when it throws none. Not to come back in time
/// is a difference too.
func differenceInTime(
    _ follow: @escaping @Sendable (_ say: (String) -> Void) async throws -> Void
) async -> Difference? {
    let progress = Lock("before the first step")
    let outcome = OneShot<Difference?>()
    let work = Task {
        do {
            try await follow { text in progress.withLock { $0 = text } }
            outcome.set(nil)
        } catch {
            outcome.set(Difference("\(progress.withLock { $0 }): \(error)"))
        }
    }
    let deadline = Task {
        try await Task.sleep(nanoseconds: deadlineNanoseconds)
        outcome.set(Difference("hangs \(progress.withLock { $0 })"))
        work.cancel()
    }
    defer { deadline.cancel() }
    return await outcome.wait()
}
