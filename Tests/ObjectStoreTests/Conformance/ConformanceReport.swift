// How many checks each store passed, failed, or is exempt from; printed at the end, so that no skip is silent.

import Base
import Testing

/// A suite's report, printed once when all its tests are done.
struct ConformanceReport: SuiteTrait, TestScoping {
    enum Outcome: Sendable {
        case passed
        case failed
        /// Failed as the exemption table says.
        case exempt
        /// The exemption table says that it fails, and it passed: the table is stale.
        case staleExemption
    }

    private struct Entry {
        let check: String
        let outcome: Outcome
    }

    private static let entries = Lock([String: [Entry]]())

    static func note(_ outcome: Outcome, check: String, store: String) {
        entries.withLock { $0[store, default: []].append(Entry(check: check, outcome: outcome)) }
    }

    func provideScope(
        for test: Test, testCase: Test.Case?, performing function: @concurrent @Sendable () async throws -> Void
    ) async throws {
        try await function()
        let lines = Self.entries.withLock { entries in
            entries.sorted { $0.key < $1.key }.flatMap { store, entries in
                func count(_ outcome: Outcome) -> Int { entries.count { $0.outcome == outcome } }
                let summary =
                    "conformance of \(store): \(count(.passed)) passed, \(count(.failed)) failed, "
                    + "\(count(.exempt)) exempt, \(count(.staleExemption)) exempt without need"
                let exempt = Set(entries.filter { $0.outcome == .exempt }.map(\.check)).sorted()
                return [summary]
                    + exempt.map { "    exempt: \($0): \(Exemptions.reason(store: store, check: $0) ?? "")" }
            }
        }
        for line in lines { print(line) }
    }
}
