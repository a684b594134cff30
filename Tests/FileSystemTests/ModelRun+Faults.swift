// Random calls on a store that fails: what may become of a call, and of nothing else.

import Base
import Glibc
import MemoryStore
import ObjectModel
import ObjectStore

@testable import FileSystem

/// The model at one moment, contents included: the files of a `ModelTree` change in place.
struct ModelState {
    let entries: [String: ModelTree.Entry]
    private let spelling: Spelling
    private let files: [(file: ModelTree.File, bytes: [UInt8], mode: UInt32, modified: Timestamp?)]

    init(_ model: ModelTree) {
        entries = model.entries
        spelling = model.spelling
        files = model.entries.values.compactMap { $0.file }.map { ($0, $0.bytes, $0.mode, $0.modified) }
    }

    /// Puts the files back to what they were then.
    func restore() -> ModelTree {
        for item in files {
            item.file.bytes = item.bytes
            item.file.mode = item.mode
            item.file.modified = item.modified
        }
        var tree = ModelTree()
        tree.entries = entries
        tree.spelling = spelling
        return tree
    }

    func holds(_ bytes: [UInt8]) -> Bool { files.contains { $0.bytes == bytes } }
}

extension FileSystemError {
    /// Whether a failing store may lead to this. An answer about names ("not there", "there already") it may not.
    var isOfTheStore: Bool {
        switch kind {
        case .timedOut, .unreachable, .inputOutput, .interrupted, .stale: true
        default: false
        }
    }

    /// Whether a full local disk may lead to this.
    var isOfTheDisk: Bool { kind == .noSpace || kind == .localDisk(ENOSPC) }
}

extension ModelRun {
    func endFaults() {
        mount.store.setFaults(FaultPlan())
        disk.setShort(seed: nil)
    }

    func startFaults(for call: RandomCall) {
        // So that a sequence meets the same faults with and without it.
        if case .setWall = call { return }
        if diskDice != nil, diskDice!.next() % 3 != 0 { disk.setShort(seed: diskDice!.next()) }
        guard dice != nil else { return }
        let seed = dice!.next()
        var plan = FaultPlan(seed: seed)
        // So that the store is asked at all.
        if seed % 5 < 3 { mount.expire() }
        // One call in three meets a good store, so that things get far enough to be lost.
        guard seed % 3 != 0 else { return }
        let faults: [(Fault, Double)] = [
            (.throttled, 0.05), (.serverFault, 0.05), (.timedOut, 0.05), (.lostAnswer, 0.15),
            // The answer was lost, and then the store was too busy until the last attempt.
            (.answerLost(.throttled), 0.05),
            (.bodyCut(afterBytes: 100, .unreachable), 0.05), (.slow(nanoseconds: 1_000_000), 0.05),
        ]
        // A condition that is said not to hold, for once (not to those who ask for the truth about a name, which stores look
        // up before they say so); and 200 with an error in the body, done or not.
        let asksForName =
            switch call {
            case .symlink, .makeDirectory: true
            default: false
            }
        var strange: [StoreOperation: [(Fault, Double)]] = [
            .getObject: [(.preconditionFailed, 0.03)], .putObject: [(.preconditionFailed, 0.03)],
            .uploadPartCopy: [(.preconditionFailed, 0.03)],
            .copyObject: [
                (.preconditionFailed, 0.03), (.refused(.malformedResponse), 0.03),
                (.answerLost(.malformedResponse), 0.03),
            ],
            .completeUpload: [
                (.preconditionFailed, 0.03), (.refused(.malformedResponse), 0.03),
                (.answerLost(.malformedResponse), 0.03),
            ],
        ]
        let removes =
            switch call {
            case .unlink, .rename, .removeDirectory: true
            default: false
            }
        if asksForName { strange[.putObject] = nil }
        for operation in StoreOperation.allCases {
            // A removal whose answer is lost is looked up: where that fails too, nobody can know.
            if removes, operation == .headObject { continue }
            for (fault, probability) in faults + (strange[operation] ?? []) {
                plan = plan.adding(fault, on: operation, when: .chance(probability))
            }
        }
        mount.store.setFaults(plan)
    }

    /// The value, or nil when the store failed, or the disk where that needs room.
    func withFaults<Value>(needsRoom: Bool = true, _ body: () async throws -> Value) async throws -> Value? {
        do {
            return try await body()
        } catch let error as FileSystemError
            where dice != nil && error.isOfTheStore || mayLackRoom && needsRoom && error.isOfTheDisk
        {
            return nil
        }
    }

    /// A call has failed: finds out which state the mount shows, and goes on from there. It must be one of those that the
    /// call may leave, now and after everything has been asked for again.
    func adoptWhatHappened(_ before: ModelState, _ after: ModelState, _ error: FileSystemError) async throws {
        for mustForget in [false, true] {
            if mustForget {
                _ = await mount.drain()
                mount.fileSystem.refresh(path: "")
            }
            try await removeConflictCopies(before, after)
            var reasons: [String] = []
            var isFound = false
            let candidates = [
                after, before, try await half(before, after, oldIsOpen: true),
                try await half(before, after, oldIsOpen: false),
            ]
            for candidate in candidates {
                model = candidate.restore()
                do {
                    try await compareTree()
                    isFound = true
                    break
                } catch {
                    reasons.append("\(error)")
                }
            }
            guard isFound else {
                throw Difference(
                    "failed with \(error), and is neither done (\(reasons[0])) nor undone (\(reasons[1])) nor half")
            }
        }
    }

    /// A rename that could not remove what it has copied: the new names are there, and of the old ones some.
    /// - Parameter oldIsOpen: whether who has the file open has the old name's (a file) or the new one's (a directory).
    private func half(_ before: ModelState, _ after: ModelState, oldIsOpen: Bool) async throws -> ModelState {
        var tree = after.restore()
        for (path, entry) in before.entries where tree.entries[path] == nil {
            guard (try? await mount.status(model.spelling.shown(path))) != nil else { continue }
            guard let file = entry.file else {
                tree.entries[path] = entry
                continue
            }
            tree.entries[path] = .file(oldIsOpen ? file : file.copy)
            if oldIsOpen, let new = after.entries.first(where: { $0.value.file === file })?.key {
                tree.entries[new] = .file(file.copy)
            }
        }
        return ModelState(tree)
    }

    /// Where nobody could know that a change was our own, the data was kept beside it: allowed, if it is some data of ours.
    private func removeConflictCopies(_ before: ModelState, _ after: ModelState) async throws {
        for key in mount.store.keys() where key.contains(".conflict-") {
            let bytes = mount.store.bytes(at: key) ?? []
            guard before.holds(bytes) || after.holds(bytes) else { throw Difference("'\(key)' never existed") }
            mount.store.remove(at: key)
            mount.fileSystem.refresh(path: "")
        }
    }
}
