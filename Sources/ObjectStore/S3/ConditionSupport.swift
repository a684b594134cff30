// What is known of a server's honouring of conditional requests. Pure state, fed by answers and by the probe.

/// The conditional requests that servers honour, each, or not.
enum ConditionKind: Hashable, CaseIterable {
    case putIfMatch
    case putIfAbsent
    case completeIfMatch
    case completeIfAbsent
    case copySourceIfMatch
    /// RGW 16 ignores it on UploadPartCopy, and heeds it on CopyObject.
    case partSourceIfMatch
}

/// How far a condition can be relied on.
///
/// Transitions: `unknown → works` when the server was seen to refuse by it; `unknown → broken` when it refused wrongly
/// again and again and never did what was asked, refuses the header, or was seen to ignore it; `works → broken` likewise.
enum ConditionSupport: Hashable {
    /// It is sent, and checked by HEAD before.
    case unknown
    /// It is sent, and relied on.
    case works
    /// It is not sent: HEAD before is all there is.
    case broken
}

/// What is known of one kind.
struct ConditionState: Hashable {
    var support: ConditionSupport
    /// HTTP's form, with quotes; RGW 16 compares the header's text with the bare ETag.
    var isQuoted = true
    /// Whether a call is finding out, or has tried to.
    var isTried = false
    /// Whether a write was done under the condition, in this spelling: then what it refuses, it refuses rightly.
    private var isAccepted = false
    private var vainRefusalCount = 0

    /// Two of each spelling. A single one may be right: another client can change the object and change it back between the
    /// refusal and the look, as those do that make and remove a lock file in turn.
    private static let vainRefusalsMax = 4

    init(support: ConditionSupport) { self.support = support }

    /// A write was done under it.
    mutating func noteAccepted(isQuoted: Bool) {
        isAccepted = true
        self.isQuoted = isQuoted
    }

    /// It was refused, and holds as far as one can see.
    /// - Parameters:
    ///   - known: what was known when it was sent. Of many that were sent at once in a spelling the first one counts.
    ///   - hasSpellings: whether it names an ETag, with quotes or without.
    mutating func noteVainRefusal(of known: ConditionState, hasSpellings: Bool) {
        guard !isAccepted, !hasSpellings || known.isQuoted == isQuoted && known.vainRefusalCount == vainRefusalCount
        else { return }
        vainRefusalCount += 1
        if vainRefusalCount >= Self.vainRefusalsMax {
            support = .broken
        } else if hasSpellings {
            isQuoted.toggle()
        }
    }
}
