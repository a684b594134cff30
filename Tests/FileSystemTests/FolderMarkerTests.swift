// Directories as tools of the Hadoop family leave them: an object `dir_$folder$`.

import MemoryStore
import ObjectStore
import Testing

@testable import FileSystem

@Suite(.timeLimit(.minutes(5)))
struct FolderMarkerTests {
    /// A directory that got a marker of ours, too, does not come back when it is removed.
    @Test func regression_bothMarkersAreRemoved() async throws {
        let mount = try Mount()
        mount.store.write("", at: "d_$folder$")
        #expect(try await mount.names("") == ["d"])
        try await mount.write("d/f", "x")
        await mount.drain()
        try await mount.withNode("d") { _ in
            try await mount.unlink("d/f")
            #expect(mount.store.keys() == ["d/", "d_$folder$"])
            try await mount.removeDirectory("d")
        }
        #expect(mount.store.keys().isEmpty)
        mount.expire()
        #expect(try await mount.names("").isEmpty)
    }

    /// Nor where another mount knows nothing of the form.
    @Test func regression_anUnlistedDirectoryLosesBothMarkers() async throws {
        let mount = try Mount()
        for key in ["d/", "d_$folder$"] { mount.store.write("", at: key) }
        #expect(try await mount.status("d").kind == .directory)
        let requests = try await mount.requests { try await mount.removeDirectory("d") }
        #expect(requests[.deleteObject] + requests[.deleteObjects] == 1)
        #expect(mount.store.keys().isEmpty)
    }

    /// An object of that name that has content is no marker.
    @Test func contentIsNotRemoved() async throws {
        let mount = try Mount()
        mount.store.write("", at: "d/")
        mount.store.write("content", at: "d_$folder$")
        #expect(try await mount.names("") == ["d", "d_$folder$"])
        try await mount.removeDirectory("d")
        #expect(mount.store.keys() == ["d_$folder$"])
    }

    /// Credentials that reach below the directory alone may remove it still.
    @Test func aRefusalOfTheOtherFormIsNone() async throws {
        let mount = try Mount()
        try await mount.makeDirectory("d")
        mount.store.setFaults(
            FaultPlan().adding(.accessDenied, on: .deleteObjects, key: "d_$folder$", when: .always))
        try await mount.removeDirectory("d")
        mount.store.setFaults(FaultPlan())
        #expect(mount.store.keys().isEmpty)
    }

    @Test func regression_aRenamedDirectoryDoesNotComeBack() async throws {
        let mount = try Mount()
        for key in ["d_$folder$", "d/sub_$folder$"] { mount.store.write("", at: key) }
        mount.store.write("x", at: "d/f")
        #expect(try await mount.names("") == ["d"])
        try await mount.rename("d", to: "e")
        #expect(mount.store.keys() == ["e/", "e/f", "e/sub_$folder$"])
        mount.expire()
        #expect(try await mount.names("") == ["e"])
        #expect(try await mount.names("e") == ["f", "sub"])
    }

    /// In a bucket that has shown the form, a name is looked up in it too.
    @Test func regression_anUnlistedFolderIsFound() async throws {
        let mount = try Mount()
        mount.store.write("", at: "known_$folder$")
        mount.store.write("x", at: "dir/f")
        #expect(try await mount.names("") == ["dir", "known"])
        mount.store.write("", at: "dir/late_$folder$")
        #expect(try await mount.status("dir/late").kind == .directory)
        #expect(try await mount.names("dir/late").isEmpty)
        #expect(try await mount.statusIfPresent("dir/none") == nil)
    }
}
