// The loser of a conflict keeps its bytes: beside the winner, in the bucket.

internal import Base
internal import Glibc
internal import Logging
internal import ObjectModel
internal import ObjectStore

extension UploadQueue {
    /// Where the data of a conflict is, and who waited for its upload.
    struct SavedConflict {
        /// Nil when there was no data to keep.
        let key: ObjectKey?
        let waiters: [OneShot<UploadOutcome>]
    }

    /// Another client's version stands under the key: keeps ours beside it, whole if it can be had whole, else what was
    /// changed. Nil when that failed; the data stays staged then, and is tried again under its own key.
    func saveConflict(_ file: StagedFile, _ snapshot: UploadSnapshot) async -> SavedConflict? {
        let lost = snapshot.identity.key
        let stamp = Self.stamp(time.now)
        do throws(StagingError) {
            // The other version is current now, so the base bytes can only be had from the cache.
            guard try await isWhole(file, snapshot) else {
                guard let key = Self.name(lost, configuration.hostName, stamp, suffix: ".changes") else { return nil }
                return try saveChanges(file, as: key)
            }
            for number in 1...Self.namesMax {
                guard let key = Self.name(lost, configuration.hostName, stamp, number: number) else { return nil }
                do throws(StagingError) {
                    return try await saveWhole(file, snapshot, as: key)
                } catch {
                    // Another mount has met the same conflict in the same millisecond.
                    guard case .conflict = error, number < Self.namesMax else { throw error }
                }
            }
            return nil
        } catch {
            log.error(
                "the data of a conflict could not be saved beside the object yet: \(error)",
                metadata: ["key": "\(lost)"])
            return nil
        }
    }

    /// Another client's version stands under the key, and bytes of ours are in an upload that can only become that key:
    /// keeps theirs beside it instead, and lets ours replace what was kept. Returns whether the upload may go on.
    func keepOther(_ file: StagedFile, _ key: ObjectKey) async -> Bool {
        let stamp = Self.stamp(time.now)
        do throws(StoreError) {
            guard let theirs = try await headIfPresent(key) else {
                file.replace(.ifAbsent)
                return true
            }
            // A copy replaces what it finds, so the name must be free.
            var free: ObjectKey?
            for number in 1...Self.namesMax where free == nil {
                guard let key = Self.name(key, "theirs", stamp, number: number) else { return false }
                if try await headIfPresent(key) == nil { free = key }
            }
            guard let beside = free else { return false }
            _ = try await store.copy(
                CopyRequest(
                    source: theirs.version, destination: beside,
                    storageClass: CopyRequest.storageClass(keeping: theirs.properties.storageClass)))
            file.replace(.ifMatch(theirs.version.etag))
            log.error(
                "another client changed the object; its version was saved beside ours",
                metadata: ["key": "\(key)", "saved": "\(beside)"])
            return true
        } catch {
            log.error("a conflict could not be resolved yet: \(error)", metadata: ["key": "\(key)"])
            return false
        }
    }

    /// Whether a file that is made of nothing in the store was to replace an object which is gone: nobody's bytes are in the
    /// way then. A rename that was killed may have removed it.
    func isToReplaceNothing(_ identity: StagedIdentity) async -> Bool {
        guard identity.base == nil, identity.condition != .ifAbsent else { return false }
        do throws(StoreError) { return try await headIfPresent(identity.key) == nil } catch { return false }
    }

    /// Finds out what became of a file that an earlier mount was removing or replacing; nothing is sent of it meanwhile.
    public func settleDeparture(_ file: StagedFile) async {
        await hold(file)
        // What is not known now is asked again when the upload meets what was left there.
        do throws(StoreError) { _ = try await hasDeparted(file) } catch {}
        resume(file)
    }

    /// A mount that was killed was about to remove the file, or to put another one in its place. If that was done, the
    /// file is gone now. Returns whether it is.
    func hasDeparted(_ file: StagedFile) async throws(StoreError) -> Bool {
        guard let departure = file.departure else { return false }
        let key = file.key
        guard departure.isDone(leaving: try await headIfPresent(key), base: file.base) else { return false }
        _ = file.lose(to: .conflict(savedAs: nil))
        let waiters = file.giveUpLost()
        for observer in observers.withLock({ $0.conflicted }) { observer(file, key, key) }
        log.notice("a file that an earlier mount was removing or replacing is gone", metadata: ["key": "\(key)"])
        for waiter in waiters { waiter.set(.failed(.conflict(savedAs: nil))) }
        return true
    }

    func headIfPresent(_ key: ObjectKey) async throws(StoreError) -> ObjectInfo? {
        do throws(StoreError) {
            return try await store.head(key)
        } catch {
            guard error.kind == .notFound else { throw error }
            return nil
        }
    }

    /// Brings every byte of the file to the local disk; false when the base object is gone with bytes that were never
    /// read. Any other failure may pass.
    private func isWhole(_ file: StagedFile, _ snapshot: UploadSnapshot) async throws(StagingError) -> Bool {
        do throws(StagingError) {
            try await file.materialise(ByteRange(0, snapshot.identity.byteCount), fetch: fetch)
            return true
        } catch {
            guard case .store(let cause) = error else { throw error }
            switch cause.kind {
            case .preconditionFailed, .notFound, .invalidRange: return false
            default: throw error
            }
        }
    }

