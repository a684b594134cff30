// What is kept on disk of names and attributes: rows, damage, limits.

import Base
import FoundationEssentials
import Glibc
import ObjectModel
import Testing

@testable import FileSystem

@Suite(.timeLimit(.minutes(5)))
struct AttributeStoreTests {
    /// A directory that ends with the test.
    private final class Place {
        let path = Mount.newPath()

        func store(limitBytes: Int = 1 << 20, report: @escaping @Sendable (String) -> Void = { _ in }) -> AttributeStore
        {
            var configuration = AttributeStoreConfiguration(directory: path, bucket: "bucket")
            configuration.limitBytes = limitBytes
            return AttributeStore(configuration: configuration, time: SimulatedTime(), report: report)
        }

        var files: [String] {
            ((try? FileManager.default.contentsOfDirectory(atPath: path)) ?? []).map { "\(path)/\($0)" }
        }

        deinit { try? FileManager.default.removeItem(atPath: path) }
    }

    static let entries: [RememberedEntry] = {
        var properties = ObjectProperties(
            metadata: ["mode": "33188", "mtime": "1.5", "": "é"], contentType: "text/plain")
        properties.storageClass = "GLACIER"
        var full = RememberedEntry(content: .file(etag: ETag("abc-2")!, byteCount: 5 << 40))
        full.modified = .told(Timestamp(seconds: -1, nanoseconds: 999_999_999))
        full.learned = .properties(properties)
        full.storageClass = "STANDARD_IA"
        full.inode = 77
        var written = RememberedEntry(content: .file(etag: ETag("x")!, byteCount: 0))
        written.modified = .written(Timestamp(seconds: 1 << 40))
        var directory = RememberedEntry(content: .directory)
        directory.learned = .noMarker
        return [full, written, directory, RememberedEntry(content: .directory)]
    }()

    @Test(arguments: entries)
    func rowsReadBack(entry: RememberedEntry) {
        let bytes = entry.encoded(directory: "a/", name: "b")
        #expect(RememberedEntry(bytes, directory: "a/", name: "b") == entry)
        #expect(RememberedEntry(bytes, directory: "a/", name: "c") == nil, "of another name")
        #expect(RememberedEntry(bytes, directory: "", name: "a/b") == nil, "of another directory")
        for length in 0..<bytes.count {
            #expect(RememberedEntry(Array(bytes.prefix(length)), directory: "a/", name: "b") == nil)
        }
        for index in bytes.indices {
            for bit in 0..<8 {
                var damaged = bytes
                damaged[index] ^= 1 << UInt8(bit)
                #expect(RememberedEntry(damaged, directory: "a/", name: "b") == nil)
            }
        }
    }

    /// A row is on disk only when no later row of its name could be lost and it be taken for that one.
    @Test func regression_whatWasWrittenIsKeptWhenItIsSettled() {
        var unsettled = UnsettledEntries()
        let place = UnsettledEntries.Place(prefix: "a/", name: "b")
        let second: UInt64 = 1_000_000_000
        unsettled.add(Self.entries[0], at: place, now: 0)
        unsettled.add(Self.entries[1], at: place, now: 4 * second)
        #expect(unsettled[place] == Self.entries[1])
        #expect(unsettled.takeSettled(now: 13 * second).isEmpty, "the first one is none any more")
        #expect(unsettled.takeSettled(now: 14 * second).map(\.entry) == [Self.entries[1]])
        #expect(unsettled[place] == nil)
        unsettled.add(Self.entries[0], at: place, now: 20 * second)
        unsettled.forget(below: "a")
        #expect(unsettled.takeAll().isEmpty)
        for index in 0...UnsettledEntries.countMax {
            unsettled.add(Self.entries[0], at: .init(prefix: "", name: ByteString("\(index)")), now: 20 * second)
        }
        #expect(unsettled.takeSettled(now: 20 * second).map(\.place.name) == ["0"], "the oldest, beyond the limit")
    }

    /// `isOf` by what was kept and what is listed, in seconds.
    @Test(
        arguments: [
            (.unknown, 10, false), (.told(Timestamp(seconds: 10)), 10, true),
            (.told(Timestamp(seconds: 10, nanoseconds: 5)), 10, true), (.told(Timestamp(seconds: 10)), 11, false),
            (.written(Timestamp(seconds: 10)), 15, true), (.written(Timestamp(seconds: 10)), 5, true),
            (.written(Timestamp(seconds: 10)), 16, false),
        ] as [(RememberedEntry.Modified, Int64, Bool)])
    func timesAreCompared(modified: RememberedEntry.Modified, listed: Int64, isSame: Bool) {
        var entry = RememberedEntry(content: .file(etag: ETag("e")!, byteCount: 3))
        entry.modified = modified
        func object(_ etag: String, _ byteCount: Int) -> ListedObject {
            let version = ObjectVersion(key: ObjectKey("k")!, etag: ETag(etag)!, byteCount: byteCount)
            return ListedObject(version: version, lastModified: Timestamp(seconds: listed, nanoseconds: 7))
        }
        #expect(entry.isOf(object("e", 3)) == isSame)
        #expect(!entry.isOf(object("f", 3)))
        #expect(!entry.isOf(object("e", 4)))
    }

