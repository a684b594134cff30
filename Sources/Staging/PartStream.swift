// Which parts of a file are on their way while programs write it: a pure value.

internal import Base
internal import ObjectModel
internal import ObjectStore

/// The parts that are being sent, and how far a file is sent ahead of its close().
///
/// A file that is written from front to back is sent part by part behind the writer. One that is written again where it was
/// sent already is left alone after a few times: it is sent once, when it is closed.
struct PartStream: Sendable {
    struct Flight: Sendable, Equatable {
        let part: UploadPlan.Part
        /// Bytes of it were changed since it began: what the store got is a mix.
        var isStale = false
    }

    /// So many writes to what was sent already, and it is not sent ahead any more.
    static let rewindsMax = 8

    /// What sends parts ahead, while there are any.
    var task: Task<Void, Never>?
    /// By number; of the worker too.
    private(set) var inFlight: [Int: Flight] = [:]
    /// Where the part starts that is to be sent ahead next, and its number.
    private var nextNumber = 1
    private var nextOffset = 0
    private var writtenEnd = 0
    private var rewindCount = 0
    /// A request of it failed: the upload at the end tells, and begins anew.
    var isBroken = false
    /// Told when a part has ended, in whatever way.
    var waiters: [OneShot<Void>] = []

    /// Bytes were written, or cut off.
    mutating func changed(_ range: ByteRange) {
        writtenEnd = range.upperBound
        if inFlight.isEmpty, range.lowerBound >= nextOffset { return }
        for (number, flight) in inFlight where flight.part.range.overlaps(range) { inFlight[number]!.isStale = true }
        guard range.lowerBound < nextOffset else { return }
        rewindCount += 1
        (nextNumber, nextOffset) = (1, 0)
    }

    /// The next part to be sent ahead, if the file has one.
    /// - Parameter isUrgent: room is short: parts are sent as soon as they are whole.
    mutating func next(
        of contents: StagedContents, isUrgent: Bool, layout: PartLayout
    ) -> (part: UploadPlan.Part, number: Int)? {
        guard !isBroken, rewindCount < Self.rewindsMax, contents.identity.baseByteCount == 0,
            isUrgent || contents.identity.byteCount >= layout.aheadBytesMin
        else { return nil }
        while nextNumber <= layout.partCountMax {
            let range = layout.range(number: nextNumber, offset: nextOffset)
            let part = UploadPlan.Part(range: range, source: .staged)
            if contents.upload?.has(part, number: nextNumber) != true, inFlight[nextNumber] == nil {
                // The writer may come back to what it has just written: it is sent once the next part has begun.
                let end = isUrgent ? contents.identity.byteCount : min(writtenEnd, contents.identity.byteCount) - 1
                guard range.upperBound <= end, contents.dirty.contains(range), contents.local.contains(range) else {
                    return nil
                }
                return (part, nextNumber)
            }
            nextNumber += 1
            nextOffset = range.upperBound
        }
        return nil
    }

    /// The upload is completed: what is written from now on is a change of its object.
    mutating func restart() {
        (nextNumber, nextOffset, writtenEnd, rewindCount) = (1, 0, 0, 0)
        isBroken = false
    }

    mutating func begin(_ part: UploadPlan.Part, number: Int) {
        inFlight[number] = Flight(part: part)
    }

    /// Returns whether the part is what the file has.
    mutating func end(number: Int) -> Bool {
        guard let flight = inFlight.removeValue(forKey: number) else { return false }
        return !flight.isStale
    }
}

/// Where the parts of a file lie that has no base: the same for any length, so that a file can grow while it is sent. Parts
/// double every 900, so that 5 TiB fit into 10,000.
struct PartLayout: Sendable, Equatable {
    /// In bytes.
    let firstPart: Int
    let partBytesMax: Int
    let partCountMax: Int
    /// Files are not sent ahead before they are this long, in bytes: short ones cost fewer requests at the end.
    let aheadBytesMin: Int

    static let partsOfOneSize = 900

    init(partBytes: Int?, capabilities: StoreCapabilities, aheadBytesMin: Int = 32 << 20) {
        self.aheadBytesMin = aheadBytesMin
        firstPart = max(partBytes ?? UploadPlan.usualPartBytes, capabilities.partBytesMin)
        partBytesMax = max(capabilities.partBytesMax, firstPart)
        partCountMax = capabilities.partCountMax
    }

    /// The part that begins at `offset`, which is where the one before ends.
    func range(number: Int, offset: Int) -> ByteRange {
        let doublings = min((number - 1) / Self.partsOfOneSize, 20)
        return ByteRange(offset, offset + min(firstPart << doublings, partBytesMax))
    }

    /// All parts of a file of this length.
    func parts(byteCount: Int) -> [UploadPlan.Part] {
        var result: [UploadPlan.Part] = []
        var offset = 0
        while offset < byteCount {
            let range = range(number: result.count + 1, offset: offset)
            result.append(.init(range: ByteRange(offset, min(range.upperBound, byteCount)), source: .staged))
            offset = range.upperBound
        }
        return result
    }
}