    private func saveWhole(
        _ file: StagedFile, _ snapshot: UploadSnapshot, as key: ObjectKey
    ) async throws(StagingError) -> SavedConflict {
        let lost = snapshot.identity.key
        try file.becomeConflictCopy(key)
        // From here on the file is another one, whether its upload succeeds now or later.
        for observer in observers.withLock({ $0.conflicted }) { observer(file, lost, key) }
        var moved = snapshot.identity
        moved.key = key
        moved.base = nil
        moved.baseByteCount = 0
        moved.condition = .ifAbsent
        let copy = UploadSnapshot(
            generation: snapshot.generation, identity: moved, dirty: ByteRangeSet([ByteRange(0, moved.byteCount)]))
        let published = try await publish(file, copy)
        log.error(
            "another client changed the object; our data was saved beside it",
            metadata: ["key": "\(lost)", "saved": "\(key)"])
        let waiters = file.finishSnapshot(copy, published)
        for observer in observers.withLock({ $0.published }) { observer(file, published.version) }
        return SavedConflict(key: key, waiters: waiters)
    }

    /// Stages what was changed as an object of its own, and gives the file up: its other bytes are nowhere any more.
    private func saveChanges(_ file: StagedFile, as key: ObjectKey) throws(StagingError) -> SavedConflict {
        let lost = file.key
        // No write comes in between: what is acknowledged is in the copy, or refused.
        let frozen = file.lose(to: .conflict(savedAs: key))
        guard !frozen.dirty.isEmpty else {
            // Properties alone were changed, of an object that is another one now.
            let waiters = file.giveUpLost()
            for observer in observers.withLock({ $0.conflicted }) { observer(file, lost, lost) }
            log.error(
                "another client changed the object; our change of its attributes is dropped",
                metadata: ["key": "\(lost)"])
            return SavedConflict(key: nil, waiters: waiters)
        }
        let changes: StagedFile
        do throws(StagingError) {
            changes = try stageChanges(of: file, frozen, as: key)
        } catch {
            file.unlose()
            throw error
        }
        let waiters = file.giveUpLost()
        for observer in observers.withLock({ $0.conflicted }) { observer(file, lost, key) }
        log.error(
            "another client changed the object, and the version that ours was made from is gone; our changes are saved beside it",
            metadata: ["key": "\(lost)", "saved": "\(key)"])
        submit(changes)
        return SavedConflict(key: key, waiters: waiters)
    }

    private func stageChanges(
        of file: StagedFile, _ frozen: UploadSnapshot, as key: ObjectKey
    ) throws(StagingError) -> StagedFile {
        let header = Array(ChangesHeader(frozen).text.utf8)
        let identity = StagedIdentity(
            key: key, base: nil, baseByteCount: 0, byteCount: header.count + frozen.dirty.count, condition: .ifAbsent,
            properties: ObjectProperties(contentType: "application/octet-stream"))
        // A mount that is killed here leaves the file, or both, or the file and a beginning that nobody finds.
        file.note(.savedAs(key))
        do throws(StagingError) {
            return try area.create(identity) { [disk = area.disk] descriptor, path throws(StagingError) in
                try disk.writeAll(header, to: descriptor, at: 0, path)
                var offset = header.count
                for range in frozen.dirty.ranges {
                    for start in stride(from: range.lowerBound, to: range.upperBound, by: 1 << 20) {
                        var piece = [UInt8](repeating: 0, count: min(1 << 20, range.upperBound - start))
                        try file.readLocal(into: &piece, at: start)
                        try disk.writeAll(piece, to: descriptor, at: offset, path)
                        offset += piece.count
                    }
                }
            }
        } catch {
            file.note(nil)
            throw error
        }
    }

    /// So many conflicts of one file in one millisecond get names.
    private static let namesMax = 16

    /// The key beside `key` of a version that lost it; nil when that would be longer than keys are.
    private static func name(
        _ key: ObjectKey, _ owner: String, _ stamp: String, number: Int = 1, suffix: String = ""
    ) -> ObjectKey? {
        ObjectKey("\(key).conflict-\(owner)-\(stamp)\(number > 1 ? "-\(number)" : "")\(suffix)")
    }

    /// In UTC to the millisecond, fit for a name.
    private static func stamp(_ now: Timestamp) -> String {
        var seconds = time_t(now.seconds)
        var parts = tm()
        gmtime_r(&seconds, &parts)
        func digits(_ value: Int32, _ count: Int) -> String {
            let text = String(value)
            return String(repeating: "0", count: max(0, count - text.utf8.count)) + text
        }
        return "\(parts.tm_year + 1900)\(digits(parts.tm_mon + 1, 2))\(digits(parts.tm_mday, 2))T"
            + "\(digits(parts.tm_hour, 2))\(digits(parts.tm_min, 2))\(digits(parts.tm_sec, 2))"
            + ".\(digits(now.nanoseconds / 1_000_000, 3))Z"
    }
}
