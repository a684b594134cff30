// Whether names that are looked up are opened afterwards: what decides between a GET, which brings the first bytes along
// with the attributes, and a HEAD, which brings the attributes alone and is then sent for many names at once.

/// The lookups of one directory that had to ask the store. A pure value; the owner guards it.
///
/// Bytes are brought along as long as what they were brought for is opened. Where several lookups were under way at once,
/// a few times as many answers may wait for their open().
struct LookupPattern: Sendable, Equatable {
    private var inFlightCount = 0
    private var inFlightPeak = 1
    private var unopenedCount = 0

    private static let parallelFactor = 4

    /// A name is about to be asked for. Returns whether to bring its first bytes along; then `answered` must follow.
    mutating func asks() -> Bool {
        let unopenedMax = inFlightPeak == 1 ? 1 : inFlightPeak * Self.parallelFactor
        guard unopenedCount < unopenedMax else { return false }
        inFlightCount += 1
        inFlightPeak = max(inFlightPeak, inFlightCount)
        return true
    }

    /// The answer is there.
    /// - Parameter isFile: whether it is something that could be opened.
    mutating func answered(isFile: Bool) {
        inFlightCount -= 1
        if isFile { unopenedCount += 1 }
    }

    /// A file of the directory was opened.
    mutating func opened() {
        unopenedCount = 0
    }
}
