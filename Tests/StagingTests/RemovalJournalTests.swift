// What the journal of removals says after any end of its writer.

import Base
import FoundationEssentials
import ObjectModel
import ObjectStore
import Testing

@testable import Staging

@Suite(.timeLimit(.minutes(3)))
struct RemovalJournalTests {
    private func removal(_ index: Int, storeSeconds: Int64? = nil) -> Removal {
        Removal(
            ObjectVersion(key: ObjectKey("d/f\(index)")!, etag: ETag("e\(index)")!, byteCount: index),
            storeSeconds: storeSeconds, acknowledgedSeconds: 100 + Int64(index))
    }

    private func withJournal(_ body: (RemovalJournal) throws -> Void) throws -> [UInt8] {
        let path = FileManager.default.temporaryDirectory.path + "/pail-removals-\(UInt64.random(in: 0 ... .max))"
        defer { try? FileManager.default.removeItem(atPath: path) }
        try body(RemovalJournal(path: path))
        return FileManager.default.contents(atPath: path).map { Array($0) } ?? []
    }

    @Test func whatIsNotOverIsReadBack() throws {
        let bytes = try withJournal { journal in
            for index in 0..<4 { try journal.append(removal(index, storeSeconds: index == 2 ? -7 : nil)) }
            try journal.end([ObjectKey("d/f1")!, ObjectKey("d/f3")!])
        }
        let found = try #require(RemovalJournal.decode(bytes)).sorted { $0.version.key < $1.version.key }
        #expect(found == [removal(0), removal(2, storeSeconds: -7)])
    }

    @Test func itIsEmptyOnceNothingIsLeft() throws {
        let bytes = try withJournal { journal in
            for index in 0..<3 { try journal.append(removal(index)) }
            try journal.end([ObjectKey("d/f1")!])
            try journal.end([ObjectKey("d/f0")!, ObjectKey("d/f2")!])
        }
        #expect(bytes.isEmpty)
    }

    @Test func aCutJournalHasItsWholeRecordsAndADamagedOneNone() throws {
        let bytes = try withJournal { journal in for index in 0..<3 { try journal.append(removal(index)) } }
        let length = bytes.count / 3
        for count in 0..<bytes.count {
            let found = try #require(RemovalJournal.decode(Array(bytes.prefix(count))))
            #expect(found.count == count / length)
        }
        for index in 0..<(bytes.count - length) {
            var damaged = bytes
            damaged[index] ^= 0x10
            // A length that points beyond the end looks like a cut: then less is believed, never something else.
            for found in RemovalJournal.decode(damaged) ?? [] { #expect((0..<3).map { removal($0) }.contains(found)) }
        }
    }

    @Test(arguments: [
        (ETag("a")!, Int64(50), Int64?(50), true), (ETag("b")!, 50, 50, false), (ETag("a")!, 51, 50, false),
        (ETag("a")!, 100, nil, true), (ETag("a")!, 101, nil, false),
    ])
    func onlyTheSameObjectIsRemovedLater(etag: ETag, seconds: Int64, noted: Int64?, isStill: Bool) {
        let key = ObjectKey("k")!
        let removal = Removal(
            ObjectVersion(key: key, etag: ETag("a")!, byteCount: 1), storeSeconds: noted, acknowledgedSeconds: 100)
        let info = ObjectInfo(
            version: ObjectVersion(key: key, etag: etag, byteCount: 1), lastModified: .init(seconds: seconds),
            properties: ObjectProperties())
        #expect(removal.isStill(info) == isStill)
    }
}
