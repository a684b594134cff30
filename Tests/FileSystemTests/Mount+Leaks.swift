// What a mount may keep in memory and on disk when nothing is open, pending, or known to the kernel.

import Base
import Staging

@testable import FileSystem

extension Mount {
    /// Throws when a node, an owner of staged data, or a staged file is still there. An upload that was waited for may
    /// be a few steps from its end.
    func expectNothingKept() async throws {
        forgetKept(but: 0)
        let deadline = SystemTime().monotonicNanoseconds + 60_000_000_000
        while fileSystem.tree.withLock({ $0.all.count }) > 1 || !area.files.isEmpty,
            SystemTime().monotonicNanoseconds < deadline
        {
            await Task.yield()
        }
        let nodes = fileSystem.tree.withLock { tree in tree.all.map { "\($0.path) (\($0.lookupCount) references)" } }
        guard nodes.count == 1 else { throw Difference("kept nodes: \(nodes.sorted())") }
        let ownerCount = fileSystem.owners.withLock { $0.count }
        guard ownerCount == 0 else { throw Difference("kept \(ownerCount) owners of staged files") }
        guard area.files.isEmpty else { throw Difference("kept staged files: \(area.files.map(\.key))") }
    }
}
