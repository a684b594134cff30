// The process dies at each request of an upload, before and after the store has executed it, and at each record and byte of
// the journal: the next mount brings what was acknowledged, once, and leaves nothing behind.

import Base
import FoundationEssentials
import Glibc
import MemoryStore
import ObjectModel
import ObjectStore
import Testing

@testable import Staging

/// What a program does to one file before and while its mount dies.
enum CrashScenario: String, CaseIterable, Sendable {
    case smallNewFile, largeNewFile, changeInside, append, propertiesAlone, streamed, streamedAndFreed
    case changedWhileSent

    static let unit = 16 << 10
    static let key = "file"

    func bytes(_ count: Int, seed: Int) -> [UInt8] {
        var random = SplitMix64(seed: UInt64(seed))
        var result = [UInt8](repeating: 0, count: count)
        result.withUnsafeMutableBytes { buffer in
            for offset in stride(from: 0, to: count - 7, by: 8) {
                buffer.storeBytes(of: random.next(), toByteOffset: offset, as: UInt64.self)
            }
        }
        return result
    }

    /// The object that is there before, if any.
    var base: [UInt8]? {
        switch self {
        case .changeInside, .append, .propertiesAlone: bytes(20 * Self.unit, seed: 1)
        default: nil
        }
    }

    /// Plays it on a file; `note` is told the contents after each acknowledged call. Ends early when a call fails.
    /// - Parameter gate: held over each call that changes the directory, so that a crash sees it between two.
    func play(_ file: StagedFile, _ queue: UploadQueue, gate: Lock<Void>, note: ([UInt8]) -> Void) async {
        var content = base ?? []
        func write(_ bytes: [UInt8], at offset: Int) throws {
            try gate.withLock { _ in try changeNow(bytes, at: offset) }
            queue.noteWritten(file)
        }
        func changeNow(_ bytes: [UInt8], at offset: Int) throws {
            try file.write(bytes, at: offset)
            if content.count < offset + bytes.count {
                content += [UInt8](repeating: 0, count: offset + bytes.count - content.count)
            }
            content.replaceSubrange(offset..<offset + bytes.count, with: bytes)
            note(content)
        }
        do {
            var properties = file.properties
            properties.metadata["mtime"] = "1700000000.\(rawValue.utf8.count)"
            try file.setProperties(properties)
            switch self {
            case .smallNewFile: try write(bytes(5000, seed: 2), at: 0)
            case .largeNewFile: try write(bytes(18 * Self.unit, seed: 2), at: 0)
            case .changeInside: try write(bytes(4096, seed: 2), at: 9 * Self.unit)
            case .append: try write(bytes(4096, seed: 2), at: content.count)
            case .propertiesAlone: note(content)
            case .streamed, .streamedAndFreed:
                for step in 0..<20 {
                    try write(bytes(2 * Self.unit, seed: step), at: step * 2 * Self.unit)
                    if self == .streamedAndFreed { gate.withLock { _ in queue.freeSentParts() } }
                    await Task.yield()
                }
                await file.streamTask?.value
                if self == .streamedAndFreed { gate.withLock { _ in queue.freeSentParts() } }
                properties.metadata["mtime"] = "1700000009.5"
                try file.setProperties(properties)
            case .changedWhileSent:
                try write(bytes(18 * Self.unit, seed: 2), at: 0)
                async let first: Void = queue.flush(file)
                await Task.yield()
                try write(bytes(4096, seed: 3), at: 100)
                try await first
                try write(bytes(4096, seed: 4), at: 6 * Self.unit)
            }
            try await queue.flush(file)
            // What the properties still lack.
            try await queue.flush(file)
        } catch {}
    }
}

@Suite(.timeLimit(.minutes(5)), .serialized)
struct CrashPointTests {
    /// What is there when the process dies.
    private struct Remains: Sendable {
        var directory: String?
        var content: [UInt8] = []
    }

    @Test(arguments: CrashScenario.allCases)
    func everyRequestMayBeTheLast(scenario: CrashScenario) async throws {
        let whole = try await run(scenario, at: nil)
        #expect(!whole.isEmpty)
        for index in whole.indices {
            for isExecuted in [false, true] {
                _ = try await run(scenario, at: .init(index: index, isExecuted: isExecuted))
            }
        }
    }

