// Which bodies come so slowly that a new connection would do better. Pure: what was received in each window comes in.

/// Compares connections with what connections to these servers usually carry.
///
/// What is usual is the mean rate of a busy connection, the highest of the last windows, slowly forgotten. A body is slow in
/// a window when it came at less than an eighth of that, and is given up when it was slow in two windows in a row. Where
/// most bodies are slow it is the link, or there are more of them now, and none is given up. Nor is any on links
/// so slow that another handshake would be felt. Giving up costs a token, and requests earn them.
struct LaggardJudge {
    /// A body that was under way in the whole window.
    struct Body: Equatable {
        var byteCount: Int
        /// In the window before.
        var wasSlow: Bool
    }

    static let windowNanoseconds: UInt64 = 1_000_000_000
    /// A usual rate below this says nothing, in bytes per second.
    static let usualRateMin = 1e6
    static let slowFraction = 0.125
    /// What is left of the usual rate after a window with a lower one.
    static let memory = 0.95
    static let tokensPerRequest = 0.02
    static let tokensMax = 4.0

    /// In bytes per second of a busy connection.
    private(set) var usualRate = 0.0
    private(set) var tokens = 2.0

    mutating func requestEnded() {
        tokens = min(Self.tokensMax, tokens + Self.tokensPerRequest)
    }

    /// Judges a window.
    /// - Parameters:
    ///   - bodies: those that may be given up.
    ///   - byteCount: everything received in the window.
    ///   - busySeconds: of all connections together.
    /// - Returns: for each body whether it was slow, and whether it is given up.
    mutating func judge(
        _ bodies: [Body], seconds: Double, byteCount: Int, busySeconds: Double
    ) -> [(isSlow: Bool, isGivenUp: Bool)] {
        if busySeconds > seconds / 2 {
            usualRate = max(Double(byteCount) / busySeconds, usualRate * Self.memory)
        }
        let limit = usualRate * Self.slowFraction
        let isJudged = usualRate >= Self.usualRateMin
        let slow = bodies.map { isJudged && Double($0.byteCount) / seconds < limit }
        let slowCount = slow.count { $0 }
        let isTheLink = bodies.count > 1 && slowCount * 2 > bodies.count
        return zip(bodies, slow).map { body, isSlow in
            guard isSlow, !isTheLink else { return (isSlow: false, isGivenUp: false) }
            guard body.wasSlow, tokens >= 1 else { return (isSlow: true, isGivenUp: false) }
            tokens -= 1
            return (isSlow: true, isGivenUp: true)
        }
    }
}
