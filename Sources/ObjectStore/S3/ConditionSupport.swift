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
/// in both spellings, refuses the header, or was seen to ignore it; `works → broken` likewise.
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
}
