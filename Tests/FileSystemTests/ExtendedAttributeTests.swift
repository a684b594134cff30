// Extended attributes: their form in metadata, their limits, and what they cost.

import Base
import MemoryStore
import ObjectModel
import ObjectStore
import Testing

@testable import FileSystem

@Suite(.timeLimit(.minutes(5)))
struct ExtendedAttributeTests {
    struct Form: Sendable {
        let name: String
        let value: [UInt8]
        /// Where it stands in the metadata, and as what.
        let key: String
        let text: String
    }

    @Test(arguments: [
        Form(name: "user.project", value: Array("apollo".utf8), key: "project", text: "apollo"),
        Form(
            name: "user.mime_type", value: Array("text/x".utf8), key: "pail-xattr-6d696d655f74797065",
            text: "0sdGV4dC94"),
        Form(name: "user.xdg.origin.url", value: Array("http://ü".utf8), key: "xdg.origin.url", text: "http://ü"),
        Form(name: "user.empty", value: [], key: "pail-xattr-656d707479", text: "0s"),
        Form(name: "user.binary", value: [0xff, 0, 1], key: "pail-xattr-62696e617279", text: "0s/wAB"),
        Form(name: "user.Case", value: [0x61], key: "pail-xattr-43617365", text: "0sYQ=="),
        Form(name: "user.mode", value: [0x61], key: "pail-xattr-6d6f6465", text: "0sYQ=="),
        Form(name: "user.a b", value: [0x61], key: "pail-xattr-612062", text: "0sYQ=="),
        Form(name: "user.pail-xattr-x", value: [0x61], key: "pail-xattr-7061696c2d78617474722d78", text: "0sYQ=="),
        Form(name: "user.line", value: Array("a\nb".utf8), key: "line", text: "a\nb"),
    ])
    func formsInMetadata(form: Form) {
        var metadata = ["mode": "33188", "other": "kept"]
        let name = Array(form.name.utf8)
        ExtendedAttributeCodec.set(name, to: form.value, in: &metadata)
        #expect(metadata == ["mode": "33188", "other": "kept", form.key: form.text])
        #expect(ExtendedAttributeCodec.value(of: name, in: metadata) == form.value)
        #expect(
            ExtendedAttributeCodec.all(in: metadata) == [
                name: form.value, Array("user.other".utf8): Array("kept".utf8),
            ]
        )
        ExtendedAttributeCodec.set(name, to: nil, in: &metadata)
        #expect(metadata == ["mode": "33188", "other": "kept"])
    }

    /// A directory without a marker got one from another mount: what that has set stays.
    @Test func regression_attributesOfAMarkerThatCameLater() async throws {
        let mount = try Mount()
        mount.store.write("x", at: "d/f")
        let other = try Mount(store: mount.store, time: mount.time)
        _ = try await mount.names("d")
        try await mount.withNode("d") { status in
            _ = try await other.withNode("d") {
                try await other.fileSystem.setExtendedAttribute($0.number, name: Array("user.a".utf8), value: [0x61])
                    .get()
            }
            mount.expire()
            try await mount.fileSystem.setExtendedAttribute(status.number, name: Array("user.b".utf8), value: [0x62])
                .get()
            let names = try await mount.fileSystem.extendedAttributeNames(status.number).get()
            #expect(names.map { String(decoding: $0, as: UTF8.self) } == ["user.a", "user.b"])
        }
        let metadata = mount.store.info(at: "d/")?.properties.metadata
        #expect(metadata?["a"] == "a")
        #expect(metadata?["b"] == "b")
    }

    /// A value changes between both forms without leaving the other behind.
    @Test func oneFormAtATime() {
        var metadata: [String: String] = [:]
        let name = Array("user.a".utf8)
        for value in [[0x61], [0xff], [], [0x62]] as [[UInt8]] {
            ExtendedAttributeCodec.set(name, to: value, in: &metadata)
            #expect(metadata.count == 1)
            #expect(ExtendedAttributeCodec.all(in: metadata) == [name: value])
        }
    }

    @Test(arguments: ["mode", "uid", "mtime", "symlink-target", "goog-reserved-file-mtime", "--symlink-target", "rdev"])
    func bookkeepingIsNoAttribute(key: String) {
        #expect(ExtendedAttributeCodec.all(in: [key: "1"]).isEmpty)
    }

    @Test(arguments: [
        "pail-xattr-", "pail-xattr-6", "pail-xattr-616", "pail-xattr-zz", "pail-xattr-4A", "pail-xattr-a-b",
    ])
    func brokenFormsAreNoAttributes(key: String) {
        #expect(ExtendedAttributeCodec.all(in: [key: "0sYQ=="]).isEmpty)
        #expect(ExtendedAttributeCodec.all(in: ["pail-xattr-61": "YQ=="]).isEmpty)
    }

    @Test func s3fsFormIsRead() {
        // {"user.a":"YQ==","user.b":"Yg==","security.x":"eA=="}
        let text =
            "%7B%22user.a%22%3A%22YQ%3D%3D%22%2C%22user.b%22%3A%22Yg%3D%3D%22%2C%22security.x%22%3A%22eA%3D%3D%22%7D"
        var metadata = ["xattr": text]
        let (a, b) = (Array("user.a".utf8), Array("user.b".utf8))
        #expect(ExtendedAttributeCodec.all(in: metadata) == [a: [0x61], b: [0x62]])
        ExtendedAttributeCodec.set(a, to: [0x7a], in: &metadata)
        #expect(ExtendedAttributeCodec.all(in: metadata) == [a: [0x7a], b: [0x62]])
        #expect(metadata["a"] == "z")
        ExtendedAttributeCodec.set(b, to: nil, in: &metadata)
        #expect(ExtendedAttributeCodec.all(in: metadata) == [a: [0x7a]])
        #expect(metadata["xattr"].map { PercentText.decode($0) } == Array(#"{"security.x":"eA=="}"#.utf8))
        #expect(ExtendedAttributeCodec.all(in: ["xattr": "%7Brubbish"]).isEmpty)
    }

    @Test(arguments: ["", "a=b", "a=b&c=d", "key%20one=x%26y", "k="])
    func tagsRoundTrip(text: String) throws {
        let tags = try #require(ObjectTag.parse(text))
        #expect(ObjectTag.text(of: tags) == text)
    }

    @Test(arguments: ["=x", "a=1&a=2", "%zz=1", "&", "a=1&b=2&c=3&d=4&e=5&f=6&g=7&h=8&i=9&j=10&k=11"])
    func tagsThatAreNone(text: String) {
        #expect(ObjectTag.parse(text) == nil)
    }

    // MARK: On files

    /// They survive a remount, a rewrite of the file, a rename and a chmod.
    @Test(arguments: ["f", "d"])
    func attributesStay(path: String) async throws {
        let mount = try Mount()
        if path == "d" { try await mount.makeDirectory("d") } else { try await mount.write("f", "text") }
        try await mount.setExtendedAttribute(path, "user.a", "one")
        try await mount.setExtendedAttribute(path, "user.B", "two")
        try await mount.chmod(path, 0o700)
        if path == "f" {
            try await mount.write("f", "other text")
            try await mount.append("f", [1])
        }
        try await mount.rename(path, to: "moved")
        await mount.drain()
        try await mount.remount()
        #expect(try await mount.extendedAttribute("moved", "user.a") == "one")
        #expect(try await mount.extendedAttribute("moved", "user.B") == "two")
        #expect(try await mount.extendedAttributeNames("moved") == ["user.B", "user.a"])
        #expect(try await mount.status("moved").attributes.permissions == 0o700)
        try await mount.removeExtendedAttribute("moved", "user.a")
        await mount.drain()
        try await mount.remount()
        #expect(try await mount.extendedAttributeNames("moved") == ["user.B"])
    }

    @Test func objectsOfOthers() async throws {
        let mount = try Mount()
        mount.store.write("x", at: "f", properties: ObjectProperties(metadata: ["author": "me"], contentType: "a/b"))
        #expect(try await mount.extendedAttribute("f", "user.author") == "me")
        try await mount.setExtendedAttribute("f", "user.more", "yes")
        await mount.drain()
        let properties = try #require(mount.store.info(at: "f")).properties
        #expect(properties.metadata["author"] == "me" && properties.metadata["more"] == "yes")
        #expect(properties.contentType == "a/b")
        #expect(mount.store.requests[.putObject] == 0 && mount.store.requests[.copyObject] == 1)
    }

    /// What `tar x` does to each file is still one PUT.
    @Test func attributesTravelWithPendingData() async throws {
        let mount = try Mount()
        try await mount.write("first", "so that uploads are known to work")
        await mount.drain()
        mount.store.resetRequests()
        let file = try await mount.create("f")
        try await mount.write(file, Array("text".utf8), at: 0)
        for index in 0..<5 { try await mount.setExtendedAttribute("f", "user.a\(index)", "\(index)") }
        try await mount.chmod("f", 0o600)
        try await mount.close(file)
        await mount.drain()
        #expect(mount.store.requests[.putObject] == 1)
        #expect(mount.store.requests[.copyObject] == 0)
        #expect(try await mount.extendedAttributeNames("f").count == 5)
    }

    @Test func presenceIsChecked() async throws {
        let mount = try Mount()
        try await mount.write("f", "x")
        try await mount.setExtendedAttribute("f", "user.a", "1", .mustBeAbsent)
        #expect(
            await failure { try await mount.setExtendedAttribute("f", "user.a", "2", .mustBeAbsent) } == .alreadyExists)
        try await mount.setExtendedAttribute("f", "user.a", "2", .mustBePresent)
        #expect(
            await failure { try await mount.setExtendedAttribute("f", "user.b", "2", .mustBePresent) } == .noAttribute)
        #expect(await failure { try await mount.removeExtendedAttribute("f", "user.b") } == .noAttribute)
        #expect(await failure { _ = try await mount.extendedAttribute("f", "user.b") } == .noAttribute)
        #expect(try await mount.extendedAttribute("f", "user.a") == "2")
    }

    /// What S3 would refuse at the upload is refused at once, and the file stays as it was.
    @Test func limits() async throws {
        let mount = try Mount()
        try await mount.write("f", "x")
        let long = String(repeating: "v", count: 2048)
        #expect(await failure { try await mount.setExtendedAttribute("f", "user.a", long) } == .attributeTooLarge)
        for index in 0..<3 {
            try await mount.setExtendedAttribute("f", "user.a\(index)", String(repeating: "v", count: 500))
        }
        let half = String(repeating: "v", count: 500)
        #expect(await failure { try await mount.setExtendedAttribute("f", "user.b", half) } == .noSpace)
        try await mount.setExtendedAttribute("f", "user.a0", "short")
        try await mount.setExtendedAttribute("f", "user.b", half)
        try await mount.chmod("f", 0o640)
        #expect(await mount.drain().isEmpty)
        try await mount.remount()
        #expect(try await mount.extendedAttributeNames("f") == ["user.a0", "user.a1", "user.a2", "user.b"])
    }

    @Test(arguments: [
        ("system.posix_acl_access", FileSystemError.Kind.unsupported), ("system.posix_acl_default", .unsupported),
        ("security.capability", .noAttribute), ("trusted.x", .noAttribute), ("user.", .unsupported),
        ("user.s3.unknown", .unsupported),
    ])
    func otherNamespaces(name: String, kind: FileSystemError.Kind) async throws {
        let mount = try Mount()
        try await mount.write("f", "x")
        await mount.drain()
        let file = try await mount.open("f")
        await mount.settle()
        mount.store.resetRequests()
        let bytes = Array(name.utf8)
        #expect(
            await failure { _ = try await mount.fileSystem.extendedAttribute(file.number, name: bytes).get() } == kind)
        #expect(
            await failure {
                try await mount.fileSystem.setExtendedAttribute(file.number, name: bytes, value: [0x78]).get()
            } == .unsupported)
        #expect(mount.store.requests.total == 0, "\(mount.store.requests)")
        try await mount.close(file)
    }

    /// Two changes at once of one file: both are there.
    @Test func changesTogether() async throws {
        let mount = try Mount()
        try await mount.write("f", "x")
        await mount.drain()
        try await withThrowingTaskGroup(of: Void.self) { group in
            for index in 0..<20 {
                group.addTask { try await mount.setExtendedAttribute("f", "user.n\(index)", "\(index)") }
            }
            try await group.waitForAll()
        }
        await mount.drain()
        try await mount.remount()
        #expect(try await mount.extendedAttributeNames("f").count == 20)
    }

    // MARK: Properties of objects

    @Test func propertiesAreShownAndChanged() async throws {
        let mount = try Mount()
        let etag = mount.store.write("text", at: "f.txt", properties: ObjectProperties(contentType: "text/plain"))
        #expect(try await mount.extendedAttribute("f.txt", "user.s3.etag") == etag.value)
        #expect(try await mount.extendedAttribute("f.txt", "user.s3.key") == "f.txt")
        #expect(try await mount.extendedAttribute("f.txt", "user.s3.content-type") == "text/plain")
        #expect(
            await failure { _ = try await mount.extendedAttribute("f.txt", "user.s3.cache-control") } == .noAttribute)
        #expect(try await mount.extendedAttributeNames("f.txt").isEmpty)
        try await mount.setExtendedAttribute("f.txt", "user.s3.content-type", "text/csv")
        try await mount.setExtendedAttribute("f.txt", "user.s3.cache-control", "max-age=60")
        try await mount.setExtendedAttribute("f.txt", "user.s3.storage-class", "STANDARD_IA")
        let properties = try #require(mount.store.info(at: "f.txt")).properties
        #expect(properties.contentType == "text/csv" && properties.cacheControl == "max-age=60")
        #expect(properties.storageClass == "STANDARD_IA")
        #expect(mount.store.text(at: "f.txt") == "text")
        try await mount.removeExtendedAttribute("f.txt", "user.s3.cache-control")
        #expect(mount.store.info(at: "f.txt")?.properties.cacheControl == nil)
        #expect(await failure { try await mount.setExtendedAttribute("f.txt", "user.s3.etag", "x") } == .notPermitted)
        let lines = "a\r\nx-amz-acl: public-read"
        #expect(
            await failure { try await mount.setExtendedAttribute("f.txt", "user.s3.cache-control", lines) }
                == .invalidArgument)
    }

    /// What waits here, why, and what needs no request.
    @Test func theMountTellsOfAFile() async throws {
        let mount = try Mount()
        mount.store.write(String(repeating: "x", count: 300_000), at: "f")
        #expect(try await mount.extendedAttribute("f", "user.pail.pending-bytes") == "0")
        #expect(await failure { _ = try await mount.extendedAttribute("f", "user.pail.upload-error") } == .noAttribute)
        _ = try await mount.read("f")
        #expect(try await mount.extendedAttribute("f", "user.pail.cached-bytes") == "300000")
        mount.store.setFaults(FaultPlan().adding(.accessDenied, on: .putObject, when: .always))
        let file = try await mount.create("new")
        try await mount.write(file, Array("four".utf8), at: 0)
        #expect(try await mount.extendedAttribute("new", "user.pail.pending-bytes") == "4")
        await #expect(throws: FileSystemError.self) { try await mount.synchronise(file) }
        #expect(try await mount.extendedAttribute("new", "user.pail.upload-error").contains("PutObject"))
        #expect(try await mount.extendedAttributeNames("new").isEmpty)
        #expect(
            await failure { try await mount.setExtendedAttribute("f", "user.pail.cached-bytes", "1") } == .notPermitted)
        #expect(await failure { _ = try await mount.extendedAttribute("f", "user.pail.else") } == .unsupported)
        mount.store.setFaults(FaultPlan())
        // A try that began before may still fail.
        try? await mount.close(file)
        await mount.drain()
        #expect(try await mount.extendedAttribute("new", "user.pail.pending-bytes") == "0")
    }

    /// A refused property leaves the file as it was, and nothing pending.
    @Test func refusedPropertyIsTakenBack() async throws {
        let mount = try Mount()
        mount.store.write("text", at: "f", properties: ObjectProperties(contentType: "text/plain"))
        mount.store.setFaults(FaultPlan().adding(.refused(.invalidRequest), on: .copyObject, when: .first(1)))
        #expect(
            await failure { try await mount.setExtendedAttribute("f", "user.s3.storage-class", "NO_SUCH") }
                == .inputOutput)
        await mount.drain()
        #expect(try await mount.extendedAttribute("f", "user.s3.content-type") == "text/plain")
        #expect(await failure { _ = try await mount.extendedAttribute("f", "user.s3.storage-class") } == .noAttribute)
        #expect(mount.store.info(at: "f")?.properties.storageClass == nil)
    }

    /// Tags that are set while a directory above is renamed are the moved object's, not those of one that is about to go.
    @Test func regression_tagsAreNotLostToARename() async throws {
        let mount = try Mount()
        mount.store.write("x", at: "d/f")
        let file = try await mount.open("d/f")
        mount.store.pause(.copyObject, at: .beforeAnswer)
        let renaming = Task { try await mount.rename("d", to: "e") }
        await mount.store.untilHeld(.copyObject, at: .beforeAnswer)
        let setting = Task {
            try await mount.fileSystem.setExtendedAttribute(
                file.number, name: Array("user.s3.tags".utf8), value: Array("team=blue".utf8)
            ).get()
        }
        for _ in 0..<50 { await Task.yield() }
        mount.store.resume(.copyObject, at: .beforeAnswer)
        try await renaming.value
        try await setting.value
        #expect(try await mount.extendedAttribute("e/f", "user.s3.tags") == "team=blue")
        try await mount.close(file)
    }

    @Test func tags() async throws {
        let mount = try Mount()
        try await mount.write("f", "x")
        #expect(await failure { _ = try await mount.extendedAttribute("f", "user.s3.tags") } == .noAttribute)
        try await mount.setExtendedAttribute("f", "user.s3.tags", "cost%20centre=7&team=blue")
        #expect(try await mount.extendedAttribute("f", "user.s3.tags") == "cost%20centre=7&team=blue")
        try await mount.removeExtendedAttribute("f", "user.s3.tags")
        #expect(await failure { _ = try await mount.extendedAttribute("f", "user.s3.tags") } == .noAttribute)
        #expect(
            await failure { try await mount.setExtendedAttribute("f", "user.s3.tags", "a=1&a=2") } == .invalidArgument)
    }

    @Test func anOpenRemovedFileKeepsThem() async throws {
        let mount = try Mount()
        try await mount.write("f", "x")
        try await mount.setExtendedAttribute("f", "user.a", "1")
        let file = try await mount.open("f", write: true)
        try await mount.unlink("f")
        let name = Array("user.b".utf8)
        try await mount.fileSystem.setExtendedAttribute(file.number, name: name, value: [0x32]).get()
        #expect(try await mount.fileSystem.extendedAttribute(file.number, name: name).get() == [0x32])
        try await mount.close(file)
        await mount.drain()
        #expect(mount.store.keys().isEmpty)
    }
}

extension Mount {
    func extendedAttribute(_ path: String, _ name: String) async throws -> String {
        try await withNode(path) { found in
            let value = try await self.fileSystem.extendedAttribute(found.number, name: Array(name.utf8)).get()
            return String(decoding: value, as: UTF8.self)
        }
    }

    func extendedAttributeNames(_ path: String) async throws -> [String] {
        try await withNode(path) { found in
            let names = try await self.fileSystem.extendedAttributeNames(found.number).get()
            return names.map { String(decoding: $0, as: UTF8.self) }
        }
    }

    func setExtendedAttribute(
        _ path: String, _ name: String, _ value: String, _ presence: ExtendedAttributePresence = .any
    ) async throws {
        try await withNode(path) { found in
            try await self.fileSystem.setExtendedAttribute(
                found.number, name: Array(name.utf8), value: Array(value.utf8), presence
            ).get()
        }
    }

    func removeExtendedAttribute(_ path: String, _ name: String) async throws {
        try await withNode(path) { found in
            try await self.fileSystem.removeExtendedAttribute(found.number, name: Array(name.utf8)).get()
        }
    }
}