    @Test func whatIsNotedIsThereInTheNextProcess() async {
        let place = Place()
        let first = place.store()
        first.note("d/", [("a", Self.entries[0]), ("b", Self.entries[1]), ("gone", Self.entries[1])])
        first.noteRemoved("d/", ["gone"])
        await first.drain()
        let second = place.store()
        let found = await second.entries("d/", names: ["a", "b", "gone", "c"])
        #expect(found == ["a": Self.entries[0], "b": Self.entries[1]])
        let everything = await second.everything("d/", countMax: 10)
        #expect(everything?.entries == found)
        #expect(everything?.directory.isListed == false, "it was never listed to its end")
        #expect(await second.everything("", countMax: 10) == nil)
    }

    @Test func aListingEndsWhatItDoesNotShow() async {
        let place = Place()
        let store = place.store()
        store.note("", [("a", Self.entries[1]), ("b", Self.entries[1])])
        store.noteListed("", hasMarker: true, names: ["b"])
        let listed = await store.everything("", countMax: 10)
        #expect(listed?.directory.isListed == true && listed?.directory.hasMarker == true)
        #expect(listed?.entries.keys.sorted() == ["b"])
        let cut = await store.everything("", countMax: 0)
        #expect(cut?.directory.isListed == false, "not all of it")
        store.noteListed("", hasMarker: false, names: ["b", "never noted"])
        #expect(await store.everything("", countMax: 10)?.directory.isListed == false)
    }

    @Test func treesMoveAndGo() async {
        let place = Place()
        let store = place.store()
        for prefix in ["a/", "a/x/", "a/x/y/", "ab/", "z/x/"] as [ByteString] {
            store.note(prefix, [("f", Self.entries[0])])
        }
        store.noteTreeMoved("a/", to: "z/")
        for (prefix, isThere) in [
            ("a/", false), ("a/x/", false), ("z/", true), ("z/x/", true), ("z/x/y/", true), ("ab/", true),
        ] as [(ByteString, Bool)] {
            let found = await store.entries(prefix, names: ["f"])
            #expect(found == (isThere ? ["f": Self.entries[0]] : [:]), "\(prefix)")
        }
        store.noteTreeRemoved("z/")
        #expect(await store.entries("z/x/y/", names: ["f"]).isEmpty)
        #expect(await store.entries("ab/", names: ["f"]).count == 1)
    }

