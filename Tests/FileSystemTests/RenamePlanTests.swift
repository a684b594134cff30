// Renames of directories that are killed go on at the next mount.

import Base
import MemoryStore
import ObjectModel
import ObjectStore
import Staging
import Testing

@testable import FileSystem

@Suite(.timeLimit(.minutes(5)))
struct RenamePlanTests {
    @Test func plansReadBackAndNothingElseDoes() {
        func object(_ key: String) -> ListedObject {
            let version = ObjectVersion(key: ObjectKey(key)!, etag: ETag("e-2")!, byteCount: 1)
            return ListedObject(version: version, lastModified: Timestamp(seconds: -7, nanoseconds: 3))
        }
        let objects = ["a/", "a/b", "a/\n", "a/e\u{301}"].map { RenamePlan.Moved(object($0), below: "a/") }
        let plan = RenamePlan(from: "a/", to: "b/c/", objects: objects)
        #expect(RenamePlan(plan.encoded) == plan)
        let empty = RenamePlan(from: "a/", to: "b/", objects: [])
        #expect(RenamePlan(empty.encoded) == empty)
        for length in 0..<plan.encoded.count {
            #expect(RenamePlan(Array(plan.encoded.prefix(length))) != plan)
        }
        #expect(RenamePlan(RenamePlan(from: "", to: "b/", objects: []).encoded) == nil, "never the whole bucket")
    }

    @Test func aRenameShowsHowFarItIs() async throws {
        let mount = try Mount { $0.prefix = "p/" }
        for index in 0..<5 { mount.store.write("text \(index)", at: "p/d/f\(index)") }
        #expect(mount.fileSystem.renameProgress.isEmpty)
        mount.store.pause(.copyObject)
        mount.store.pause(.deleteObjects)
        async let renamed: Void = mount.rename("d", to: "e")
        await mount.store.untilHeld(.copyObject, count: 5)
        var expected = RenameProgress(from: "/d", to: "/e", totalCount: 5, isResumed: false)
        #expect(mount.fileSystem.renameProgress == [expected])
        mount.store.resume(.copyObject)
        await mount.store.untilHeld(.deleteObjects)
        expected.copiedCount = 5
        #expect(mount.fileSystem.renameProgress == [expected])
        mount.store.resume(.deleteObjects)
        try await renamed
        #expect(mount.fileSystem.renameProgress.isEmpty)
    }

    private func tree(_ mount: Mount, _ path: String) async throws -> [String: String] {
        var result: [String: String] = [:]
        for entry in try await mount.list(path) {
            let inner = "\(path)/\(entry.name)"
            if entry.kind == .directory {
                result.merge(try await tree(mount, inner)) { first, _ in first }
            } else {
                result[inner] = try await mount.text(inner)
            }
        }
        return result
    }

    /// Killed when so many copies, or so many removals, were done.
    @Test(arguments: [(StoreOperation.copyObject, 0), (.copyObject, 3), (.copyObject, 11), (.deleteObjects, 0)])
    func aKilledRenameIsEndedByTheNextMount(operation: StoreOperation, doneCount: Int) async throws {
        let mount = try Mount()
        // Of an object without POSIX metadata only its ETag says that it was copied; here each copy has another.
        let posix = ObjectProperties(metadata: ["mode": "33188"])
        for index in 0..<12 { mount.store.write("text \(index)", at: "d/sub/f\(index)", properties: posix) }
        mount.store.write("", at: "d/")
        mount.store.write("other", at: "dd")
        mount.store.pause(operation)
        let renaming = Task { try? await mount.rename("d", to: "e") }
        await mount.store.untilHeld(operation)
        for _ in 0..<doneCount {
            await mount.store.untilHeld(operation)
            mount.store.resumeOne(operation)
        }
        await mount.store.untilHeld(operation, count: min(1, 12 - doneCount))
        mount.onKill = {
            mount.store.resume(operation)
            mount.store.resetRequests()
        }
        try await mount.kill(isImageFirst: true)
        _ = await renaming.value
        await mount.resumed()
        #expect(mount.store.requests[.deleteObject] == 0, "the old keys go together")
        #expect(mount.store.requests[.deleteObjects] <= 2)
        mount.expire()
        let found = try await tree(mount, "e")
        #expect(found == Dictionary(uniqueKeysWithValues: (0..<12).map { ("e/sub/f\($0)", "text \($0)") }))
        #expect(try await mount.names("").sorted() == ["dd", "e"])
        #expect(mount.store.keys(under: "d/").isEmpty)
        try await mount.remount()
        #expect(mount.area.leftPlans.isEmpty, "done once")
    }

    /// An object of another tool, of the same length as ours and where ours was to go, is not our copy.
    @Test func regression_anObjectOfOthersIsNoCopy() async throws {
        let mount = try Mount()
        for index in 0..<3 { mount.store.write("text \(index)", at: "d/f\(index)") }
        mount.store.pause(.copyObject, at: .beforeAnswer)
        let renaming = Task { try? await mount.rename("d", to: "e") }
        await mount.store.untilHeld(.copyObject, count: 3, at: .beforeAnswer)
        mount.onKill = {
            mount.store.write("theirs", at: "e/f1")
            for key in ["e/f0", "e/f2"] { mount.store.remove(at: key) }
            mount.store.resume(.copyObject, at: .beforeAnswer)
        }
        try await mount.kill(isImageFirst: true)
        _ = await renaming.value
        await mount.resumed()
        #expect(mount.store.keys().filter { $0 != "e/" } == ["d/f1", "e/f0", "e/f1", "e/f2"])
        #expect(mount.store.text(at: "d/f1") == "text 1")
        #expect(mount.store.text(at: "e/f1") == "theirs")
    }
}
