// Whether the server answers at all, seen from the outcome of calls. Pure: the clock comes in.

/// The health of one store's server.
///
/// States: `up → down` when a call has failed for good without an answer, and no request had one since that call began;
/// `down → up` with the first answer to anything, whatever its status.
///
/// While it is down, a call is preceded by a probe: one small idempotent request with short limits, shared by all calls
/// that come meanwhile. So a call on a dead server fails within the probe's limit instead of its whole patience, and no
/// call needs limits that would be wrong for it (a copy may be silent for minutes). Every few probes one is patient: a
/// server that has become slow must be found alive too.
struct EndpointHealth {
    /// Since when, and why.
    struct Outage: Equatable {
        /// When the call began whose failure showed it: nothing was answered since.
        var sinceNanoseconds: UInt64
        /// `.timedOut` or `.unreachable`, of the newest failure.
        var kind: StoreError.Kind
        /// The transport's words for the newest failure.
        var message: String
    }

    /// What somebody may want to log.
    enum Change: Equatable {
        case wentDown(Outage)
        case cameBack(afterNanoseconds: UInt64)
    }

    /// What a new call does first.
    enum Admission: Equatable {
        /// Is sent.
        case go
        /// Waits for the probe under way, and asks again.
        case join
        /// Sends the probe, then `probeEnded`, and asks again.
        case probe(isPatient: Bool)
    }

    /// Nil while it is up.
    private(set) var outage: Outage?
    private var answeredNanoseconds: UInt64?
    private var isProbing = false
    /// In this outage.
    private var probeCount = 0

    /// Of so many probes in a row the last one has the limits of a normal request.
    static let probesPerPatientOne = 4

    /// An answer has come, of whatever status.
    mutating func answered(now: UInt64) -> Change? {
        answeredNanoseconds = now
        guard let outage else { return nil }
        self.outage = nil
        probeCount = 0
        return .cameBack(afterNanoseconds: now &- outage.sinceNanoseconds)
    }

    /// A call has failed for good without an answer to its last request.
    /// - Parameter began: when the call began.
    mutating func failed(began: UInt64, kind: StoreError.Kind, message: String) -> Change? {
        if outage != nil {
            note(kind, message)
            return nil
        }
        if let answeredNanoseconds, answeredNanoseconds >= began { return nil }
        let outage = Outage(sinceNanoseconds: began, kind: kind, message: message)
        self.outage = outage
        return .wentDown(outage)
    }

    mutating func admit() -> Admission {
        if outage == nil { return .go }
        if isProbing { return .join }
        isProbing = true
        probeCount += 1
        return .probe(isPatient: probeCount % Self.probesPerPatientOne == 0)
    }

    /// The probe is over; an answer was reported by `answered`.
    mutating func probeEnded() {
        isProbing = false
    }

    /// The probe had no answer.
    mutating func probeFailed(kind: StoreError.Kind, message: String) {
        note(kind, message)
    }

    private mutating func note(_ kind: StoreError.Kind, _ message: String) {
        outage?.kind = kind
        outage?.message = message
    }
}