    /// Whatever happens to the file: no entry is wrong, and what is noted afterwards is kept.
    @Test(arguments: 0..<40)
    func damageIsNeverBelieved(seed: UInt64) async throws {
        let place = Place()
        let store = place.store()
        var noted: [ByteString: RememberedEntry] = [:]
        // In an order that is another one each time: the file is, too.
        for index in 0..<200 { noted[ByteString("name \(index)")] = Self.entries[index % Self.entries.count] }
        store.note("d/", noted.map { ($0.key, $0.value) })
        store.noteListed("d/", hasMarker: true, names: Array(noted.keys))
        await store.drain()
        for file in place.files where !file.hasSuffix("-shm") {
            var bytes = [UInt8](try Data(contentsOf: URL(fileURLWithPath: file)))
            guard !bytes.isEmpty else { continue }
            var generator = seed &* 0x9e37_79b9_7f4a_7c15 &+ 1
            func next() -> Int {
                generator = generator &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
                return Int(generator >> 33)
            }
            switch seed % 3 {
            case 0: for _ in 0..<40 { bytes[next() % bytes.count] ^= UInt8(1 << (next() % 8)) }
            case 1: bytes.removeLast(next() % bytes.count)
            default:
                for index in 0..<min(4096, bytes.count) {
                    bytes[(next() % 40) * 100 % bytes.count] = UInt8(index & 255)
                }
            }
            try Data(bytes).write(to: URL(fileURLWithPath: file))
        }
        let second = place.store()
        let found = await second.entries("d/", names: Array(noted.keys))
        for (name, entry) in found { #expect(noted[name] == entry) }
        let everything = await second.everything("d/", countMax: 1000)
        for (name, entry) in everything?.entries ?? [:] { #expect(noted[name] == entry) }
        if everything?.directory.isListed == true { #expect(everything?.entries.count == 200) }
        // Once the damage was met, or not: new things are kept.
        for _ in 0..<3 { second.note("e/", [("new", Self.entries[0])]) }
        #expect(await second.entries("e/", names: ["new"]) == ["new": Self.entries[0]])
    }

    @Test func theFileMayBeRemovedAtAnyTime() async {
        let place = Place()
        let store = place.store()
        store.note("", [("a", Self.entries[0])])
        await store.drain()
        for file in place.files { unlink(file) }
        store.note("", [("b", Self.entries[0])])
        #expect(await store.entries("", names: ["b"]).count == 1)
        let second = place.store()
        #expect(await second.entries("", names: ["a"]).isEmpty)
        second.note("", [("c", Self.entries[0])])
        #expect(await second.entries("", names: ["c"]).count == 1)
    }

    @Test func theFileKeepsToItsLimitAndKeepsWhatIsNew() async {
        let place = Place()
        let limit = 1 << 20
        for mount in 0..<6 {
            let store = place.store(limitBytes: limit)
            for directory in 0..<10 {
                let names = (0..<300).map { (ByteString("a name of some length \($0)"), Self.entries[0]) }
                store.note(ByteString("mount \(mount)/\(directory)/"), names)
            }
            await store.drain()
            let kept = await store.entries(ByteString("mount \(mount)/9/"), names: ["a name of some length 299"])
            #expect(kept.count == 1, "what was noted last is there")
            var status = stat()
            for file in place.files where file.hasSuffix(".sqlite") {
                #expect(stat(file, &status) == 0 && status.st_size <= limit)
            }
        }
    }

    @Test func aDirectoryThatCannotBeMadeIsNobodysProblem() async {
        let place = Place()
        let lines = Lock(0)
        let file = place.path
        #expect(FileManager.default.createFile(atPath: file, contents: Data()))
        let store = place.store { _ in lines.withLock { $0 += 1 } }
        store.note("", [("a", Self.entries[0])])
        #expect(await store.entries("", names: ["a"]).isEmpty)
        #expect(await store.everything("", countMax: 1) == nil)
        #expect(lines.withLock { $0 } == 1, "said once")
    }

    /// Another process stopped in the middle of a change: what waits for it waits once, and the rest goes on without the file.
    @Test func aFileThatIsHeldIsNotWaitedForAgainAndAgain() async throws {
        let place = Place()
        let store = place.store()
        store.note("", [("a", Self.entries[0])])
        await store.drain()
        let file = try #require(place.files.first { $0.hasSuffix(".sqlite") })
        let other = try SQLiteDatabase(path: file, busyMilliseconds: 0)
        try other.execute("BEGIN IMMEDIATE")
        let began = ContinuousClock.now
        for index in 0..<10 { store.note("", [(ByteString("\(index)"), Self.entries[0])]) }
        #expect(await store.entries("", names: ["0", "9"]).isEmpty)
        #expect(ContinuousClock.now - began < .seconds(15), "waited once, for five seconds")
    }

    /// Before its log is on, who writes keeps everybody else from the file.
    @Test func regression_aNewFileThatIsHeldIsWaitedForOnce() async throws {
        let place = Place()
        let first = place.store()
        first.note("", [("a", Self.entries[0])])
        await first.drain()
        let file = try #require(place.files.first { $0.hasSuffix(".sqlite") })
        for path in place.files where path.hasPrefix(file) { unlink(path) }
        let other = try SQLiteDatabase(path: file, busyMilliseconds: 0)
        try other.execute("BEGIN EXCLUSIVE")
        let began = ContinuousClock.now
        #expect(await place.store().entries("", names: ["a"]).isEmpty)
        #expect(ContinuousClock.now - began < .seconds(30), "waited twice at most, for five seconds each")
    }

    @Test func twoMountsShareAFile() async {
        let place = Place()
        let (one, other) = (place.store(), place.store())
        for index in 0..<50 {
            one.note("", [(ByteString("one \(index)"), Self.entries[0])])
            other.note("", [(ByteString("other \(index)"), Self.entries[0])])
        }
        await one.drain()
        await other.drain()
        let names = (0..<50).flatMap { [ByteString("one \($0)"), ByteString("other \($0)")] }
        #expect(await one.entries("", names: names).count == 100)
        #expect(await other.entries("", names: names).count == 100)
    }
}
