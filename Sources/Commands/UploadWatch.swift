// From what a mount tells of its uploads to progress.

public import Control

/// Follows the uploads of a drain or flush: what is left now, against the most there was. Pure: the caller brings time.
public struct UploadWatch: Sendable {
    private var bytesTotal = 0
    private var bytesSent = 0
    private var bytesLeftBefore: Int?
    private var rate = RateEstimate()

    public init() {}

    /// Takes the latest figures at a monotonic time.
    public mutating func progress(_ latest: UploadProgress, at nanoseconds: UInt64) -> Progress {
        // Programs may write meanwhile: what is left can grow, and the total with it.
        if let before = bytesLeftBefore {
            bytesSent += max(0, before - latest.bytesLeft)
        }
        bytesLeftBefore = latest.bytesLeft
        bytesTotal = max(bytesTotal, bytesSent + latest.bytesLeft)
        rate.add(bytesSent, at: nanoseconds)
        let perSecond = latest.bytesPerSecond > 0 ? Double(latest.bytesPerSecond) : rate.perSecond
        return Progress(bytesDone: bytesSent, bytesTotal: bytesTotal, filesLeft: latest.filesLeft, rate: perSecond)
    }
}
