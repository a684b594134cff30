// Which requests go wrong, and how: scripted ("the second PutObject") or by seeded chance.

internal import ObjectModel
public import ObjectStore

/// What happens to a request. All errors are final for the call: retry is below this interface.
public enum Fault: Sendable, Equatable {
    /// Refused; nothing was done.
    case refused(StoreError.Kind)
    /// Done, and the answer was lost: the caller sees the error.
    case answerLost(StoreError.Kind)
    /// The body breaks off after so many bytes: a GET delivered them, a PUT or part published nothing.
    case bodyCut(afterBytes: Int, StoreError.Kind)
    /// Takes that much longer, then succeeds.
    case slow(nanoseconds: UInt64)
    /// No answer ever; ends with `.cancelled` when the task is cancelled.
    case blackHole

    public static let throttled = Fault.refused(.throttled)
    public static let serverFault = Fault.refused(.serverFault)
    public static let timedOut = Fault.refused(.timedOut)
    /// Done, but the caller only sees a timeout.
    public static let lostAnswer = Fault.answerLost(.timedOut)
    public static let preconditionFailed = Fault.refused(.preconditionFailed)
    public static let accessDenied = Fault.refused(.accessDenied)
    public static let unreachable = Fault.refused(.unreachable)
    public static let cancelled = Fault.refused(.cancelled)
}

/// An ordered list of rules; the first that applies to a request decides. Same seed, same requests: same faults.
public struct FaultPlan: Sendable {
    /// Which of the requests that a rule looks at it makes fail.
    public enum Occasion: Sendable, Equatable {
        /// The one with this number, from 1, since the plan was installed.
        case nth(Int)
        /// The first so many.
        case first(Int)
        /// Each, with this probability.
        case chance(Double)
        case always
    }

    struct Rule: Sendable {
        var fault: Fault
        var operation: StoreOperation?
        var key: ObjectKey?
        var occasion: Occasion
        /// How many matching requests came by.
        var seenCount = 0
    }

    var rules: [Rule] = []
    private var random: SplitMix64

    public init(seed: UInt64 = 1) {
        random = SplitMix64(seed: seed)
    }

    /// A store that cannot be reached at all.
    public static var unreachable: FaultPlan { FaultPlan().adding(.unreachable, when: .always) }

    /// The plan with one more rule.
    /// - Parameters:
    ///   - operation: nil is any.
    ///   - key: nil is any. On `.deleteObjects` a rule with a key fails that key only, within the answer.
    public func adding(
        _ fault: Fault, on operation: StoreOperation? = nil, key: String? = nil, when occasion: Occasion = .nth(1)
    ) -> FaultPlan {
        var plan = self
        plan.rules.append(
            Rule(fault: fault, operation: operation, key: key.map(MemoryStore.objectKey), occasion: occasion))
        return plan
    }

    /// The fault of a request that just arrived.
    mutating func next(operation: StoreOperation, key: ObjectKey?) -> Fault? {
        decide { rule in
            (rule.operation == nil || rule.operation == operation) && (rule.key == nil || rule.key == key)
        }
    }

    /// The fault of one key within a request for many: only of rules that name the key.
    mutating func nextOfKey(operation: StoreOperation, key: ObjectKey) -> Fault? {
        decide { rule in (rule.operation == nil || rule.operation == operation) && rule.key == key }
    }

    /// The first fault that applies. All rules that look at the request count it.
    private mutating func decide(_ looksAt: (Rule) -> Bool) -> Fault? {
        var result: Fault?
        for index in rules.indices where looksAt(rules[index]) {
            rules[index].seenCount += 1
            let applies =
                switch rules[index].occasion {
                case .nth(let number): rules[index].seenCount == number
                case .first(let count): rules[index].seenCount <= count
                case .chance(let probability): random.unit() < probability
                case .always: true
                }
            if applies, result == nil { result = rules[index].fault }
        }
        return result
    }
}