    /// One run that dies at `point`, and the next mount. Returns the requests of the first.
    private func run(_ scenario: CrashScenario, at point: CrashingStore.Point?) async throws -> [String] {
        let store = MemoryStore()
        if let base = scenario.base { _ = store.write(base, at: CrashScenario.key) }
        let remains = Lock(Remains(content: scenario.base ?? []))
        let directory = FileManager.default.temporaryDirectory.path + "/pail-crash-\(UInt64.random(in: .min ... .max))"
        let copy = directory + "-copy"
        defer {
            try? FileManager.default.removeItem(atPath: directory)
            try? FileManager.default.removeItem(atPath: copy)
        }
        let gate = Lock(())
        let crashing = CrashingStore(store, at: point) {
            // Only the directory survives. Calls that the program makes from here on are not acknowledged.
            gate.withLock { _ in
                try? FileManager.default.copyItem(atPath: directory, toPath: copy)
                remains.withLock { $0.directory = copy }
            }
        }
        let fixture = try StagingFixture(store: store, directory: directory, through: crashing, isSmall: true)
        let file = scenario.base == nil ? try fixture.newFile(CrashScenario.key) : try fixture.change(CrashScenario.key)
        await scenario.play(file, fixture.queue, gate: gate) { content in
            remains.withLock { if $0.directory == nil { $0.content = content } }
        }
        await fixture.queue.settle(file)
        let label = "\(scenario.rawValue), \(point.map { "\($0)" } ?? "no crash"): \(crashing.operations)"
        guard point != nil else {
            #expect(store.bytes(at: CrashScenario.key) == remains.withLock { $0.content }, "\(label)")
            #expect(store.info(at: CrashScenario.key)?.properties.metadata == file.properties.metadata, "\(label)")
            #expect(store.openUploads.isEmpty, "\(label)")
            return crashing.operations
        }
        let (left, content) = remains.withLock { ($0.directory, $0.content) }
        // Tasks that happen to run in another order may need fewer requests.
        guard let left else { return crashing.operations }

        let next = try StagingFixture(store: store, directory: left, isSmall: true)
        let found = next.area.adoptLeftovers()
        #expect(found.damaged.isEmpty, "\(label)")
        for file in found.adopted {
            try await next.queue.flush(file)
            try await next.queue.flush(file)
        }
        let stored = store.bytes(at: CrashScenario.key)
        let isWhole = stored == content || isOneCallAhead(stored, content)
        #expect(isWhole, "\(label): \(stored?.count ?? -1) bytes for \(content.count)")
        #expect(store.keys().count == 1, "\(label): \(store.keys())")
        // The answer that named the upload was never heard.
        let isNamed = !(point!.isExecuted && crashing.operations[point!.index] == "createUpload")
        if isNamed { await expectNoOpenUploads(store, label) }
        return crashing.operations
    }

    /// A call that was being made when the process died may have been done.
    private func isOneCallAhead(_ stored: [UInt8]?, _ acknowledged: [UInt8]) -> Bool {
        guard let stored, stored.count >= acknowledged.count else { return false }
        return stored.count - acknowledged.count <= 2 * CrashScenario.unit
            && (stored.prefix(acknowledged.count).elementsEqual(acknowledged) || stored.count == acknowledged.count)
    }

    /// What is given up is given up in the background.
    private func expectNoOpenUploads(_ store: MemoryStore, _ label: String) async {
        for _ in 0..<100_000 where !store.openUploads.isEmpty { await Task.yield() }
        #expect(store.openUploads.isEmpty, "\(label)")
    }

    /// The journal of a streamed file, cut at each byte around each record: the next mount has the state after some prefix
    /// of what was acknowledged, and publishes just that.
    @Test func everyRecordMayBeTheLast() async throws {
        let store = MemoryStore()
        let fixture = try StagingFixture(store: store, isSmall: true)
        defer { fixture.removeDirectory() }
        let file = try fixture.newFile("cut")
        let journal = URL(fileURLWithPath: file.journalPath)
        let scenario = CrashScenario.streamed
        var states: [(journalBytes: Int, content: [UInt8])] = [(try Data(contentsOf: journal).count, [])]
        var content: [UInt8] = []
        for step in 0..<18 {
            let bytes = scenario.bytes(2 * CrashScenario.unit, seed: step)
            try file.write(bytes, at: content.count)
            content += bytes
            states.append((try Data(contentsOf: journal).count, content))
        }
        fixture.queue.noteWritten(file)
        await file.streamTask?.value
        // From here on the journal tells of parts, and of bytes that are in these alone.
        let sent = try Data(contentsOf: journal)
        #expect(sent.count > states.last!.journalBytes)
        let data = try Data(contentsOf: URL(fileURLWithPath: file.dataPath))
        fixture.queue.freeSentParts()
        let freed = try Data(contentsOf: journal)
        #expect(freed.count > sent.count)
        let sparse = try Data(contentsOf: URL(fileURLWithPath: file.dataPath))
        for (whole, bytes, from) in [(sent, data, states[15].journalBytes), (freed, sparse, freed.count)] {
            for cut in Set(stride(from: from, through: whole.count, by: 13)).union([whole.count]).sorted() {
                let next = try StagingFixture(store: store, isSmall: true)
                defer { next.removeDirectory() }
                let session = next.directory + "/staging/1-old"
                try FileManager.default.createDirectory(atPath: session, withIntermediateDirectories: true)
                try Data("memory bucket\n".utf8).write(to: URL(fileURLWithPath: session + "/owner"))
                try whole.prefix(cut).write(to: URL(fileURLWithPath: session + "/1.journal"))
                try bytes.write(to: URL(fileURLWithPath: session + "/1.data"))
                let adopted = try #require(next.area.adoptLeftovers().adopted.first, "cut at \(cut)")
                let wanted = states.last { $0.journalBytes <= cut }!.content
                #expect(adopted.byteCount == wanted.count, "cut at \(cut)")
                if whole.count == freed.count {
                    // What is local no more comes of the parts, once they are an object.
                    try await next.queue.flush(adopted)
                    let isWhole = store.bytes(at: "cut") == wanted
                    #expect(isWhole, "cut at \(cut)")
                } else {
                    let isWhole = try await adopted.contents(next) == wanted
                    #expect(isWhole, "cut at \(cut)")
                }
            }
        }
    }
}
