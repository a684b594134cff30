// Looking blocks up on disk and reading them. On the reading threads.

internal import Base
internal import ObjectModel

/// What the disk has of a run of blocks: open files, so that what was found stays readable.
struct DiskFinding {
    /// Ascending neighbours that are there, as far as the headers say.
    var present: [Range<Int>] = []
    fileprivate var files: [Int: SegmentFile] = [:]
}

extension DiskTier {
    /// A hit counts once in this time for each segment, so that the pieces of one pass do not look like reuse.
    private static let useIntervalSeconds: UInt32 = 60

    /// Looks up a run of blocks. Whatever goes wrong, they are just not there.
    func find(_ version: ObjectVersion, _ blocks: Range<Int>) -> DiskFinding {
        var finding = DiskFinding()
        guard let directory = directory() else { return finding }
        let digest = VersionDigest(version, bucket: configuration.bucket, blockBytes: blockBytes)
        let count = SegmentIdentity.blockCount
        var present: [Int] = []
        do throws(DiskError) {
            for number in blocks.lowerBound / count...(blocks.upperBound - 1) / count {
                let name = SegmentName(version: digest, number: number)
                switch try SegmentFile.open(identity(version, segment: number), named: name, in: directory) {
                case .absent: break
                case .foreign: discard(name, directory)
                case .found(let file):
                    finding.files[number] = file
                    present += blocks.clamped(to: file.header.identity.blocks).filter(file.has)
                }
            }
            // What is there has still to be read.
            if present.isEmpty { note(\.reading, nil) }
        } catch {
            note(\.reading, error)
        }
        finding.present = runs(present)
        return finding
    }

    /// How many bytes of a version are there, as far as the headers say, but those of some blocks. One file is open at a time,
    /// however large the object.
    func byteCount(of version: ObjectVersion, besides others: Set<Int>) -> Int {
        let blockCount = (version.byteCount + blockBytes - 1) / blockBytes
        var byteCount = 0
        for start in stride(from: 0, to: blockCount, by: SegmentIdentity.blockCount) {
            let segment = start..<min(start + SegmentIdentity.blockCount, blockCount)
            for index in find(version, segment).present.joined() where !others.contains(index) {
                byteCount += min(blockBytes, version.byteCount - index * blockBytes)
            }
        }
        return byteCount
    }

    /// Reads a run that was found present.
    /// - Parameters:
    ///   - destinations: room for each block.
    ///   - accept: called with the number of the next sound blocks, after each piece, in order.
    /// - Returns: how many blocks were accepted; fewer than asked for when one is damaged or the disk fails.
    func read(
        _ finding: DiskFinding, _ blocks: Range<Int>, into destinations: [UnsafeMutableRawPointer],
        accept: (Int) -> Void
    ) -> Int {
        var done = 0
        while done < blocks.count {
            let start = blocks.lowerBound + done
            guard let file = finding.files[start / SegmentIdentity.blockCount] else { break }
            let identity = file.header.identity
            let countMax = max(1, configuration.readBytesMax / blockBytes)
            let piece = start..<min(start + countMax, blocks.upperBound, identity.blocks.upperBound)
            var accepted = 0
            do throws(DiskError) {
                accepted = try file.read(piece, into: Array(destinations[done..<done + piece.count]))
            } catch {
                note(\.reading, error)
                // Asked again, a disk that has lost a sector would stop all reading again.
                drop(piece, of: file)
                break
            }
            note(\.reading, nil)
            let readBytes = (piece.lowerBound..<piece.lowerBound + accepted).reduce(0) {
                $0 + identity.byteCount(ofBlock: $1)
            }
            state.withLock { state in
                state.statistics.hits += accepted
                state.statistics.bytesRead += readBytes
                if accepted < piece.count { state.statistics.corruptBlocks += 1 }
            }
            // Last: whoever waits for the blocks may look at the figures next.
            if accepted > 0 { accept(accepted) }
            done += accepted
            if accepted < piece.count {
                // All that follows is fetched again in any case, and a file that was cut short lacks it too. Also in the
                // segments behind: what is marked as there would not be written again, sound or not.
                let lacking = piece.lowerBound + accepted..<blocks.upperBound
                for file in finding.files.values where file.header.identity.blocks.overlaps(lacking) {
                    drop(lacking.clamped(to: file.header.identity.blocks), of: file)
                }
                break
            }
        }
        return done
    }

    /// Notes that something was found again, after those who wait for it have it.
    func noteUse(_ finding: DiskFinding) {
        let now = nowSeconds
        for file in finding.files.values {
            let header = file.header
            guard header.useCount == 0 || now >= header.lastUseSeconds &+ Self.useIntervalSeconds else { continue }
            state.withLock { state in
                if state.queue.contains(file.name) {
                    state.queue.use(file.name)
                } else {
                    // Another process made it.
                    state.queue.set(file.name, bytes: header.storedBytes, isFound: true)
                }
            }
            change(file) { file throws(DiskError) in try file.noteUse(now) }
        }
    }

    /// Makes damaged blocks be written again.
    private func drop(_ blocks: Range<Int>, of file: SegmentFile) {
        change(file) { file throws(DiskError) in try file.drop(blocks) }
    }

    /// Changes a segment that was found. On a disk that cannot be written to nothing happens.
    private func change(_ file: SegmentFile, _ body: (SegmentFile) throws(DiskError) -> Void) {
        guard let directory = directory(),
            case .found(let file)? = try? SegmentFile.open(
                file.header.identity, named: file.name, in: directory, forWriting: true)
        else { return }
        try? body(file)
    }

    /// Removes a file that is not what its name says.
    func discard(_ name: SegmentName, _ directory: BlockDirectory) {
        _ = try? directory.remove(name)
        state.withLock { state in
            state.queue.forget(name)
            state.statistics.corruptBlocks += 1
        }
    }
}
