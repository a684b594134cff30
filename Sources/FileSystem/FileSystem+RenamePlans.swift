// Renames of directories that an earlier mount did not end.

internal import Base
internal import Logging
internal import ObjectModel
internal import ObjectStore
internal import Staging

extension FileSystem {
    func store(_ plan: RenamePlan) throws(FileSystemError) -> StoredPlan {
        do throws(StagingError) { return try area.store(plan: plan.encoded) } catch { throw FileSystemError(error) }
    }

    /// Carries a left plan out, in the background. Names change once that is done: nothing may be renamed or begun to be
    /// written meanwhile. What cannot be done now is tried again by the next mount.
    /// - Parameter standing: the keys of versions that recovered files stand on: what is copied there may be changed by now.
    func resume(_ stored: StoredPlan, standing: Set<ObjectKey> = []) {
        guard !configuration.isReadOnly, let plan = RenamePlan(stored.bytes) else { return }
        let task = Task {
            let outcome = await Result.of { () async throws(FileSystemError) in
                try await self.changes.exclusive(.everything) { () async throws(FileSystemError) in
                    try await self.carryOut(plan, standing)
                }
            }
            switch outcome {
            case .success(let keptCount):
                self.area.remove(stored)
                self.log.notice(
                    "a directory's rename that an earlier mount began is done: '\(plan.from)' to '\(plan.to)'")
                if keptCount > 0 {
                    self.log.error(
                        "\(keptCount) files of '\(plan.from)' stay there: they were changed since, or '\(plan.to)' has others of their names"
                    )
                }
            case .failure(let error):
                self.log.error(
                    "a rename that an earlier mount began is not done: '\(plan.from)' to '\(plan.to)': \(error)")
            }
            self.refresh(path: "")
        }
        resumedRenames.withLock { $0.append(task) }
    }

    private enum Step: Sendable {
        /// Copied, or there already: the old key can go.
        case moved(ObjectVersion)
        case gone
        /// Something else stands at the old place by now, or at the new one.
        case kept
    }

    /// Copies what is not copied yet, then removes the old keys. May be repeated after any failure.
    /// - Returns: how many files stay where they are.
    private func carryOut(_ plan: RenamePlan, _ standing: Set<ObjectKey>) async throws(FileSystemError) -> Int {
        var moved: [ObjectVersion] = []
        var keptCount = 0
        var failure: FileSystemError?
        let progress = beginRename(from: plan.from, to: plan.to, count: plan.objects.count, isResumed: true)
        defer { renames.end(progress) }
        await withTaskGroup(of: Result<Step, FileSystemError>.self) { group in
            for object in plan.objects {
                group.addTask {
                    await self.background.run {
                        await Result.of { () async throws(FileSystemError) in
                            try await self.move(object, of: plan, standing)
                        }
                    }
                }
            }
            for await outcome in group {
                renames.noteCopied(progress)
                switch outcome {
                case .success(.moved(let version)): moved.append(version)
                case .success(.gone): break
                case .success(.kept): keptCount += 1
                case .failure(let error): failure = failure ?? error
                }
            }
        }
        // The old tree stays until the new one is whole.
        if let failure { throw failure }
        // Deepest first, markers after what is below them: some servers refuse to remove what has entries.
        let sorted = moved.sorted { $0.key.bytes.count > $1.key.bytes.count }
        for start in stride(from: 0, to: sorted.count, by: Self.removalCountMax) {
            try await removeOld(sorted[start..<min(start + Self.removalCountMax, sorted.count)])
        }
        if keptCount == 0, let folder = Self.folderMarker(ofDirectory: plan.from),
            try await head(folder)?.version.byteCount == 0
        {
            try await delete(folder)
        }
        return keptCount
    }

    /// Old keys that are looked at, and then removed, at once: as many as one DeleteObjects takes.
    private static let removalCountMax = 1000

    /// Removes old keys, in this order, that still have the version that was copied: an upload that was recovered may have
    /// come between, and that version is nowhere else.
    private func removeOld(_ versions: ArraySlice<ObjectVersion>) async throws(FileSystemError) {
        var standing: Set<ObjectKey> = []
        var failure: FileSystemError?
        await withTaskGroup(of: (ObjectKey, Result<Bool, FileSystemError>).self) { group in
            for version in versions {
                group.addTask {
                    let outcome = await self.background.run {
                        await Result.of { () async throws(FileSystemError) in
                            try await self.head(version.key)?.version == version
                        }
                    }
                    return (version.key, outcome)
                }
            }
            for await (key, outcome) in group {
                switch outcome {
                case .success(let isStanding): if isStanding { standing.insert(key) }
                case .failure(let error): failure = failure ?? error
                }
            }
        }
        if let failure { throw failure }
        let keys = versions.map(\.key).filter { standing.contains($0) }
        guard !keys.isEmpty else { return }
        do throws(StoreError) {
            let failures = try await store.delete(keys)
            if let first = failures.first { throw first.error }
        } catch {
            throw FileSystemError(error)
        }
    }

    private func move(
        _ object: RenamePlan.Moved, of plan: RenamePlan, _ standing: Set<ObjectKey>
    ) async throws(FileSystemError) -> Step {
        guard let old = ObjectKey(plan.from + object.rest), let new = ObjectKey(plan.to + object.rest) else {
            return .kept
        }
        guard let source = try await head(old) else { return .gone }
        guard object.isStill(source) else { return .kept }
        // A directory that is replaced has a marker of its own.
        let isMarker = object.rest.isEmpty || object.rest.hasSuffix("/")
        if !isMarker, let found = try await head(new) {
            // Other metadata may be that of many objects: another client's of the same length is no copy.
            let isCopy =
                found.version.byteCount == source.version.byteCount
                && (found.version.etag == source.version.etag
                    || AttributeCodec.isPosix(source.properties.metadata)
                        && found.properties.metadata == source.properties.metadata)
            return isCopy || standing.contains(new) ? .moved(source.version) : .kept
        }
        do throws(StoreError) {
            _ = try await store.copy(
                CopyRequest(
                    source: source.version, destination: new,
                    storageClass: CopyRequest.storageClass(keeping: source.properties.storageClass)))
            return .moved(source.version)
        } catch {
            throw FileSystemError(error)
        }
    }
}
