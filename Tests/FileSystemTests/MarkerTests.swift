// Directories of a tree that was just made, and changes of a directory's attributes, are acknowledged before the store has
// them; they are not lost, and take nothing from others.

import Base
import MemoryStore
import ObjectModel
import ObjectStore
import Staging
import Testing

@testable import FileSystem

@Suite(.timeLimit(.minutes(5)))
struct MarkerTests {
    /// A mount that has made the directory `top`.
    private func withTop(_ mount: Mount? = nil, _ body: (Mount) async throws -> Void) async throws {
        let mount = try mount ?? Mount()
        mount.keptDirectoriesMax = 100
        defer { mount.store.resume(.putObject) }
        try await mount.makeDirectory("top")
        try await body(mount)
    }

    /// What the store's marker says.
    private func attributes(_ key: String, _ mount: Mount) -> FileAttributes? {
        mount.store.info(at: key).map {
            mount.fileSystem.codec.attributes(
                of: $0.properties.metadata, kind: .directory, lastModified: $0.lastModified)
        }
    }

    private func mode(_ key: String, _ mount: Mount) -> UInt32? { attributes(key, mount)?.permissions }

    private func modified(_ key: String, _ mount: Mount) -> Timestamp? { attributes(key, mount)?.modified }

    @Test func aTreeOfDirectoriesIsOneRequestForEach() async throws {
        let mount = try Mount()
        let requests = try await mount.requests {
            try await withTop(mount) { mount in
                for index in 0..<20 {
                    try await mount.makeDirectory("top/d\(index)")
                    try await mount.makeDirectory("top/d\(index)/below", mode: 0o700)
                }
                for index in 0..<20 {
                    try await mount.chmod("top/d\(index)", 0o750)
                    try await mount.setModified("top/d\(index)", Timestamp(seconds: 1_000_000))
                }
                await mount.drain()
            }
        }
        // A marker may be on its way when the next change of it comes.
        #expect((41...80).contains(requests[.putObject]), "\(requests)")
        #expect(requests.total - requests[.putObject] <= 4, "\(requests)")
        for index in 0..<20 {
            #expect(mode("top/d\(index)/", mount) == 0o750)
            #expect(modified("top/d\(index)/", mount) == Timestamp(seconds: 1_000_000))
            #expect(mode("top/d\(index)/below/", mount) == 0o700)
        }
    }

    @Test func theyAreThereBeforeTheStoreHasThem() async throws {
        try await withTop { mount in
            mount.store.pause(.putObject)
            try await mount.makeDirectory("top/a", mode: 0o700)
            try await mount.makeDirectory("top/a/b")
            try await mount.chmod("top/a/b", 0o711)
            for isExpired in [false, true] {
                if isExpired { mount.expire() }
                #expect(try await mount.names("top") == ["a"])
                #expect(try await mount.names("top/a") == ["b"])
                #expect(try await mount.status("top/a").attributes.permissions == 0o700)
                #expect(try await mount.status("top/a/b").attributes.permissions == 0o711)
            }
            #expect(await failure { try await mount.removeDirectory("top/a") } == .notEmpty)
            #expect(mount.fileSystem.pendingUploads.map(\.path).sorted() == ["/top/a/", "/top/a/b/"])
            mount.store.resume(.putObject)
            #expect(await mount.drain().isEmpty)
            #expect(mount.store.keys() == ["top/", "top/a/", "top/a/b/"])
            #expect(mode("top/a/b/", mount) == 0o711)
        }
    }

    @Test func theySurviveAKill() async throws {
        try await withTop { mount in
            mount.store.pause(.putObject)
            try await mount.makeDirectory("top/a", mode: 0o700)
            try await mount.makeDirectory("top/a/b")
            try await mount.chmod("top/a/b", 0o711)
            mount.onKill = { mount.store.resume(.putObject) }
            try await mount.kill(isImageFirst: true)
            mount.store.pause(.putObject)
            #expect(try await mount.names("top/a") == ["b"])
            #expect(try await mount.status("top/a/b").attributes.permissions == 0o711)
            mount.onKill = nil
            mount.store.resume(.putObject)
            #expect(await mount.drain().isEmpty)
            #expect((mode("top/a/", mount), mode("top/a/b/", mount)) == (0o700, 0o711))
            try await mount.remount()
            #expect(mount.area.leftMarkers.isEmpty, "done once")
        }
    }

    /// Nobody else can have made the name before, but in a directory that others know as well.
    @Test func inADirectoryOfOthersAndForALockOneWaits() async throws {
        let mount = try Mount()
        mount.store.write("", at: "shared/")
        try await mount.withNode("shared") { _ in
            mount.store.write("", at: "shared/lock/")
            let isTaken = await failure { try await mount.makeDirectory("shared/lock") }
            #expect(isTaken == .alreadyExists)
        }
        try await withTop(mount) { mount in
            try await mount.makeDirectory("top/lock")
            await mount.drain()
            try await mount.removeDirectory("top/lock")
            mount.store.write("", at: "top/lock/")
            #expect(await failure { try await mount.makeDirectory("top/lock") } == .alreadyExists)
        }
    }

    @Test func withWriteThroughEachWaits() async throws {
        try await withTop(try Mount { $0.isWriteThrough = true }) { mount in
            try await mount.makeDirectory("top/a")
            try await mount.chmod("top/a", 0o700)
            #expect(mode("top/a/", mount) == 0o700)
        }
    }

