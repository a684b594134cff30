// What a read of a random run may have come to.

import Base

@testable import FileSystem

extension ReadModelRun {
    /// By slot: the state that the path was in when a read began, if the open file surely still has its name then: a
    /// directory that was seen to vanish takes its names along.
    func noteNames() -> [Int: Int] {
        slots.compactMapValues { slot in
            let isNamed = !slot.file.handle.node.state.withLock { $0.isSuperseded } && !slot.path.contains("/")
            return isNamed ? present(slot.path) : nil
        }
    }

    /// - Parameter before: of `noteNames`, when the read began.
    func judge(
        _ read: SlotRead, _ result: Result<[UInt8], FileSystemError>, _ before: [Int: Int]
    ) throws {
        var slot = slots[read.slot]!
        let states = history[slot.path]!
        switch result {
        case .success(let bytes):
            let candidates = slot.shown.map { [$0] } ?? Array(slot.oldest..<states.count)
            let matches = candidates.filter {
                states[$0]?.gives(bytes, offset: read.offset, count: read.count) ?? false
            }
            guard !matches.isEmpty else {
                let what = VersionedBytes.describe(
                    bytes, offset: read.offset, versions: history.values.joined().compactMap { $0 })
                let wanted = candidates.compactMap { states[$0] }.map { "\($0.number) (\($0.byteCount) bytes)" }
                throw Difference("\(read) of '\(slot.path)' gives \(what); allowed is one version of \(wanted)")
            }
            if !bytes.isEmpty, matches.count == 1 { slot.shown = matches[0] }
        case .failure(let error):
            switch error.kind {
            case .stale where states.count - 1 > slot.oldest:
                // Found out under this name: the next open must not believe in anything older.
                if !storeFails, let before = before[read.slot] {
                    believable[slot.path] = max(believable[slot.path]!, before)
                }
            case _ where isFaulty && error.isOfTheStore && error.kind != .interrupted && error.kind != .stale: break
            default: throw Difference("\(read) of '\(slot.path)' fails: \(error)")
            }
        }
        slots[read.slot] = slot
    }
}
