// What the journal of markers says after any end of its writer.

import Base
import FoundationEssentials
import ObjectModel
import ObjectStore
import Testing

@testable import Staging

@Suite(.timeLimit(.minutes(3)))
struct MarkerJournalTests {
    private let writes = [
        MarkerWrite(
            key: ObjectKey("a/")!, properties: ObjectProperties(metadata: ["mode": "16877"], contentType: "t"),
            replaced: nil),
        MarkerWrite(
            key: ObjectKey("b/c/")!, properties: ObjectProperties(metadata: ["mode": "16832", "uid": "7"]),
            replaced: ["mode": "1"]),
        MarkerWrite(key: ObjectKey("d/")!, properties: ObjectProperties(), replaced: [:]),
    ]

    private func withJournal(_ body: (MarkerJournal) throws -> Void) throws -> [UInt8] {
        let path = FileManager.default.temporaryDirectory.path + "/pail-markers-\(UInt64.random(in: 0 ... .max))"
        defer { try? FileManager.default.removeItem(atPath: path) }
        try body(MarkerJournal(path: path))
        return FileManager.default.contents(atPath: path).map { Array($0) } ?? []
    }

    /// Several for one key are in their order, and end together.
    @Test func whatIsNotOverIsReadBack() throws {
        let changed = MarkerWrite(
            key: writes[0].key, properties: ObjectProperties(metadata: ["mode": "16889"]), replaced: nil)
        let bytes = try withJournal { journal in
            for write in writes + [changed] { try journal.append(write) }
            try journal.end([writes[1].key])
        }
        let found = try #require(MarkerJournal.decode(bytes))
        #expect(found.filter { $0.key == changed.key } == [writes[0], changed])
        #expect(found.filter { $0.key != changed.key } == [writes[2]])
        let empty = try withJournal { journal in
            for write in writes + [changed] { try journal.append(write) }
            try journal.end([writes[0].key, writes[2].key])
            try journal.end([writes[1].key])
        }
        #expect(empty.isEmpty)
    }

    @Test func aCutJournalHasItsWholeRecordsAndADamagedOneNothingElse() throws {
        let bytes = try withJournal { journal in for write in writes { try journal.append(write) } }
        for count in 0..<bytes.count {
            let found = try #require(MarkerJournal.decode(Array(bytes.prefix(count))))
            #expect(found.count < writes.count && found.allSatisfy(writes.contains))
        }
        for index in 0..<bytes.count {
            var damaged = bytes
            damaged[index] ^= 0x10
            for found in MarkerJournal.decode(damaged) ?? [] { #expect(writes.contains(found)) }
        }
    }
}