    @Test(arguments: [StoreError.Kind.accessDenied, .throttled])
    func whatFailsStaysAndIsTold(_ kind: StoreError.Kind) async throws {
        try await withTop { mount in
            mount.store.setFaults(FaultPlan().adding(.refused(kind), on: .putObject, when: .always))
            try await mount.makeDirectory("top/a", mode: 0o700)
            let told = await failure {
                try await mount.withNode("top") { try await mount.fileSystem.synchroniseDirectory($0.number).get() }
            }
            #expect(told == FileSystemError(StoreError(kind, operation: "PutObject")).kind)
            #expect(await failure { try await mount.makeDirectory("top/b") } == told, "nothing is early after that")
            #expect(await failure { try await mount.chmod("top/a", 0o711) } == told)
            let left = await mount.drain()
            #expect(left.map(\.path) == ["/top/a/"])
            #expect(left.first?.progress.failure != nil)
            #expect(try await mount.names("top") == ["a"], "it is there all the same")
            mount.expire()
            #expect(try await mount.status("top/a").attributes.permissions == 0o700)
            mount.store.setFaults(FaultPlan())
            #expect(await mount.drain().isEmpty)
            #expect(mode("top/a/", mount) == 0o700)
        }
    }

    @Test(arguments: [false, true])
    func whatIsRemovedDoesNotComeBack(isOnItsWay: Bool) async throws {
        try await withTop { mount in
            mount.store.pause(.putObject)
            try await mount.makeDirectory("top/a")
            try await mount.chmod("top/a", 0o700)
            while isOnItsWay, mount.line.inFlightCount == 0 { await Task.yield() }
            async let removal: Void = mount.removeDirectory("top/a")
            mount.store.resume(.putObject)
            try await removal
            #expect(await mount.drain().isEmpty)
            try await mount.kill()
            #expect(await mount.drain().isEmpty)
            #expect(mount.store.keys() == ["top/"])
        }
    }

    @Test func aRenameBringsThemFirst() async throws {
        try await withTop { mount in
            try await mount.makeDirectory("top/a")
            try await mount.makeDirectory("top/a/b", mode: 0o700)
            try await mount.rename("top/a", to: "top/c")
            try await mount.makeDirectory("top/d")
            try await mount.rename("top/c", to: "top/d")
            await mount.drain()
            #expect(mount.store.keys() == ["top/", "top/d/", "top/d/b/"])
            #expect(try await mount.status("top/d/b").attributes.permissions == 0o700)
        }
    }

    /// Their directory is as good as ours, with their attributes, and there is no conflict copy of it.
    @Test func theDirectoryOfAnotherClientStays() async throws {
        try await withTop { mount in
            mount.store.pause(.putObject)
            try await mount.makeDirectory("top/a", mode: 0o700)
            mount.store.write("", at: "top/a/", properties: ObjectProperties(metadata: ["mode": "16840"]))
            mount.store.resume(.putObject)
            #expect(await mount.drain().isEmpty)
            #expect(mount.store.keys() == ["top/", "top/a/"])
            #expect(mount.store.info(at: "top/a/")?.properties.metadata == ["mode": "16840"])
            #expect(try await mount.status("top/a").attributes.permissions == 0o710)
        }
    }

    @Test func ofALostAnswerTheLastChangeCounts() async throws {
        try await withTop { mount in
            mount.store.setFaults(FaultPlan().adding(.lostAnswer, on: .putObject, when: .nth(1)))
            mount.store.pause(.putObject, at: .beforeAnswer)
            try await mount.makeDirectory("top/a", mode: 0o700)
            while mount.store.info(at: "top/a/") == nil { await Task.yield() }
            try await mount.chmod("top/a", 0o711)
            mount.store.resume(.putObject, at: .beforeAnswer)
            #expect(await mount.drain().isEmpty)
            #expect(mode("top/a/", mount) == 0o711)
        }
    }

    /// What a killed mount has left of a directory that others have changed or removed since is not done to theirs.
    @Test func aLateChangeIsNotMadeToWhatOthersDid() async throws {
        for isRemoved in [false, true] {
            try await withTop { mount in
                try await mount.makeDirectory("top/a", mode: 0o700)
                await mount.drain()
                mount.store.setFaults(FaultPlan().adding(.unreachable, on: .putObject, when: .always))
                try await mount.chmod("top/a", 0o711)
                mount.onKill = {
                    mount.store.setFaults(FaultPlan())
                    if isRemoved {
                        mount.store.remove(at: "top/a/")
                    } else {
                        mount.store.write("", at: "top/a/", properties: ObjectProperties(metadata: ["mode": "16840"]))
                    }
                }
                try await mount.kill(isImageFirst: true)
                #expect(await mount.drain().isEmpty)
                #expect(mode("top/a/", mount) == (isRemoved ? nil : 0o710))
                #expect(try await mount.statusIfPresent("top/a")?.attributes.permissions == (isRemoved ? nil : 0o710))
            }
        }
    }

    /// Both changes are in the marker, whichever came first.
    @Test(arguments: [false, true])
    func changesOfOneDirectoryDoNotTakeEachOtherAway(isWriteThrough: Bool) async throws {
        try await withTop(try Mount { $0.isWriteThrough = isWriteThrough }) { mount in
            for round in 1...10 {
                let (permissions, time) = (UInt32(0o700 + round % 8), Timestamp(seconds: Int64(1000 * round)))
                async let first: Void = mount.chmod("top", permissions)
                async let second: Void = mount.setModified("top", time)
                _ = try await (first, second)
                await mount.drain()
                #expect((mode("top/", mount), modified("top/", mount)) == (permissions, time))
            }
        }
    }
}
