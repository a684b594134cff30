// Renames of directories beside other clients, who make and change what is being renamed and where it goes.

import MemoryStore
import ObjectModel
import ObjectStore
import Testing

@testable import FileSystem

@Suite(.timeLimit(.minutes(5)))
struct DirectoryRenameTests {
    /// Another client made a tree where this mount remembers that there is nothing: it is neither mixed with ours nor removed.
    @Test(arguments: [false, true])
    func regression_renameOverATreeOfOthers(isCopyRefused: Bool) async throws {
        let mount = try Mount()
        for name in ["a", "b"] { mount.store.write("ours", at: "d/\(name)") }
        #expect(try await mount.statusIfPresent("e") == nil)
        for name in ["a", "c"] { mount.store.write("theirs", at: "e/\(name)") }
        if isCopyRefused { mount.store.setFaults(FaultPlan().adding(.accessDenied, on: .copyObject, when: .nth(2))) }
        #expect(await failure { try await mount.rename("d", to: "e") } == .notEmpty)
        mount.store.setFaults(FaultPlan())
        #expect(mount.store.keys() == ["d/a", "d/b", "e/a", "e/c"])
        #expect(mount.store.text(at: "e/a") == "theirs")
        #expect(try await mount.names("e") == ["a", "c"])
    }

    @Test func regression_mustBeNewBesideATreeOfOthers() async throws {
        let mount = try Mount()
        mount.store.write("ours", at: "d/a")
        #expect(try await mount.statusIfPresent("e") == nil)
        mount.store.write("theirs", at: "e/a")
        #expect(await failure { try await mount.rename("d", to: "e", mustBeNew: true) } == .alreadyExists)
        #expect(mount.store.text(at: "e/a") == "theirs")
    }

    /// What another client puts under a key to which nothing was copied is not taken back with the copies.
    @Test func regression_takingBackLeavesWhatOthersMade() async throws {
        let mount = try Mount()
        let names = (10..<60).map { "f\($0)" }
        for name in names { mount.store.write("ours", at: "d/\(name)") }
        await mount.settle()
        mount.store.resetRequests()
        mount.store.pause(.copyObject)
        let renaming = Task { try await mount.rename("d", to: "e") }
        await mount.store.untilHeld(.copyObject, count: 32)
        let begun = Set(mount.store.requestLog.filter { $0.operation == .copyObject }.compactMap { $0.key?.string })
        let theirs = names.map { "e/\($0)" }.filter { !begun.contains($0) }
        #expect(theirs.count == names.count - 32)
        for key in theirs { mount.store.write("theirs", at: key) }
        mount.store.setFaults(FaultPlan().adding(.accessDenied, on: .copyObject, when: .always))
        mount.store.resumeOne(.copyObject)
        for _ in 0..<50 { await Task.yield() }
        mount.store.resume(.copyObject)
        #expect(await failure { try await renaming.value } == .accessDenied)
        #expect(mount.store.keys(under: "d/").count == names.count)
        #expect(mount.store.keys(under: "e/") == theirs)
    }

    /// An open file that another client replaced since is not the one that was copied: no byte of that shows in it.
    @Test func regression_anOpenFileIsNotTheOneThatWasCopied() async throws {
        let mount = try Mount()
        mount.store.write(pattern(3_000_000), at: "d/f")
        let file = try await mount.open("d/f")
        #expect(try await mount.read(file, at: 0, count: 10) == Array(pattern(3_000_000)[..<10]))
        mount.store.write(pattern(3_000_000, fill: 99), at: "d/f")
        try await mount.rename("d", to: "e")
        #expect(await failure { _ = try await mount.read(file, at: 2_000_000, count: 10) } == .stale)
        #expect(try await mount.read("e/f") == pattern(3_000_000, fill: 99))
        try await mount.close(file)
        try await mount.expectNothingKept()
    }

    /// A file that another client removed before the rename is not there afterwards.
    @Test func regression_aFileThatWasNotCopiedIsGone() async throws {
        let mount = try Mount()
        for name in ["f", "g"] { mount.store.write(name, at: "d/\(name)") }
        _ = try await mount.names("d")
        try await mount.withNode("d/f") { _ in
            mount.store.remove(at: "d/f")
            try await mount.rename("d", to: "e")
            #expect(try await mount.statusIfPresent("e/f") == nil)
            #expect(try await mount.names("e") == ["g"])
        }
    }
}
