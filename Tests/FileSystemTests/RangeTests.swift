// Copies of ranges on the server, fallocate, holes.

import Base
import MemoryStore
import ObjectModel
import Staging
import Testing

@testable import FileSystem

@Suite(.timeLimit(.minutes(5)))
struct RangeTests {
    /// Larger than what is sent by one PUT.
    private static let byteCount = UploadPlan.singlePutBytes + (2 << 20)
    private static let content: [UInt8] = {
        var bytes = [UInt8](repeating: 7, count: byteCount)
        for index in stride(from: 0, to: byteCount, by: 4096) {
            bytes[index] = UInt8(truncatingIfNeeded: index >> 12)
            bytes[index + 1] = UInt8(truncatingIfNeeded: index >> 20)
        }
        return bytes
    }()

    private func prepared() async throws -> Mount {
        let mount = try Mount()
        mount.store.write(Self.content, at: "a")
        try await mount.prove()
        await mount.drain()
        return mount
    }

    /// A copy is made of parts that the server copies, whether the program asks for all of it or for pieces.
    @Test(arguments: [[byteCount], [byteCount + 5], [UploadPlan.singlePutBytes + 1, 100, .max]])
    func copyByTheServer(pieces: [Int]) async throws {
        let mount = try await prepared()
        let counts = try await mount.requests {
            let (source, target) = try await mount.beginCopy(pieces)
            #expect(try await mount.status(target).byteCount == Self.byteCount)
            #expect(try await mount.read(target, at: 4096, count: 3) == Array(Self.content[4096..<4099]))
            try await mount.close(target)
            try await mount.close(source)
        }
        #expect(mount.store.bytes(at: "b") == Self.content)
        #expect(counts.bytesSent == 0 && counts.bytesReceived < 1 << 20, "\(counts)")
        #expect(counts[.uploadPartCopy] > 0)
        #expect(mount.store.info(at: "b")?.properties.metadata["mode"] == "33188")
    }

    /// Everything else is left to the kernel, which reads and writes.
    @Test func otherCopiesAreUnsupported() async throws {
        let mount = try await prepared()
        try await mount.write("small", "text")
        try await mount.write("full", "text")
        let (small, full) = (try await mount.open("small", write: true), try await mount.open("full", write: true))
        let source = try await mount.open("a")
        func copy(_ from: OpenFile, _ offset: Int, _ to: OpenFile, _ target: Int) async -> FileSystemError.Kind? {
            await failure {
                _ = try await mount.fileSystem.copyRange(
                    from: from.handle, offset: offset, to: to.handle, offset: target, count: .max
                ).get()
            }
        }
        #expect(await copy(small, 0, full, 0) == .unsupported)
        #expect(await copy(source, 0, full, 0) == .unsupported)
        #expect(await copy(source, 4, full, 4) == .unsupported)
        #expect(await copy(source, 5, small, 0) == .unsupported)
        for file in [small, full, source] { try await mount.close(file) }
        #expect(try await mount.text("full") == "text")
    }

    @Test func aCopyCanBeChanged() async throws {
        let mount = try await prepared()
        let (source, target) = try await mount.beginCopy([.max])
        try await mount.write(target, [1, 2, 3], at: 5)
        try await mount.write(target, [4], at: Self.byteCount)
        try await mount.close(target)
        try await mount.close(source)
        await mount.drain()
        var expected = Self.content + [4]
        expected.replaceSubrange(5..<8, with: [1, 2, 3])
        #expect(mount.store.bytes(at: "b") == expected)
        #expect(mount.store.bytes(at: "a") == Self.content)
    }

    /// What this mount does to the source while the copy is open does not reach the copy.
    @Test(arguments: ["remove", "rename", "replace", "rename directory", "write"])
    func theSourceMayGo(how: String) async throws {
        let mount = try Mount()
        let path = how == "rename directory" ? "d/a" : "a"
        mount.store.write(Self.content, at: path)
        try await mount.prove()
        await mount.drain()
        let (source, target) = try await mount.beginCopy([.max], from: path)
        switch how {
        case "remove": try await mount.unlink("a")
        case "rename": try await mount.rename("a", to: "c")
        case "rename directory": try await mount.rename("d", to: "e")
        case "replace":
            try await mount.write("new", "new")
            try await mount.rename("new", to: "a")
        default: try await mount.write("a", "new")
        }
        await mount.drain()
        try await mount.close(target)
        try? await mount.close(source)
        await mount.drain()
        #expect(mount.store.bytes(at: "b") == Self.content)
    }

    @Test func aCopySurvivesAKill() async throws {
        let mount = try await prepared()
        _ = try await mount.beginCopy([.max])
        try await mount.kill()
        #expect(try await mount.status("b").byteCount == Self.byteCount)
        #expect(await mount.drain().isEmpty)
        #expect(mount.store.bytes(at: "b") == Self.content)
    }

    /// Another client replaced the source before the copy was made: close() says so, and there is no wrong copy.
    @Test func aLostSourceIsTold() async throws {
        let mount = try await prepared()
        let (source, target) = try await mount.beginCopy([.max])
        mount.store.write("other", at: "a")
        #expect(await failure { try await mount.close(target) } != nil)
        try? await mount.close(source)
        await mount.drain()
        #expect(mount.store.bytes(at: "b") == nil)
    }

