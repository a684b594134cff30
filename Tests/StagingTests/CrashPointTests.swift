// The machine dies, and of a journal there is what had reached the disk. The process dies in `FileSystemTests/CrashTableTests`.

import Base
import FoundationEssentials
import MemoryStore
import ObjectModel
import ObjectStore
import Testing

@testable import Staging

@Suite(.timeLimit(.minutes(5)))
struct CrashPointTests {
    /// The journal of a streamed file, cut at each byte around each record: the next mount has the state after some prefix
    /// of what was acknowledged, and publishes just that.
    @Test func everyRecordMayBeTheLast() async throws {
        let store = MemoryStore()
        let fixture = try StagingFixture(store: store, isSmall: true)
        defer { fixture.removeDirectory() }
        let file = try fixture.newFile("cut")
        let journal = URL(fileURLWithPath: file.journalPath)
        var states: [(journalBytes: Int, content: [UInt8])] = [(try Data(contentsOf: journal).count, [])]
        var content: [UInt8] = []
        for step in 0..<18 {
            let bytes = scrambled(2 * 16_384, seed: step)
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