    /// Another client made the target meanwhile: its object stays.
    @Test func theTargetIsNotOverwritten() async throws {
        let mount = try await prepared()
        let (source, target) = try await mount.beginCopy([.max])
        mount.store.write("theirs", at: "b")
        #expect(await failure { try await mount.close(target) } == .stale)
        try await mount.close(source)
        await mount.drain()
        #expect(mount.store.text(at: "b") == "theirs")
        let saved = try #require(mount.store.keys().first { $0.hasPrefix("b.conflict-") })
        #expect(mount.store.bytes(at: saved) == Self.content)
    }

    // MARK: fallocate and holes

    @Test(arguments: [
        (RangeAllocation.extend, 2, 20, "content" + String(repeating: "\0", count: 15)),
        (.extend, 0, 3, "content"), (.reserve, 0, 99, "content"), (.punch, 2, 3, "co\0\0\0nt"),
        (.punch, 5, 50, "conte\0\0"), (.punch, 9, 3, "content"), (.zero(extends: false), 6, 9, "conten\0"),
        (.zero(extends: true), 6, 3, "conten\0\0\0"),
    ])
    func allocations(allocation: RangeAllocation, offset: Int, count: Int, expected: String) async throws {
        for isStaged in [false, true] {
            let mount = try Mount()
            try await mount.write("f", "content")
            await mount.drain()
            let file = try await mount.open("f", write: true)
            if isStaged { try await mount.write(file, [0x63], at: 0) }
            try await mount.fileSystem.allocate(file.handle, allocation, offset: offset, count: count).get()
            #expect(try await mount.readAll(file) == Array(expected.utf8))
            try await mount.close(file)
            await mount.drain()
            #expect(mount.store.text(at: "f") == expected)
        }
    }

    /// Room that is there already is no reason to leave the times: ext4 does not. It is one copy of the object onto itself.
    @Test(arguments: [(RangeAllocation.extend, 0, 7), (.reserve, 5, 50)])
    func regression_allocationsWithoutAChangeMoveTheTimes(allocation: RangeAllocation, offset: Int, count: Int)
        async throws
    {
        let mount = try Mount()
        try await mount.write("f", "content")
        await mount.drain()
        let before = try await mount.status("f").attributes
        mount.time.advance(seconds: 10)
        let file = try await mount.open("f", write: true)
        try await mount.fileSystem.allocate(file.handle, allocation, offset: offset, count: count).get()
        try await mount.close(file)
        for isRemounted in [false, true] {
            if isRemounted {
                await mount.drain()
                try await mount.remount()
            }
            let after = try await mount.status("f").attributes
            #expect(after.modified.seconds >= before.modified.seconds + 10)
            #expect(after.changed.seconds >= before.changed.seconds + 10)
        }
        #expect(mount.store.text(at: "f") == "content")
    }

    @Test(arguments: [(-1, 5), (0, 0), (3, -1)])
    func allocationsOfNothing(offset: Int, count: Int) async throws {
        let mount = try Mount()
        let file = try await mount.create("f")
        let refused = await failure {
            try await mount.fileSystem.allocate(file.handle, .extend, offset: offset, count: count).get()
        }
        #expect(refused == .invalidArgument)
        try await mount.close(file)
    }

    @Test func holesOfPendingFiles() async throws {
        let mount = try Mount()
        let file = try await mount.create("f")
        try await mount.write(file, [1], at: 0)
        try await mount.write(file, [2], at: 1 << 20)
        func seek(_ offset: Int, _ toHole: Bool) async throws -> Int {
            try await mount.fileSystem.seek(file.handle, from: offset, toHole: toHole).get()
        }
        #expect(try await seek(0, false) == 0)
        let hole = try await seek(0, true)
        #expect(hole > 0 && hole < 1 << 20)
        #expect(try await seek(hole, false) <= 1 << 20)
        #expect(try await seek(1 << 20, true) == (1 << 20) + 1)
        #expect(await failure { _ = try await seek((1 << 20) + 1, false) } == .outOfRange)
        try await mount.truncate(file, to: 3 << 20)
        #expect(await failure { _ = try await seek(2 << 20, false) } == .outOfRange)
        try await mount.close(file)
        await mount.drain()
        let again = try await mount.open("f")
        #expect(try await mount.fileSystem.seek(again.handle, from: 5, toHole: false).get() == 5)
        #expect(try await mount.fileSystem.seek(again.handle, from: 5, toHole: true).get() == 3 << 20)
        try await mount.close(again)
    }
}

extension Mount {
    /// Opens `from` and a new file `b`, and copies in pieces until the source has ended or the pieces have.
    func beginCopy(_ pieces: [Int], from path: String = "a") async throws -> (source: OpenFile, target: OpenFile) {
        let source = try await open(path)
        let target = try await create("b")
        var offset = 0
        for piece in pieces {
            offset += try await fileSystem.copyRange(
                from: source.handle, offset: offset, to: target.handle, offset: offset, count: piece
            ).get()
        }
        return (source, target)
    }
}
